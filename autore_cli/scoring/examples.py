"""The most confident errors, each with the sentences that it was read from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from autore_cli.scoring.alignment import Claim
from autore_cli.scoring.gold import GoldDocument
from autore_cli.scoring.losses import Error, error
from autore_cli.scoring.metrics import Outcome


@dataclass(frozen=True, slots=True)
class Example:
    """A wrong prediction.

    Attributes:
        relation: the relation's name, or its id if the schema does not have it.
        error: what is wrong with it, as `losses.Error` explains.
        gold: the names of the relations that the gold has from this head to this tail.
        sentences: the sentences in which head and tail stand closest together; empty when the text isn't known.
    """

    doc: str
    head: str
    relation: str
    relation_id: str
    tail: str
    score: float | None
    error: Error
    gold: tuple[str, ...]
    sentences: tuple[str, ...]


def examples(outcomes: Iterable[Outcome], count: int, names: Mapping[str, str]) -> tuple[Example, ...]:
    """The `count` wrong predictions with the highest scores, of those without scores the first ones.

    Args:
        outcomes: what became of the predictions.
        count: how many to show.
        names: the relations' names by id.
    """
    wrong = [(outcome.document, claim) for outcome in outcomes for claim in outcome.wrong]
    wrong.sort(key=lambda pair: pair[1].score, reverse=True)
    return tuple(_example(document, claim, names) for document, claim in wrong[:count])


def _example(document: GoldDocument, claim: Claim, names: Mapping[str, str]) -> Example:
    prediction = claim.prediction
    relations = document.relations.get((claim.fact[0], claim.fact[2]), frozenset()) if claim.fact else frozenset()
    return Example(
        doc=prediction.doc,
        head=prediction.head,
        relation=names.get(prediction.relation_id, prediction.relation_id),
        relation_id=prediction.relation_id,
        tail=prediction.tail,
        score=prediction.score,
        error=error(document, claim),
        gold=tuple(sorted(names.get(relation, relation) for relation in relations)),
        sentences=tuple(_sentences(document, claim)),
    )


def _sentences(document: GoldDocument, claim: Claim) -> list[str]:
    """The sentences of the head's and the tail's mentions that are closest to each other."""
    heads, tails = sorted(claim.head.sentences), sorted(claim.tail.sentences)
    closest = min(product(heads, tails), key=lambda pair: abs(pair[0] - pair[1]), default=(*heads, *tails)[:1])
    text = document.text or ""
    return [text[start:end] for start, end in (document.sentences[number] for number in sorted(set(closest)))]
