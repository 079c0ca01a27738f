"""Augmentation: the same document with other names, other dates, fewer sentences. Facts stay true of the new text."""

import random
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autore_cli.records import AnnotatedDocument, Entity, Fact, Span

Edit = tuple[Span, str]
"""A span of the text and what is written in its place."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much is changed.

    Attributes:
        swap: chance of a document to have names swapped, and then of each of its entities.
        jitter: chance of a document to have its years and days moved.
        drop: chance of a document to lose sentences, and then of each of its sentences.
    """

    swap: tuple[float, float] = (0.7, 0.7)
    jitter: float = 0.5
    drop: tuple[float, float] = (0.3, 0.2)


class Augmenter:
    """Augments documents with the names of a corpus, each swapped only for a name of the same type and role."""

    def __init__(self, corpus: Iterable[AnnotatedDocument], settings: Augmentation | None = None) -> None:
        self.settings = settings or Augmentation()
        self._pool: dict[tuple[str, str], list[list[str]]] = defaultdict(list)
        for document in corpus:
            for index, role in enumerate(_roles(document)):
                self._pool[role].append(document.names(index))

    def augment(self, document: AnnotatedDocument, rng: random.Random) -> AnnotatedDocument:
        """An augmented copy; sometimes just the document."""
        settings = self.settings
        if rng.random() < settings.drop[0]:
            document = _without_sentences(document, settings.drop[1], rng)
        edits: list[Edit] = []
        if rng.random() < settings.swap[0]:
            edits += self._swaps(document, settings.swap[1], rng)
        if rng.random() < settings.jitter:
            edits += _jitters(document, rng)
        return edited(document, edits) if edits else document

    def _swaps(self, document: AnnotatedDocument, chance: float, rng: random.Random) -> list[Edit]:
        edits = []
        alone = _alone(document)
        for index, role in enumerate(_roles(document)):
            entity = document.entities[index]
            if entity.type in ("TIME", "NUM") or rng.random() >= chance or not alone[index]:
                continue
            names = document.names(index)
            # dropped sentences may have left a role that no name of the corpus has
            others = rng.choice(self._pool.get(role) or [names])
            ranked = sorted(names, key=len, reverse=True)
            new = dict(zip(ranked, _matched(others, len(ranked)), strict=True))
            for start, end in entity.mentions:
                edits.append(((start, end), new[document.document.text[start:end]]))
        return edits


def _matched(names: Sequence[str], count: int) -> list[str]:
    """`count` names, the longest first; a short list repeats its last."""
    ranked = sorted(names, key=len, reverse=True)[:count]
    return ranked + [ranked[-1]] * (count - len(ranked))


def _roles(document: AnnotatedDocument) -> list[tuple[str, str]]:
    """For each entity its type and the side of a relation on which it stands most often."""
    sides: list[Counter[str]] = [Counter() for _ in document.entities]
    for fact in document.facts:
        sides[fact.head][f"{fact.relation_id} head"] += 1
        sides[fact.tail][f"{fact.relation_id} tail"] += 1
    return [
        (entity.type, side.most_common(1)[0][0] if side else "")
        for entity, side in zip(document.entities, sides, strict=True)
    ]


def _alone(document: AnnotatedDocument) -> list[bool]:
    """For each entity whether none of its mentions overlaps a mention of another."""
    mentions = sorted((span, index) for index, entity in enumerate(document.entities) for span in entity.mentions)
    alone = [True] * len(document.entities)
    furthest, holder = -1, -1
    for (start, end), index in mentions:
        if start < furthest and holder != index:
            alone[index] = alone[holder] = False
        if end > furthest:
            furthest, holder = end, index
    return alone


def _jitters(document: AnnotatedDocument, rng: random.Random) -> list[Edit]:
    """Moves all years of the document by the same number and draws days and other numbers anew."""
    years = rng.randint(-40, 15)
    text = document.document.text
    alone = _alone(document)

    def moved(match: re.Match[str]) -> str:
        digits = match.group()
        if len(digits) == 4 and 1000 <= int(digits) <= 2100:
            return str(min(int(digits) + years, 2024))
        return str(rng.randint(1, 28)) if len(digits) <= 2 and int(digits) <= 31 else digits

    edits = []
    for index, entity in enumerate(document.entities):
        if entity.type != "TIME" or not alone[index]:
            continue
        new = {name: re.sub(r"\d+", moved, name) for name in document.names(index)}
        edits += [((start, end), new[text[start:end]]) for start, end in entity.mentions]
    return edits


def _without_sentences(document: AnnotatedDocument, chance: float, rng: random.Random) -> AnnotatedDocument:
    """Drops sentences, the entities that are left without a mention, and the facts that are left without support."""
    gone = {index for index in range(1, len(document.sentences)) if rng.random() < chance}
    if not gone:
        return document
    spans = [document.sentences[index] for index in sorted(gone)]

    def kept(mention: Span) -> bool:
        return not any(start <= mention[0] and mention[1] <= end for start, end in spans)

    remaining = [tuple(filter(kept, entity.mentions)) for entity in document.entities]
    number = {old: new for new, old in enumerate(i for i, mentions in enumerate(remaining) if mentions)}
    facts = tuple(
        Fact(number[fact.head], fact.relation_id, number[fact.tail])
        for fact in document.facts
        if fact.head in number and fact.tail in number and not gone.intersection(fact.evidence)
    )
    entities = tuple(Entity(remaining[old], document.entities[old].type) for old in number)
    return edited(replace(document, entities=entities, facts=facts), [(span, "") for span in spans])


def edited(document: AnnotatedDocument, edits: Iterable[Edit]) -> AnnotatedDocument:
    """The document with the edits made, every offset moved along. Edits must not overlap one another."""
    text = document.document.text
    ordered = sorted(set(edits))
    pieces, starts, ends, shifts, at, shift = [], [], [], [], 0, 0
    for (start, end), new in ordered:
        pieces += [text[at:start], new]
        at = end
        starts.append(start)
        ends.append(end)
        shift += len(new) - (end - start)
        shifts.append(shift)
    pieces.append(text[at:])

    def moved(span: Span) -> Span:
        before = bisect_right(ends, span[0]) if span[0] else 0
        within = bisect_right(ends, span[1])
        return (
            span[0] + (shifts[before - 1] if before else 0),
            span[1] + (shifts[within - 1] if within else 0),
        )

    return replace(
        document,
        document=replace(document.document, text="".join(pieces)),
        sentences=tuple(moved(span) for span in document.sentences),
        entities=tuple(
            replace(entity, mentions=tuple(sorted(moved(span) for span in entity.mentions)))
            for entity in document.entities
        ),
    )
