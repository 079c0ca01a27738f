import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import annotated_windows, default_overlap, sentences, windows, words
from autore_cli.errors import ConfigurationError
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact, Span


def by_word(text: str) -> list[Span]:
    return words(text)


def by_byte(text: str) -> list[Span]:
    """As byte-level tokenizers have it: several tokens of one character share its span."""
    return [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]


def by_three(text: str) -> list[Span]:
    """Tokens that know of no words, white space included."""
    return [(i, min(i + 3, len(text))) for i in range(0, len(text), 3)]


ENCODERS = {"word": by_word, "byte": by_byte, "three": by_three}
FIVE = "Ann sings. Ben dances well. Cleo paints. Dora writes long books. Ed reads."


def cut(text: str, max_tokens: int, overlap: int) -> list[str]:
    return [window.text for window in windows(Document("d", text), by_word, max_tokens, overlap)]


def test_a_short_document_is_one_window() -> None:
    assert cut(FIVE, 100, 10) == [FIVE]
    assert cut(" \n", 100, 10) == []


def test_windows_begin_and_end_with_sentences() -> None:
    assert cut(FIVE, 10, 0) == [
        "Ann sings. Ben dances well. Cleo paints.",
        "Dora writes long books. Ed reads.",
    ]


def test_windows_overlap_by_whole_sentences() -> None:
    assert cut(FIVE, 10, 4) == [
        "Ann sings. Ben dances well. Cleo paints.",
        "Cleo paints. Dora writes long books.",
        "Ed reads.",
    ]


def test_a_sentence_that_needs_the_room_comes_before_the_overlap() -> None:
    assert cut("Ann Lee sings. One two three four five six.", 7, 4) == [
        "Ann Lee sings.",
        "One two three four five six.",
    ]


def test_a_long_sentence_is_cut_between_words() -> None:
    assert cut("one two three four five six", 3, 1) == ["one two three", "three four five", "five six"]


def test_text_without_spaces_is_cut_between_tokens() -> None:
    cuts = [window.text for window in windows(Document("d", "abcdefghijk"), by_three, 2, 0)]
    assert cuts == ["abcdef", "ghijk"]


@pytest.mark.parametrize(("max_tokens", "overlap"), [(5, 5), (0, 0), (5, -1)])
def test_an_overlap_that_does_not_fit(max_tokens: int, overlap: int) -> None:
    with pytest.raises(ConfigurationError, match="overlap"):
        windows(Document("d", FIVE), by_word, max_tokens, overlap)


TEXT = st.text() | st.text(alphabet="ab. \n東😀é,", max_size=80)


@given(TEXT, st.sampled_from(sorted(ENCODERS)), st.integers(4, 20), st.integers(0, 19))
def test_windows_hold_everything_and_fit(text: str, encoder: str, max_tokens: int, overlap: int) -> None:
    document = Document("d", text)
    encode = ENCODERS[encoder]
    tokens = encode(text)
    spans = [(w.start, w.end) for w in windows(document, encode, max_tokens, overlap % max_tokens)]
    reached = 0
    for start, end in spans:
        assert start < end
        assert not text[reached:start].strip()
        assert end > reached
        assert text[start:end] == text[start:end].strip()
        assert sum(first < end and last > start for first, last in tokens) <= max_tokens
        reached = end
    assert not text[reached:].strip()
    for (_, end), (start, _) in pairwise(spans):
        assert sum(first < end and last > start for first, last in tokens) <= max(overlap % max_tokens, 1)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 8))
def test_no_sentence_that_fits_is_cut(lengths: list[int], overlap: int) -> None:
    text = " ".join(" ".join(["Word"] * length) + "." for length in lengths)
    starts = {start for start, _ in sentences(text)}
    ends = {end for _, end in sentences(text)}
    for window in windows(Document("d", text), by_word, 9, overlap):
        assert window.start in starts
        assert window.end in ends


@pytest.mark.parametrize("unit", ["Ann Lee sings in Rome. ", "word ", "x", "東"])
def test_a_long_document_takes_linear_time(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    tokens = by_three(text)
    started = time.process_time()
    cuts = windows(Document("d", text), lambda _: tokens, 500, 50)
    assert time.process_time() - started < 5
    assert len(cuts) < 700


def annotated(sentence_count: int) -> AnnotatedDocument:
    """A sentence an entity; each has a fact with the next one, and the first with the last."""
    text = " ".join(f"Name{number} sings loudly." for number in range(sentence_count))
    spans = [
        (text.index(f"Name{number} "), text.index(f"Name{number} ") + len(f"Name{number}"))
        for number in range(sentence_count)
    ]
    ends = [text.index(".", start) + 1 for start, _ in spans]
    facts = [Fact(number, "P1", number + 1, (number, number + 1)) for number in range(sentence_count - 1)]
    return AnnotatedDocument(
        Document("d", text),
        tuple((start, end) for (start, _), end in zip(spans, ends, strict=True)),
        tuple(Entity((span,), "PER") for span in spans),
        (*facts, Fact(0, "P2", sentence_count - 1, (0,))),
        frozenset({"P1", "P2"}),
    )


def test_annotations_go_with_their_windows() -> None:
    document = annotated(12)
    assert annotated_windows(document, by_word, 100) == ([document], 0, 0)
    cut = annotated_windows(document, by_word, 28)
    plain = windows(document.document, by_word, 28, default_overlap(28))
    assert [window.document.text for window in cut.windows] == [window.text for window in plain]
    assert len(cut.windows) > 1
    assert (cut.lost_entities, cut.lost_facts) == (0, 1), "the fact from the first sentence to the last"
    said = set()
    for window in cut.windows:
        text = window.document.text
        assert window.document.id == "d"
        assert window.relation_ids == document.relation_ids
        assert all(text[start:end].startswith("Name") for entity in window.entities for start, end in entity.mentions)
        assert all(text[start:end].endswith(".") for start, end in window.sentences)
        for fact in window.facts:
            head, tail = window.names(fact.head)[0], window.names(fact.tail)[0]
            assert [text[slice(*window.sentences[each])].split()[0] for each in fact.evidence] == [head, tail]
            said.add((head, fact.relation_id, tail))
    assert said == {(f"Name{number}", "P1", f"Name{number + 1}") for number in range(11)}


def test_what_no_window_holds_whole_is_counted() -> None:
    text = "one two three four five six"
    document = AnnotatedDocument(
        Document("d", text),
        ((0, len(text)),),
        (Entity(((0, 3),)), Entity(((4, 13),)), Entity(((19, 27),))),
        (Fact(0, "P1", 1), Fact(1, "P1", 2)),
    )
    cut = annotated_windows(document, by_word, 2)
    assert [window.document.text for window in cut.windows] == ["one two", "three four", "five six"]
    assert (cut.lost_entities, cut.lost_facts) == (1, 2)
    assert annotated_windows(replace(document, document=Document("d", " "), entities=(), facts=()), by_word, 2) == (
        [],
        0,
        0,
    )
