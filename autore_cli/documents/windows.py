"""Cutting long documents into overlapping windows that fit a model, with their annotations or without."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from autore_cli.documents.sentences import sentences
from autore_cli.documents.words import words
from autore_cli.errors import ConfigurationError
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact, Span, Window


class Cut(NamedTuple):
    """An annotated document in windows.

    Attributes:
        windows: each with the annotations that lie in it, under the document's id.
        lost_entities: entities that no window has a whole mention of.
        lost_facts: facts whose ends share no window.
    """

    windows: list[AnnotatedDocument]
    lost_entities: int
    lost_facts: int


class _Piece(NamedTuple):
    """A stretch that isn't cut: `[start, end)` in code points, `[first, last)` in tokens."""

    start: int
    end: int
    first: int
    last: int


class _Tokens:
    """The tokens' starts and ends, to be searched fast."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def piece(self, start: int, end: int) -> _Piece:
        """The stretch with the tokens that overlap it."""
        first = bisect_right(self._ends, start)
        return _Piece(start, end, first, bisect_left(self._starts, end, lo=first))

    def split(self, piece: _Piece) -> Iterator[_Piece]:
        """Cuts a stretch between tokens; several tokens of one character stay together."""
        inner = {start for start in self._starts[piece.first : piece.last] if piece.start < start < piece.end}
        return (self.piece(*span) for span in pairwise(sorted({piece.start, piece.end} | inner)))


def windows(document: Document, encode: Callable[[str], Sequence[Span]], max_tokens: int, overlap: int) -> list[Window]:
    """Cuts a document into windows of at most `max_tokens` tokens, which together hold all of it but white space.

    Windows begin and end with sentences; a sentence that is longer than a window is cut between words, a word that is
    longer between tokens. Takes time linear in the text (times the logarithm of its tokens).

    Args:
        document: any text, of any length.
        encode: gives the offsets of a text's tokens, in order. Called once, with the whole text; a window's text
            encoded by itself may come out a token or two longer, so leave that much room.
        max_tokens: of a window. Exceeded only by a single character of more tokens than that.
        overlap: a window begins with the last sentences (words, tokens) of the one before, as many as fit in this many
            tokens.

    Returns:
        The windows in order, each reaching further than the one before; none for a text of white space.

    Raises:
        ConfigurationError: not 0 <= overlap < max_tokens.
    """
    if not 0 <= overlap < max_tokens:
        raise ConfigurationError(f"windows of {max_tokens} tokens can't overlap by {overlap}")
    cut: list[Window] = []
    held: deque[_Piece] = deque()
    for piece in _pieces(document.text, _Tokens(encode(document.text)), max_tokens):
        if held and piece.last - held[0].first > max_tokens:
            cut.append(Window(document, held[0].start, held[-1].end))
            end = held[-1].last
            while held and (end - held[0].first > overlap or piece.last - held[0].first > max_tokens):
                held.popleft()
        held.append(piece)
    if held:
        cut.append(Window(document, held[0].start, held[-1].end))
    return cut


def default_overlap(max_tokens: int) -> int:
    """The tokens that neighbouring windows share where nobody says otherwise: a seventh."""
    return max_tokens // 7


def annotated_windows(document: AnnotatedDocument, encode: Callable[[str], Sequence[Span]], max_tokens: int) -> Cut:
    """Cuts an annotated document as `windows` does in extraction. A fact is in a window if both its ends are.

    Args:
        document: the document.
        encode: see `windows`.
        max_tokens: of a window.
    """
    cut = windows(document.document, encode, max_tokens, default_overlap(max_tokens))
    mentions = [
        [[span for span in entity.mentions if window.start <= span[0] and span[1] <= window.end] for window in cut]
        for entity in document.entities
    ]
    kept = [
        {number for number, fact in enumerate(document.facts) if mentions[fact.head][at] and mentions[fact.tail][at]}
        for at in range(len(cut))
    ]
    return Cut(
        [_within(document, window, [each[at] for each in mentions], sorted(kept[at])) for at, window in enumerate(cut)],
        lost_entities=sum(not any(each) for each in mentions),
        lost_facts=len(document.facts) - len(set().union(*kept)),
    )


def _within(
    document: AnnotatedDocument, window: Window, mentions: Sequence[Sequence[Span]], facts: Sequence[int]
) -> AnnotatedDocument:
    """The window as a document: its entities, sentences and facts by new numbers, its spans from its own start."""
    entities = {old: new for new, old in enumerate(index for index, each in enumerate(mentions) if each)}
    overlapping = (
        index for index, (start, end) in enumerate(document.sentences) if start < window.end and window.start < end
    )
    sentences_kept = {old: new for new, old in enumerate(overlapping)}

    def moved(span: Span) -> Span:
        return max(span[0], window.start) - window.start, min(span[1], window.end) - window.start

    return AnnotatedDocument(
        Document(document.document.id, window.text, document.document.place),
        tuple(moved(document.sentences[old]) for old in sentences_kept),
        tuple(Entity(tuple(map(moved, mentions[old])), document.entities[old].type) for old in entities),
        tuple(
            Fact(
                entities[fact.head],
                fact.relation_id,
                entities[fact.tail],
                tuple(sentences_kept[each] for each in fact.evidence if each in sentences_kept),
            )
            for fact in (document.facts[number] for number in facts)
        ),
        document.relation_ids,
    )


def _pieces(text: str, tokens: _Tokens, max_tokens: int) -> Iterator[_Piece]:
    """The sentences; those longer than a window as words, and words longer than a window as tokens."""
    for sentence in sentences(text):
        piece = tokens.piece(*sentence)
        if piece.last - piece.first <= max_tokens:
            yield piece
            continue
        offset = sentence[0]
        for start, end in words(text[slice(*sentence)]):
            piece = tokens.piece(offset + start, offset + end)
            if piece.last - piece.first <= max_tokens:
                yield piece
            else:
                yield from tokens.split(piece)
