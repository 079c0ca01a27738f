"""Which gold entities a prediction speaks of."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from autore_cli.records import Span
from autore_cli.scoring.gold import FactKey, GoldDocument
from autore_cli.scoring.names import normalise
from autore_cli.scoring.predictions import Prediction

How = Literal["index", "span", "name", "none"]

Triple = tuple[int | str, str, int | str]
"""Head, relation id, tail; an end is an entity's number or the name of what is none."""


@dataclass(frozen=True, slots=True)
class End:
    """The head or the tail of a prediction, looked up in the gold document.

    Attributes:
        name: its normalised name.
        entity: the gold entity that it is, or None.
        how: what told: the prediction's own index, a span that is exactly a mention's, a name that equals an alias.
        spans: its mentions: the entity's, else the prediction's own, else wherever its name stands in the text.
        sentences: the numbers of the sentences with these mentions.
    """

    name: str
    entity: int | None
    how: How
    spans: tuple[Span, ...]
    sentences: frozenset[int]

    @property
    def key(self) -> int | str:
        """What makes ends the same end: the entity, or the name of what is none."""
        return self.name if self.entity is None else self.entity


@dataclass(frozen=True, slots=True)
class Claim:
    """A prediction with both its ends looked up."""

    prediction: Prediction
    head: End
    tail: End

    @property
    def relation_id(self) -> str:
        """The prediction's relation."""
        return self.prediction.relation_id

    @property
    def score(self) -> float:
        """The prediction's score, under all others if it has none."""
        return float("-inf") if self.prediction.score is None else self.prediction.score

    @property
    def triple(self) -> Triple:
        """What two claims share when they say the same."""
        return self.head.key, self.relation_id, self.tail.key

    @property
    def fact(self) -> FactKey | None:
        """The claim in terms of gold entities; None when an end is none."""
        if self.head.entity is None or self.tail.entity is None:
            return None
        return self.head.entity, self.relation_id, self.tail.entity


class Aligner:
    """Looks up predictions in one gold document.

    An end is, in this order: the entity whose index the prediction gives; the entity with most mentions at exactly the
    prediction's spans; the entity with most mentions of that name (ties: the one that is listed first). Spans under
    which the text says something other than the name are not believed.

    Attributes:
        disbelieved: how many ends came with such spans.
    """

    def __init__(self, document: GoldDocument) -> None:
        self.document = document
        self.disbelieved = 0
        self._starts = [start for start, _ in document.sentences]
        self._known: dict[tuple[str, tuple[Span, ...], int | None], End] = {}

    def align(self, prediction: Prediction) -> Claim:
        """The prediction with its ends looked up."""
        return Claim(
            prediction,
            self._end(prediction.head, prediction.head_spans, prediction.head_entity),
            self._end(prediction.tail, prediction.tail_spans, prediction.tail_entity),
        )

    def _end(self, name: str, spans: tuple[Span, ...], index: int | None) -> End:
        believed = spans if self._reads(name, spans) else ()
        self.disbelieved += believed != spans
        key = (name, believed, index)
        if key not in self._known:
            self._known[key] = self._look_up(normalise(name), believed, index)
        return self._known[key]

    def _reads(self, name: str, spans: Iterable[Span]) -> bool:
        text = self.document.text
        return text is None or all(
            text[start:end] == name or normalise(text[start:end]) == normalise(name) for start, end in spans
        )

    def _look_up(self, name: str, spans: tuple[Span, ...], index: int | None) -> End:
        entity, how = self._entity(name, spans, index)
        if entity is not None:
            annotated = self.document.entities[entity]
            return End(name, entity, how, annotated.mentions, annotated.sentences)
        places = spans or self._places(name)
        return End(name, None, how, places, frozenset(self._sentence(start) for start, _ in places if self._starts))

    def _entity(self, name: str, spans: tuple[Span, ...], index: int | None) -> tuple[int | None, How]:
        if index is not None:
            return index, "index"
        hits = Counter(entity for span in spans for entity in self.document.mentioned_at.get(span, ()))
        if hits:
            return min(hits, key=lambda entity: (-hits[entity], entity)), "span"
        if name in self.document.aliases:
            return self.document.aliases[name][0], "name"
        return None, "none"

    def _sentence(self, position: int) -> int:
        return max(bisect_right(self._starts, position) - 1, 0)

    @cached_property
    def _squeezed(self) -> tuple[str, list[int]]:
        """The text without white space, and where each of its characters stands in the text."""
        text = self.document.text or ""
        positions = [position for position, character in enumerate(text) if not character.isspace()]
        return "".join(text[position] for position in positions), positions

    def _places(self, name: str) -> tuple[Span, ...]:
        """Where a name stands in the text, white space apart, neither starting nor ending inside a word."""
        text, (squeezed, positions) = self.document.text or "", self._squeezed
        found: list[Span] = []
        at = squeezed.find(name)
        while at >= 0:
            start, end = positions[at], positions[at + len(name) - 1] + 1
            if not _inside_word(text, start) and not _inside_word(text, end):
                found.append((start, end))
            at = squeezed.find(name, at + 1)
        return tuple(found)


def _inside_word(text: str, position: int) -> bool:
    return 0 < position < len(text) and text[position - 1].isalnum() and text[position].isalnum()
