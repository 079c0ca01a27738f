"""One system's predictions, judged document by document."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from autore_cli.scoring import distance
from autore_cli.scoring.alignment import Aligner, Claim
from autore_cli.scoring.figures import Figures, figures
from autore_cli.scoring.gold import FactKey, GoldDocument
from autore_cli.scoring.metrics import Outcome, by_alias, by_entity, ranked
from autore_cli.scoring.predictions import Prediction


@dataclass(frozen=True)
class Evaluation:
    """What became of a system's predictions.

    Attributes:
        alias: the outcome of every document by AutoRE's metric, in the order of the gold.
        entity: the same by the strict metric.
        claims: every document's claims in the order of their file.
        disbelieved: how many heads and tails came with spans that the text contradicts.
    """

    alias: tuple[Outcome, ...]
    entity: tuple[Outcome, ...]
    claims: tuple[tuple[Claim, ...], ...]
    disbelieved: int

    @cached_property
    def ends(self) -> Counter[str]:
        """How many heads and tails were aligned by `index`, `span`, `name`, or not at all (`none`)."""
        return Counter(end.how for claims in self.claims for claim in claims for end in (claim.head, claim.tail))

    @property
    def aligned(self) -> int:
        """How many predictions have a gold entity at both ends."""
        return sum(claim.fact is not None for claims in self.claims for claim in claims)


def evaluate(documents: Sequence[GoldDocument], predictions: Iterable[Prediction]) -> Evaluation:
    """Aligns predictions and judges them by both metrics.

    Args:
        documents: a document for every id among the predictions.
        predictions: in the order of their file.
    """
    of_document: dict[str, list[Prediction]] = {document.id: [] for document in documents}
    for prediction in predictions:
        of_document[prediction.doc].append(prediction)
    alias, entity, claims = [], [], []
    disbelieved = 0
    for document in documents:
        aligner = Aligner(document)
        aligned = tuple(aligner.align(prediction) for prediction in of_document[document.id])
        in_rank = ranked(aligned)
        alias.append(by_alias(document, in_rank))
        entity.append(by_entity(document, in_rank))
        claims.append(aligned)
        disbelieved += aligner.disbelieved
    return Evaluation(tuple(alias), tuple(entity), tuple(claims), disbelieved)


def total(outcomes: Iterable[Outcome]) -> Figures:
    """The micro average: all documents' counts added up."""
    right, judged, gold = map(sum, zip(*(outcome.counts for outcome in outcomes), strict=True))
    return figures(right, judged, gold)


def by_relation(outcomes: Iterable[Outcome]) -> dict[str, Figures]:
    """The figures of each relation of the gold or the predictions; those with most gold facts come first."""
    groups = _grouped(outcomes, lambda _, claim: claim.relation_id, lambda _, fact: fact[1])
    return dict(sorted(groups.items(), key=lambda group: (-group[1].gold, -group[1].predicted, group[0])))


def by_distance(outcomes: Iterable[Outcome]) -> dict[str, Figures]:
    """The figures of each of `distance.DISTANCES`; a right prediction is as far as the fact that it found."""
    groups = _grouped(
        outcomes,
        lambda _, claim: distance.distance_group(distance.of_claim(claim)),
        lambda document, fact: distance.distance_group(distance.of_fact(document, fact)),
    )
    return {group: groups[group] for group in distance.DISTANCES if group in groups}


def by_length(outcomes: Iterable[Outcome]) -> dict[str, Figures]:
    """The figures of each of `distance.LENGTHS`."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(distance.length_group(outcome.document), []).append(outcome)
    return {group: total(groups[group]) for group in distance.LENGTHS if group in groups}


def _grouped(
    outcomes: Iterable[Outcome],
    group_of_claim: Callable[[GoldDocument, Claim], str],
    group_of_fact: Callable[[GoldDocument, FactKey], str],
) -> dict[str, Figures]:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    gold: Counter[str] = Counter()
    for outcome in outcomes:
        document = outcome.document
        right.update(group_of_fact(document, fact) for _, fact in outcome.right)
        wrong.update(group_of_claim(document, claim) for claim in outcome.wrong)
        gold.update(group_of_fact(document, fact) for fact in document.facts)
    return {group: figures(right[group], right[group] + wrong[group], gold[group]) for group in right | wrong | gold}
