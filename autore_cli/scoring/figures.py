"""Precision, recall and F1, from counts. Whatever would be 0/0 is 0, as in the official DocRED script."""

from collections.abc import Collection
from dataclasses import dataclass

Counts = tuple[int, int, int]
"""How many predictions are right, how many were judged (right or wrong), how many facts the gold has."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Fractions in [0, 1], and the counts they come from."""

    precision: float
    recall: float
    f1: float
    right: int
    predicted: int
    gold: int


@dataclass(frozen=True, slots=True)
class Macro:
    """Means of precision, recall and F1 over `relations` relations, each counting the same."""

    precision: float
    recall: float
    f1: float
    relations: int


def figures(right: int, predicted: int, gold: int) -> Figures:
    """Precision `right / predicted`, recall `right / gold` and their harmonic mean."""
    precision, recall = ratio(right, predicted), ratio(right, gold)
    return Figures(precision, recall, f1(precision, recall), right, predicted, gold)


def macro(rows: Collection[Figures]) -> Macro:
    """The unweighted mean over relations, those that occur in the gold or in the predictions.

    Source: scikit-learn's `precision_recall_fscore_support(average="macro", zero_division=0)`, whose labels are those
    present on either side.
    """
    count = len(rows)
    return Macro(
        precision=ratio(sum(row.precision for row in rows), count),
        recall=ratio(sum(row.recall for row in rows), count),
        f1=ratio(sum(row.f1 for row in rows), count),
        relations=count,
    )


def ratio(part: float, whole: float) -> float:
    """`part / whole`, and 0 when `whole` is."""
    return part / whole if whole else 0.0


def f1(precision: float, recall: float) -> float:
    """The harmonic mean."""
    return ratio(2 * precision * recall, precision + recall)
