import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Ann sings.", "Ben dances!", "Does Cleo paint?", "Yes…"],
        ["Dr. Ann Lee met Mr. J. R. Stone in St. Paul.", "He smiled."],
        ["She worked for the U.S. Navy.", "It was 1950."],
        ["She moved to the U.S.", "There she wrote."],
        ["Acme Inc. of Ohio bought Bolt Ltd.", "The price was $4.5 million."],
        ["It came in at No. 7 in c. 1680, i.e. late."],
        ['"Go home."', "She went."],
        ["He saw it (in Rome.)", "She didn't."],
        ["The show Yahoo! is over."],
        ["東京に行った。", "楽しかった！", "また行く。"],
        ["वह गया।", "वह आई।"],
        ["هل تأتي؟", "نعم."],
    ],
)
def test_sentences_end_where_people_end_them(parts: list[str]) -> None:
    assert split(" ".join(parts)) == parts
    assert split("\n".join(parts)) == parts


def test_a_blank_line_ends_a_sentence() -> None:
    assert split("A title\n \nA text\nof two lines") == ["A title", "A text\nof two lines"]
    assert split("") == split(" \n\n ") == []


@given(st.text() | st.text(alphabet=' .!?"\n。aA1'))
def test_sentences_hold_all_but_white_space(text: str) -> None:
    spans = sentences(text)
    last = 0
    for start, end in spans:
        assert start < end
        assert not text[last:start].strip()
        assert text[start:end] == text[start:end].strip()
        last = end
    assert not text[last:].strip()


@pytest.mark.parametrize(
    "unit", ["Dr. Ann Lee sings in Rome (at 5 p.m.). ", ".", '."', "\n", "a", "!x", ". ", "(", " "]
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    started = time.process_time()
    sentences(text)
    assert time.process_time() - started < 2
