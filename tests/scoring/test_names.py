import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autore_cli.scoring.names import normalise


@pytest.mark.parametrize(
    ("tokenised", "natural"),
    [
        ('Nora " Nell " Quist', 'Nora "Nell" Quist'),
        ("Farmers ' Party", "Farmers' Party"),
        ("Quist 's", "Quist's"),
        ("12.5 %", "12.5%"),
        ("A . B . Vale", "A.B. Vale"),
        ("Lund ( Vale )", "Lund\u00a0(Vale)"),
        ("Zoe\u0308 Vale", "Zo\u00eb Vale"),
    ],
)
def test_tokenised_and_natural_names_agree(tokenised: str, natural: str) -> None:
    assert normalise(tokenised) == normalise(natural)


@pytest.mark.parametrize(("name", "other"), [("US", "us"), ("US", "U.S."), ("Lund", "Lundt"), ("Café", "Cafe")])
def test_letters_case_accents_and_punctuation_count(name: str, other: str) -> None:
    assert normalise(name) != normalise(other)


@example("\u0339 \u0334", [])  # marks that change places once nothing stands between them
@given(st.text(), st.lists(st.sampled_from(" \t\n\u00a0\u2009"), max_size=3))
def test_white_space_anywhere_changes_nothing(name: str, spaces: list[str]) -> None:
    composed = unicodedata.normalize("NFC", name)
    spread = "".join(spaces).join(composed)
    assert normalise(normalise(name)) == normalise(name)
    if spread.split() and all(unicodedata.combining(character) == 0 for character in composed):
        assert normalise(spread) == normalise(name)
