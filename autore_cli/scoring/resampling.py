"""Uncertainty by resampling documents: confidence intervals, and a paired test of two systems."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

Row = tuple[int, ...]
"""One document's counts."""

Statistics = Callable[[Sequence[int]], Mapping[str, float]]
"""Named figures of counts that were added up over documents, column by column."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two systems on the same documents.

    Attributes:
        ours: the figure of the first.
        theirs: the figure of the second.
        difference: `ours - theirs`.
        interval: of the difference.
        p: the two-sided p-value: how often a difference at least as large comes of chance alone.
    """

    ours: float
    theirs: float
    difference: float
    interval: Interval
    p: float


def intervals(rows: Sequence[Row], statistics: Statistics, rounds: int, seed: int) -> dict[str, Interval]:
    """Percentile intervals of the bootstrap over documents.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife"; the percentile method.

    Args:
        rows: the documents' counts.
        statistics: what to compute from the totals of each resample.
        rounds: the number of resamples, at least 1.
        seed: makes them repeatable.
    """
    generator = random.Random(seed)  # noqa: S311, not for secrets
    drawn = [statistics(totals(generator.choices(rows, k=len(rows)))) for _ in range(rounds)]
    return {name: _percentiles([figures[name] for figures in drawn]) for name in drawn[0]}


def compare(
    ours: Sequence[Row], theirs: Sequence[Row], statistics: Statistics, rounds: int, seed: int
) -> dict[str, Difference]:
    """Tests whether two systems differ on the same documents.

    The p-value is that of approximate randomisation: in each round, each document's results are exchanged between the
    two systems with probability 1/2; p = (1 + rounds with at least the observed difference) / (1 + rounds). The
    interval is that of the paired bootstrap.

    Source: Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"; Yeh 2000, "More accurate tests for the
    statistical significance of result differences" (C00-2137); Koehn 2004 (W04-3250) for the paired bootstrap.

    Args:
        ours: the first system's counts, a row a document.
        theirs: the second's, of the same documents in the same order.
        statistics: what to compute from each system's totals.
        rounds: how often to shuffle and to resample, at least 1.
        seed: makes them repeatable.
    """
    first, second = statistics(totals(ours)), statistics(totals(theirs))
    observed = _subtract(first, second)
    shuffled = _exchanged(ours, theirs, statistics, rounds, seed)
    width = len(ours[0])
    both = [(*row, *other) for row, other in zip(ours, theirs, strict=True)]
    interval = intervals(both, lambda sums: _subtract(statistics(sums[:width]), statistics(sums[width:])), rounds, seed)
    return {
        name: Difference(
            ours=first[name],
            theirs=second[name],
            difference=observed[name],
            interval=interval[name],
            p=(1 + sum(abs(chance[name]) >= abs(observed[name]) - 1e-12 for chance in shuffled)) / (1 + rounds),
        )
        for name in observed
    }


def totals(rows: Sequence[Row]) -> list[int]:
    """The sum of each column."""
    return [sum(column) for column in zip(*rows, strict=True)]


def _exchanged(
    ours: Sequence[Row], theirs: Sequence[Row], statistics: Statistics, rounds: int, seed: int
) -> list[dict[str, float]]:
    """The differences when documents are exchanged at random."""
    generator = random.Random(seed)  # noqa: S311, not for secrets
    first, second = totals(ours), totals(theirs)
    gains = [tuple(b - a for a, b in zip(row, other, strict=True)) for row, other in zip(ours, theirs, strict=True)]
    differences = []
    for _ in range(rounds):
        moved = totals(list(compress(gains, generator.choices((False, True), k=len(gains))))) or [0] * len(first)
        differences.append(
            _subtract(
                statistics([a + move for a, move in zip(first, moved, strict=True)]),
                statistics([b - move for b, move in zip(second, moved, strict=True)]),
            )
        )
    return differences


def _subtract(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: first[name] - second[name] for name in first}


def _percentiles(values: list[float]) -> Interval:
    """The middle 95 % of values."""
    ordered = sorted(values)
    cut = int(0.025 * len(ordered))
    return Interval(ordered[cut], ordered[-1 - cut])
