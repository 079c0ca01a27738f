import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import render

SENTS = st.lists(st.lists(st.text(max_size=4) | st.sampled_from(['"', "'", "-", "–", ".", "(", ")", "5", "May"])))


@pytest.mark.parametrize(
    "text",
    [
        "Paris, France.",
        "Anna (born 3 May 1950) sings; Ben doesn't.",
        'Robert "Bob" Stone sang "Rain".',
        'She said: "Go home."',
        "Anna's house and the singers' club.",
        "They built a multi-ethnic, two-year home.",
        "The pre- and post-war years.",
        "It cost $5, or £3.5 million, or 60% of it.",
        "The seasons 1985–86 and 1990-1991 went well.",
        "Ann Lee (August 2, 1921 – January 6, 1993) wrote.",
        "Ben Lee (3 May 1920 – 9 June 1990) sang.",
        "Born 3 May 1920 - 9 June 1990.",
        "The Berlin–Munich line closed at 21:55.",
        "He plays as forward/midfielder for the A&E team of Iron & Wine.",
        "It reached #7; C# did not.",
        "The winner—a nurse—smiled.",
        "A 5'7\" guard.",
        'A 12" single.',
        "We'll see, they're here, I've been, she'd go.",
        "The “first” and the ‘second’ day…",
        "Is it [the] end? Yes!",
    ],
)
def test_natural_text_comes_back_from_its_tokens(text: str) -> None:
    assert render([tokenise(text)])[0] == text


def tokenise(text: str) -> list[str]:
    """The tokens as DocRED has them: signs, clitics and hyphens stand alone."""
    return re.findall(
        r"\d+[.,:']\d+|'s\b|n't|'(?:ll|re|ve|d)\b|\w+?(?=n't)|[A-Za-z]+(?=')|\w+|[^\w\s]",
        text,
    )


def test_quotations_over_several_sentences() -> None:
    text, _ = render(
        [["He", "said", ":", '"', "Stay", "."], ["Then", "go", ".", '"'], ['"', "No", '"', ",", "she", "said"]]
    )
    assert text == 'He said: "Stay. Then go." "No", she said'


def test_white_space_tokens_leave_no_trace_in_natural_text() -> None:
    text, spans = render([["40", "\xa0", "km", "\xa0"], ["\xa0", "North"]])
    assert text == "40 km North"
    assert [text[start:end] for row in spans for start, end in row] == ["40", "", "km", "", "", "North"]


def test_tokens_joined_by_spaces() -> None:
    sents = [["Paris", ",", "France", "."], ["Yes", "!"]]
    assert render(sents, natural=False)[0] == "Paris , France . Yes !"


@given(SENTS)
def test_every_token_is_where_its_span_says(sents: list[list[str]]) -> None:
    text, spans = render(sents)
    assert [len(row) for row in spans] == [len(tokens) for tokens in sents]
    last = 0
    for tokens, row in zip(sents, spans, strict=True):
        for token, (start, end) in zip(tokens, row, strict=True):
            assert text[start:end] == (token if token.strip() else "")
            assert text[last:start] in ("", " ")
            last = end
    assert last == len(text)


@given(SENTS)
def test_plain_joining_keeps_all_tokens(sents: list[list[str]]) -> None:
    text, spans = render(sents, natural=False)
    tokens = [token for sent in sents for token in sent]
    assert text == " ".join(tokens)
    assert [text[start:end] for row in spans for start, end in row] == tokens
