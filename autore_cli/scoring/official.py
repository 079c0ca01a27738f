"""The figures of the official Re-DocRED script, to the last digit.

Source: `official_evaluate` and `official_evaluate_benchmark` in evaluation.py of
https://github.com/tonytan48/Re-DocRED (Tan et al. 2022, arXiv:2205.12696), after DocRED's own script. Kept, though odd,
since published figures have them: evidence recall is over one sentence more than there is; Ign precision over 1e-5
predictions more; recall under Ign still counts the ignored facts; of a prediction's repeats the first one's evidence
counts. Not kept: the second function takes a single prediction for none, and fails on documents that the gold does not
have (here they are wrong, as in the first function, and neither intra nor inter).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autore_cli.scoring import distance
from autore_cli.scoring.alignment import Claim, Triple
from autore_cli.scoring.figures import Figures, f1, figures, ratio
from autore_cli.scoring.gold import GoldDocument
from autore_cli.scoring.metrics import Outcome

FREQUENT = frozenset({"P17", "P131", "P27", "P150", "P175", "P577", "P463", "P527", "P495", "P361"})
"""The ten most frequent relations of DocRED's training data, as the script lists them."""


@dataclass(frozen=True, slots=True)
class Ignoring:
    """Figures that leave out right predictions of facts that the training data has. Recall is not changed by that.

    `ignored` is how many right predictions were left out.
    """

    precision: float
    recall: float
    f1: float
    ignored: int


@dataclass(frozen=True, slots=True)
class Official:
    """The script's figures.

    Attributes:
        relation: F1 over all facts.
        ign: the same without facts of the training data; None when none was given.
        evidence: evidence sentences of right predictions; counts are sentences.
        frequent: facts of the ten most frequent relations.
        long_tail: facts of the schema's other relations.
        intra: facts whose head and tail share a sentence.
        inter: facts whose head and tail share none.
    """

    relation: Figures
    ign: Ignoring | None
    evidence: Figures
    frequent: Figures
    long_tail: Figures
    intra: Figures
    inter: Figures


@dataclass(frozen=True, slots=True)
class Script:
    """What the script is run with: the training data's facts to ignore, and the ids of the schema's relations."""

    relation_ids: frozenset[str]
    ignore: frozenset[tuple[str, str, str]] | None = None

    def row(self, outcome: Outcome, claims: Iterable[Claim]) -> tuple[int, ...]:
        """One document's counts. Those of several documents are added up column by column.

        Args:
            outcome: the document's outcome by entity.
            claims: its claims in the order of the file.
        """
        evidence: dict[Triple, frozenset[int]] = {}
        for claim in claims:
            evidence.setdefault(claim.triple, frozenset(claim.prediction.evidence or ()))
        document = outcome.document
        ignored = sum(self._in_training(document, claim) for claim, _ in outcome.right)
        evidence_right = sum(
            len(evidence[claim.triple].intersection(document.facts[fact].evidence)) for claim, fact in outcome.right
        )
        evidence_predicted = sum(map(len, evidence.values())) if document.annotated else 0
        evidence_gold = sum(len(label.evidence) for label in document.labels)
        return (
            *outcome.counts,
            ignored,
            *(evidence_right, evidence_predicted, evidence_gold),
            *self._subsets(outcome),
        )

    def official(self, totals: Sequence[int]) -> Official:
        """The figures of added-up rows."""
        right, predicted, gold, ignored = totals[:4]
        relation = figures(right, predicted, gold)
        ign = _ignoring(relation, ignored) if self.ignore is not None else None
        subsets = (figures(*totals[i : i + 3]) for i in range(7, 19, 3))
        return Official(relation, ign, _evidence(*totals[4:7]), *subsets)

    def _in_training(self, document: GoldDocument, claim: Claim) -> bool:
        if not self.ignore or claim.fact is None:
            return False
        head, relation_id, tail = claim.fact
        return any(
            (head_name, tail_name, relation_id) in self.ignore
            for head_name in document.entities[head].names
            for tail_name in document.entities[tail].names
        )

    def _subsets(self, outcome: Outcome) -> list[int]:
        """Right, predicted and gold of frequent, long-tail, intra and inter, in this order."""
        right = [self._membership(claim.relation_id, distance.of_claim(claim)) for claim, _ in outcome.right]
        wrong = [self._membership(claim.relation_id, distance.of_claim(claim)) for claim in outcome.wrong]
        gold = [self._membership(fact[1], distance.of_fact(outcome.document, fact)) for fact in outcome.document.facts]
        return [sum(row[i] for row in rows) for i in range(4) for rows in (right, right + wrong, gold)]

    def _membership(self, relation_id: str, apart: int | None) -> tuple[bool, bool, bool, bool]:
        frequent = relation_id in FREQUENT
        return (
            frequent,
            not frequent and relation_id in self.relation_ids,
            apart == 0,
            apart is not None and apart > 0,
        )


def _ignoring(relation: Figures, ignored: int) -> Ignoring:
    precision = (relation.right - ignored) / (relation.predicted - ignored + 1e-5)
    return Ignoring(precision, relation.recall, f1(precision, relation.recall), ignored)


def _evidence(right: int, predicted: int, gold: int) -> Figures:
    precision, recall = ratio(right, predicted), right / (gold + 1)
    return Figures(precision, recall, f1(precision, recall), right, predicted, gold)
