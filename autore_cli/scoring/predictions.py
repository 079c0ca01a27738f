"""Predictions: our JSON lines, or DocRED's official result format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from autore_cli.errors import InputError
from autore_cli.records import Span
from autore_cli.schema import Schema
from autore_cli.scoring import fields
from autore_cli.scoring.gold import GoldDocument, relation_id, relation_of
from autore_cli.scoring.sources import Source, as_object


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predicted fact, as its file has it.

    Attributes:
        doc: the document's id.
        head: the head's name.
        relation_id: the relation, as the schema calls it.
        tail: the tail's name.
        head_spans: where the head stands in the document's text, if the file says so.
        tail_spans: the same for the tail.
        head_entity: the head's number among the gold entities, if the file says so.
        tail_entity: the same for the tail.
        score: its confidence, if the file has one.
        evidence: the numbers of its sentences, if the file has them.
    """

    doc: str
    head: str
    relation_id: str
    tail: str
    head_spans: tuple[Span, ...] = ()
    tail_spans: tuple[Span, ...] = ()
    head_entity: int | None = None
    tail_entity: int | None = None
    score: float | None = None
    evidence: tuple[int, ...] | None = None


def read_predictions(source: Source, gold: Mapping[str, GoldDocument], schema: Schema) -> list[Prediction]:
    """Reads predictions.

    Args:
        source: triples as JSON lines (`doc`, `head`, `relation_id` or `relation`, `tail`; optionally `head_spans`,
            `tail_spans`, `score`, `evidence`), or DocRED's official results, a JSON list of `title`, `h_idx`, `t_idx`,
            `r` (optionally `evidence`, `score`).
        gold: the documents by id. Official results name entities by their number in them.
        schema: names the relations of lines without `relation_id`.

    Returns:
        The predictions in the file's order.

    Raises:
        InputError: a field is missing or of the wrong kind, or an entity's number is not one of its document's.
    """
    return list(_official(source, gold, schema) if source.is_array else _triples(source, schema))


def _triples(source: Source, schema: Schema) -> Iterator[Prediction]:
    for where, row in source.lines():
        yield Prediction(
            doc=fields.text(row, "doc", where),
            head=fields.text(row, "head", where),
            relation_id=relation_of(row, schema, where),
            tail=fields.text(row, "tail", where),
            head_spans=fields.spans(row, "head_spans", where),
            tail_spans=fields.spans(row, "tail_spans", where),
            score=fields.score(row, where),
            evidence=fields.evidence(row, where),
        )


def _official(source: Source, gold: Mapping[str, GoldDocument], schema: Schema) -> Iterator[Prediction]:
    for number, value in enumerate(_results(source), start=1):
        where = f"{source.name}: record {number}"
        row = as_object(value, where)
        title = fields.text(row, "title", where)
        entities = gold[title].entities if title in gold else None
        head, tail = (
            fields.index(row, key, None if entities is None else len(entities), where) for key in ("h_idx", "t_idx")
        )
        yield Prediction(
            doc=title,
            head=entities[head].name if entities else f"entity {head}",
            relation_id=relation_id(fields.text(row, "r", where), schema),
            tail=entities[tail].name if entities else f"entity {tail}",
            head_entity=head if entities else None,
            tail_entity=tail if entities else None,
            score=fields.score(row, where),
            evidence=fields.evidence(row, where),
        )


def _results(source: Source) -> list[object]:
    try:
        results: list[object] = orjson.loads(source.data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error}", where=source.name) from error
    return results
