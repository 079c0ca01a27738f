import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import candidate_spans, read_docred, sentences, words

TEXT = st.text() | st.text(alphabet="aAé\u0301 .,'’\"()[]$5%;\n東ท\u0e31👩\u200d🇫👍🏽_-")


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text)]


def names(text: str, max_words: int = 8) -> list[str]:
    return [text[start:end] for start, end in candidate_spans(text, max_words)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Ann", "'s", " O'Connor", " and", " L'Aquila", ",", " don't"],
        ["Kelly", "’s", " d’état"],
        ["The", " U.S", ".", " or", " J.R.R", ".", " Stone", " at", " example.org", "."],
        ["1,000", " to", " 4.5", "%", " at", " 10:30"],
        ["half", "-", "baked", " 1943", "–", "45", " R", "&", "B"],
        ["Cafe\u0301", " नमस्ते", " दुनिया"],
        ["東", "京", "タ", "ワー", " 서", "울", " ก", "ั".join(["ก", ""])],
        ["👩\u200d👩\u200d👧", "🇫🇷", "👍🏽", "❤\ufe0f", "!", "!"],
        ["a", "_", "b", "\x00"],
        ["שלום", " עולם", " مرحبا"],
    ],
)
def test_words(parts: list[str]) -> None:
    assert split("".join(parts)) == [part.strip() for part in parts]


@given(TEXT)
def test_words_hold_all_but_white_space(text: str) -> None:
    last = 0
    for start, end in words(text):
        assert start < end
        assert not text[last:start].strip()
        assert not any(character.isspace() for character in text[start:end])
        last = end
    assert not text[last:].strip()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ann Lee Jr. sang.", "Ann Lee Jr."),
        ("She joined Acme Inc. of Ohio.", "Acme Inc."),
        ("In the U.S. they sing.", "U.S."),
        ("In the U.S. they sing.", "the U.S."),
        ('Robert "Bob" Stone sang.', 'Robert "Bob" Stone'),
        ("Lund University (LU) is old.", "Lund University (LU)"),
        ("It cost $5 million.", "$5 million"),
        ("Some 60% came.", "60%"),
        ("He uses .NET and C++ daily.", ".NET"),
        ("He uses .NET and C++ daily.", "C++"),
        ("The show Jeopardy! ended.", "Jeopardy!"),
        ("Ann's boat.", "Ann"),
        ("A Nobel-winning book.", "Nobel"),
        ("早稲田大学は東京にある。", "早稲田大学"),
    ],
)
def test_names_are_candidates(text: str, name: str) -> None:
    assert name in names(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The end of Rome.", "Rome."),
        ("The end of Rome.", "of Rome"),
        ("The end of Rome.", "end of"),
        ("Lund (Sweden) is old.", "Lund (Sweden"),
        ("Ann; Ben.", "Ann; Ben"),
        ("Ann left. Ben stayed.", "left. Ben"),
        ("Ann, Ben.", "Ann,"),
        ("Ann's boat.", "Ann's"),
        ("Some 60% came.", "%"),
    ],
)
def test_what_cannot_be_a_name_is_none(text: str, name: str) -> None:
    assert name not in names(text)


def test_max_words_counts_no_signs() -> None:
    assert names("Ann, Ben, Cleo", 2) == ["Ann", "Ann, Ben", "Ben", "Ben, Cleo", "Cleo"]


@given(TEXT, st.integers(1, 4))
def test_candidates_stand_at_words_within_a_sentence(text: str, max_words: int) -> None:
    starts = {start for start, _ in words(text)}
    ends = {end for _, end in words(text)}
    spans = candidate_spans(text, max_words)
    assert spans == sorted(set(spans))
    for start, end in spans:
        assert start in starts
        assert end in ends
        assert any(first <= start and end <= last for first, last in sentences(text))


@pytest.mark.parametrize("unit", ["Ann Lee (of 'Rome') sings. ", "a,", "$", "'", "東", "e\u0301", "1,"])
def test_time_is_linear_in_the_text(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    started = time.process_time()
    candidate_spans(text)
    assert time.process_time() - started < 4


@pytest.mark.shared
@pytest.mark.parametrize("natural", [True, False])
def test_candidates_hold_the_names_that_people_annotated(natural: bool) -> None:
    if "AUTORE_DATA" not in os.environ:
        pytest.skip("AUTORE_DATA is not set")
    path = Path(os.environ["AUTORE_DATA"]) / "redocred" / "dev_revised.json"
    mentions = found = candidates = documents = 0
    for gold in read_docred(path, natural=natural):
        spans = set(candidate_spans(gold.document.text))
        annotated = [span for entity in gold.entities for span in entity.mentions]
        documents += 1
        candidates += len(spans)
        mentions += len(annotated)
        found += sum(span in spans for span in annotated)
    assert found / mentions > 0.995
    assert candidates / documents < 550
