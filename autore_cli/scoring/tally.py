"""What was read: how much of it, and what is odd about it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autore_cli.errors import InputError
from autore_cli.schema import Schema
from autore_cli.scoring.evaluation import Evaluation
from autore_cli.scoring.gold import GoldDocument
from autore_cli.scoring.predictions import Prediction


@dataclass(frozen=True, slots=True)
class Tally:
    """How many there are of what was read.

    Attributes:
        documents: gold documents.
        silent_documents: those without a prediction.
        facts: distinct gold facts.
        repeated_facts: gold labels that repeat one of them.
        facts_outside_schema: distinct gold facts with a relation that the schema does not have; scored all the same.
        predictions: predictions as read.
        repeats: those that are neither right nor wrong under the alias metric.
        aligned: those whose head and tail are both gold entities.
        unknown_documents: documents that predictions name and the gold does not have.
        in_unknown_documents: predictions of these; wrong.
        outside_schema: predictions with a relation that neither the schema nor the gold has; wrong.
        without_score: predictions without a score.
        without_spans: predictions with neither entity indices nor spans for both ends.
        with_evidence: predictions with evidence.
        disbelieved_ends: heads and tails whose spans the text contradicts; aligned by name.
        ends: heads and tails by what they were aligned by: `index`, `span`, `name`, or `none`.
    """

    documents: int
    silent_documents: int
    facts: int
    repeated_facts: int
    facts_outside_schema: int
    predictions: int
    repeats: int
    aligned: int
    unknown_documents: int
    in_unknown_documents: int
    outside_schema: int
    without_score: int
    without_spans: int
    with_evidence: int
    disbelieved_ends: int
    ends: dict[str, int]


def check(name: str, gold: Sequence[GoldDocument], predictions: Sequence[Prediction], schema: Schema) -> None:
    """Refuses predictions that can't be about this gold.

    Raises:
        InputError: no predicted document is in the gold, or no predicted relation in the schema or the gold.
    """
    ids = {document.id for document in gold}
    strangers = [prediction.doc for prediction in predictions if prediction.doc not in ids]
    if predictions and len(strangers) == len(predictions):
        example = f"{strangers[0]!r} there, {gold[0].id!r} in the gold"
        raise InputError("none of its documents is in the gold", where=name, hint=f"ids must be equal: {example}")
    known = _relations(gold, schema)
    if predictions and not any(prediction.relation_id in known for prediction in predictions):
        example = predictions[0].relation_id
        raise InputError(
            f"none of its relations is known, as {example!r}", where=name, hint="--schema names other relations"
        )


def tally(
    documents: Sequence[GoldDocument], predictions: Sequence[Prediction], judged: Evaluation, schema: Schema
) -> Tally:
    """Counts what was read.

    Args:
        documents: the gold documents, and stand-ins for those that only predictions know.
        predictions: as read.
        judged: what became of them.
        schema: the relations.
    """
    known = _relations(documents, schema)
    facts = [fact for document in documents for fact in document.facts]
    predicted = Counter(prediction.doc for prediction in predictions)
    strangers = [document.id for document in documents if not document.annotated]
    return Tally(
        documents=len(documents) - len(strangers),
        silent_documents=sum(document.id not in predicted for document in documents if document.annotated),
        facts=len(facts),
        repeated_facts=sum(len(document.labels) for document in documents) - len(facts),
        facts_outside_schema=sum(relation not in schema.by_id for _, relation, _ in facts),
        predictions=len(predictions),
        repeats=sum(outcome.repeats for outcome in judged.alias),
        aligned=judged.aligned,
        unknown_documents=sum(id_ in predicted for id_ in strangers),
        in_unknown_documents=sum(predicted[id_] for id_ in strangers),
        outside_schema=sum(prediction.relation_id not in known for prediction in predictions),
        without_score=sum(prediction.score is None for prediction in predictions),
        without_spans=sum(not _placed(prediction) for prediction in predictions),
        with_evidence=sum(bool(prediction.evidence) for prediction in predictions),
        disbelieved_ends=judged.disbelieved,
        ends={how: judged.ends[how] for how in ("index", "span", "name", "none")},
    )


def warnings(counts: Tally) -> tuple[str, ...]:
    """What a reader of the figures ought to know."""
    some_scores = counts.without_score < counts.predictions
    remarks = {
        f"predictions of {counts.unknown_documents} documents that the gold does not have, counted as wrong": (
            counts.in_unknown_documents
        ),
        "predictions with a relation that neither schema nor gold has, counted as wrong": counts.outside_schema,
        "gold facts with a relation that the schema does not have": counts.facts_outside_schema,
        "heads and tails aligned by name, as the text reads otherwise at their spans": counts.disbelieved_ends,
        "predictions without a score, so nothing is said of scores": counts.without_score if some_scores else 0,
    }
    return tuple(f"{remark}: {count}" for remark, count in remarks.items() if count)


def _relations(documents: Iterable[GoldDocument], schema: Schema) -> set[str]:
    """All relation ids that a prediction may sensibly have."""
    return {relation for document in documents for _, relation, _ in document.facts}.union(schema.by_id)


def _placed(prediction: Prediction) -> bool:
    return prediction.head_entity is not None or bool(prediction.head_spans and prediction.tail_spans)
