import pytest

from autore_cli.scoring.confidence import Confidence, Point
from tests.scoring.helpers import lines, scored

SCORED = {"doc": "Old Light", "head": "Brook", "relation": "P19", "tail": "Selma", "score": 0.5}


def fixture() -> Confidence:
    """Of 8 facts: 0.9 right, 0.9 right, 0.7 right, 0.6 wrong, 0.5 right, 0.3 wrong, 0.1 wrong."""
    found = scored("predictions.jsonl").confidence
    assert found is not None
    return found


def test_curve() -> None:
    points = {point.threshold: (point.precision, point.recall) for point in fixture().curve}
    assert points == {
        0.9: (1, 2 / 8), 0.7: (1, 3 / 8), 0.6: (3 / 4, 3 / 8),
        0.5: (4 / 5, 4 / 8), 0.3: (4 / 6, 4 / 8), 0.1: (4 / 7, 4 / 8),
    }  # fmt: skip
    assert fixture().average_precision == pytest.approx(2 / 8 + 1 / 8 + 4 / 5 / 8)


def test_best_threshold() -> None:
    assert fixture().best == Point(0.5, 4 / 5, 4 / 8, 2 * 4 / 5 * 4 / 8 / (4 / 5 + 4 / 8))


def test_calibration() -> None:
    """Gaps: 2 times 0.1, then 0.3, 0.6, 0.5, 0.3 and 0.1."""
    assert fixture().ece == pytest.approx(2 / 7)
    assert [(bin_.low, bin_.count) for bin_ in fixture().bins] == [
        (0.0, 1), (0.2, 1), (0.4, 1), (0.5, 1), (0.6, 1), (0.8, 2),
    ]  # fmt: skip


def test_scores_that_are_no_probabilities_have_a_curve_and_no_calibration() -> None:
    found = scored(lines([SCORED | {"score": -3.5}, SCORED | {"tail": "Norland", "score": 12}])).confidence
    assert found is not None
    assert [point.threshold for point in found.curve] == [12, -3.5]
    assert found.ece is None
    assert not found.bins


def test_when_a_score_is_missing_nothing_is_said_of_scores() -> None:
    report = scored(lines([SCORED, SCORED | {"tail": "Norland", "score": None}]))
    assert report.confidence is None
    assert report.warnings == ("rows.jsonl: predictions without a score, so nothing is said of scores: 1",)
    assert scored("official.json").confidence is None


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rows = [SCORED | {"tail": f"x{i}", "score": 1 - i / 1000} for i in range(999)]
    found = scored(lines(rows)).confidence
    assert found is not None
    assert len(found.curve) <= 201
    assert (found.curve[0].threshold, found.curve[-1].threshold) == (1.0, 1 - 998 / 1000)
