"""Gold documents: what predictions are scored against, from a DocRED file or from triples as JSON lines."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from autore_cli.documents.docred import annotate, load_records
from autore_cli.errors import InputError
from autore_cli.records import AnnotatedDocument, Fact, Span
from autore_cli.schema import Schema
from autore_cli.scoring import fields
from autore_cli.scoring.names import normalise
from autore_cli.scoring.sources import Source

FactKey = tuple[int, str, int]
"""Head entity, relation id, tail entity."""


@dataclass(frozen=True, slots=True)
class GoldEntity:
    """An annotated entity.

    Attributes:
        name: what to call it: its first mention as the text has it.
        names: its mentions' names as the file has them, repeats included.
        mentions: their spans; empty when the text isn't known.
        sentences: the numbers of the sentences that mention it; empty when they aren't known.
    """

    name: str
    names: tuple[str, ...]
    mentions: tuple[Span, ...] = ()
    sentences: frozenset[int] = frozenset()


@dataclass(frozen=True)
class GoldDocument:
    """A document's annotation.

    Attributes:
        id: what predictions call the document.
        entities: its entities; facts refer to them by number.
        labels: the annotated facts as listed, repeats included.
        text: the document's text, if it is known.
        sentences: the spans of its sentences.
        annotated: False for a stand-in for a document that only predictions know.
    """

    id: str
    entities: tuple[GoldEntity, ...] = ()
    labels: tuple[Fact, ...] = ()
    text: str | None = None
    sentences: tuple[Span, ...] = ()
    annotated: bool = True

    @cached_property
    def facts(self) -> dict[FactKey, Fact]:
        """The distinct facts; of repeated labels the last one's evidence counts, as in the official script."""
        return {(fact.head, fact.relation_id, fact.tail): fact for fact in self.labels}

    @cached_property
    def relations(self) -> dict[tuple[int, int], frozenset[str]]:
        """The relations between each pair of head and tail that has some."""
        pairs: dict[tuple[int, int], set[str]] = {}
        for head, relation, tail in self.facts:
            pairs.setdefault((head, tail), set()).add(relation)
        return {pair: frozenset(relations) for pair, relations in pairs.items()}

    @cached_property
    def aliases(self) -> dict[str, tuple[int, ...]]:
        """The entities that have a name, by its normalised form; those with most mentions of that name come first."""
        counts: dict[str, Counter[int]] = {}
        for number, entity in enumerate(self.entities):
            for name in (entity.name, *entity.names):
                counts.setdefault(normalise(name), Counter())[number] += 1
        return {name: tuple(entity for entity, _ in counter.most_common()) for name, counter in counts.items()}

    @cached_property
    def mentioned_at(self) -> dict[Span, tuple[int, ...]]:
        """The entities that are mentioned at exactly a span."""
        places: dict[Span, tuple[int, ...]] = {}
        for number, entity in enumerate(self.entities):
            for span in entity.mentions:
                places[span] = (*places.get(span, ()), number)
        return places


def read_gold(source: Source, schema: Schema) -> list[GoldDocument]:
    """Reads gold documents.

    Args:
        source: a DocRED file (a JSON list), or triples as JSON lines with `doc`, `head`, `relation_id` (or `relation`)
            and `tail`. JSON lines know no text: each name is an entity of its own.
        schema: names the relations of JSON lines that have no `relation_id`.

    Raises:
        InputError: the file is not in one of these forms, holds a document twice, or has no fact.
    """
    documents = list(_from_docred(source) if source.is_array else _from_triples(source, schema))
    repeated = [id_ for id_, count in Counter(document.id for document in documents).items() if count > 1]
    if repeated:
        raise InputError(f"holds {len(repeated)} documents more than once, as {repeated[0]!r}", where=source.name)
    if not any(document.labels for document in documents):
        raise InputError("has no facts to score against", where=source.name)
    return documents


def training_facts(source: Source) -> frozenset[tuple[str, str, str]]:
    """Head name, tail name and relation id of every fact of a DocRED file, for each pair of its entities' names.

    The names are the file's own, not normalised: this is the official script's list of facts to ignore.

    Raises:
        InputError: the file is not a DocRED file.
    """
    return frozenset(
        (head, tail, fact.relation_id)
        for document in _from_docred(source)
        for fact in document.labels
        for head in document.entities[fact.head].names
        for tail in document.entities[fact.tail].names
    )


def relation_of(row: fields.Row, schema: Schema, where: str) -> str:
    """The id of a triple's relation, from `relation_id`, else from `relation`."""
    return relation_id(fields.text(row, "relation_id" if row.get("relation_id") else "relation", where), schema)


def relation_id(name: str, schema: Schema) -> str:
    """The id of a relation that is given by id or by name; what the schema doesn't have stays as it is."""
    return schema.by_name[name].id if name in schema.by_name and name not in schema.by_id else name


def _from_docred(source: Source) -> Iterator[GoldDocument]:
    for place, record in load_records(source.data, source.name):
        yield _with_own_names(annotate(record, place), cast(dict[str, Any], record))


def _with_own_names(annotated: AnnotatedDocument, record: dict[str, Any]) -> GoldDocument:
    """Keeps what the official script counts and `annotated` leaves out: names as written, repeated labels."""
    entities = []
    for number, mentions in enumerate(record["vertexSet"]):
        name = annotated.names(number)[0]
        entities.append(
            GoldEntity(
                name=name,
                names=tuple(str(mention.get("name", name)) for mention in mentions),
                mentions=annotated.entities[number].mentions,
                sentences=frozenset(mention["sent_id"] for mention in mentions),
            )
        )
    labels = tuple(
        Fact(label["h"], label["r"], label["t"], tuple(label.get("evidence") or ()))
        for label in record.get("labels") or ()
    )
    return GoldDocument(annotated.document.id, tuple(entities), labels, annotated.document.text, annotated.sentences)


def _from_triples(source: Source, schema: Schema) -> Iterator[GoldDocument]:
    documents: dict[str, _Triples] = {}
    for where, row in source.lines():
        document = documents.setdefault(fields.text(row, "doc", where), _Triples())
        head, tail = (document.entity(fields.text(row, key, where)) for key in ("head", "tail"))
        evidence = fields.evidence(row, where) or ()
        document.labels.append(Fact(head, relation_of(row, schema, where), tail, evidence))
    for id_, document in documents.items():
        entities = tuple(GoldEntity(name, (name,)) for name in document.names.values())
        yield GoldDocument(id_, entities, tuple(document.labels))


class _Triples:
    """A document's triples while they are read: each normalised name is an entity."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.labels: list[Fact] = []
        self._numbers: dict[str, int] = {}

    def entity(self, name: str) -> int:
        key = normalise(name)
        self.names.setdefault(key, name)
        return self._numbers.setdefault(key, len(self._numbers))
