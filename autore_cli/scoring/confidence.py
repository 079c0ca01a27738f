"""What scores are worth: the precision-recall curve, the best threshold, and calibration."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autore_cli.scoring.figures import f1, ratio
from autore_cli.scoring.metrics import Outcome

BINS = 10
MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Point:
    """The figures when predictions with a score of at least `threshold` are kept."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions whose score is in (low, high], the first bin's 0 included."""

    low: float
    high: float
    count: int
    score: float
    precision: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """How far scores can be trusted.

    Attributes:
        curve: the precision-recall curve by falling threshold, thinned to 200 points or so.
        average_precision: the area under the whole curve: the mean of precision over the steps in recall.
        best: where F1 is highest. Chosen on the gold itself: report figures of other data.
        ece: the expected calibration error; None when a score is outside [0, 1].
        bins: what it was computed from; empty bins are left out.
    """

    curve: tuple[Point, ...]
    average_precision: float
    best: Point
    ece: float | None
    bins: tuple[Bin, ...]


def confidence(outcomes: Iterable[Outcome]) -> Confidence | None:
    """The figures of all documents' scores; None when a prediction has none, or there is no prediction.

    Source: average precision as in scikit-learn's `average_precision_score`, over all gold facts, found or not;
    expected calibration error as in Guo et al. 2017 (arXiv:1706.04599), with 10 bins of equal width.
    """
    gold = 0
    judged: list[tuple[float | None, bool]] = []
    for outcome in outcomes:
        gold += len(outcome.document.facts)
        judged += [(claim.prediction.score, True) for claim, _ in outcome.right]
        judged += [(claim.prediction.score, False) for claim in outcome.wrong]
    scored = [(score, right) for score, right in judged if score is not None]
    if not scored or len(scored) < len(judged):
        return None
    scored.sort(reverse=True)
    curve = _curve(scored, gold)
    steps = zip(curve, [0.0, *(point.recall for point in curve)], strict=False)
    bins = _bins(scored) if all(0 <= score <= 1 for score, _ in scored) else ()
    return Confidence(
        curve=tuple(_thin(curve)),
        average_precision=sum(point.precision * (point.recall - before) for point, before in steps),
        best=max(curve, key=lambda point: (point.f1, point.threshold)),
        ece=sum(bin_.count * abs(bin_.precision - bin_.score) for bin_ in bins) / len(scored) if bins else None,
        bins=bins,
    )


def _curve(scored: Sequence[tuple[float, bool]], gold: int) -> list[Point]:
    """A point for each distinct score."""
    points = []
    found = 0
    for kept, (threshold, right) in enumerate(scored, start=1):
        found += right
        if kept == len(scored) or scored[kept][0] != threshold:
            precision, recall = ratio(found, kept), ratio(found, gold)
            points.append(Point(threshold, precision, recall, f1(precision, recall)))
    return points


def _thin(curve: list[Point]) -> list[Point]:
    """Every n-th point, and the last one."""
    step = -(-len(curve) // MOST_POINTS)
    return curve[::step] + ([curve[-1]] if (len(curve) - 1) % step else [])


def _bins(scored: Iterable[tuple[float, bool]]) -> tuple[Bin, ...]:
    members: dict[int, list[tuple[float, bool]]] = {}
    for score, right in scored:
        members.setdefault(max(math.ceil(score * BINS) - 1, 0), []).append((score, right))
    return tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=len(group),
            score=sum(score for score, _ in group) / len(group),
            precision=sum(right for _, right in group) / len(group),
        )
        for number, group in sorted(members.items())
    )
