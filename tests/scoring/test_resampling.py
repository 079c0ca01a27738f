from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autore_cli.scoring.figures import figures
from autore_cli.scoring.resampling import Interval, Row, compare, intervals
from tests.scoring.helpers import scored

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(3, 6), st.integers(3, 6)), min_size=1, max_size=8)


def f1(sums: Sequence[int]) -> dict[str, float]:
    return {"f1": figures(*sums).f1}


@settings(deadline=None)
@given(ROWS, st.integers(0, 3))
def test_intervals_are_ordered_and_repeatable(rows: list[Row], seed: int) -> None:
    interval = intervals(rows, f1, 20, seed)["f1"]
    assert 0 <= interval.low <= interval.high <= 1
    assert intervals(rows, f1, 20, seed)["f1"] == interval


def test_documents_that_are_all_alike_leave_no_doubt() -> None:
    assert intervals([(1, 2, 2)] * 5, f1, 50, 0)["f1"] == Interval(0.5, 0.5)


def test_the_percentiles_are_those_of_the_binomial() -> None:
    """Of 100 documents half have F1 1: the number drawn of them is binomial, 95 % of it within 0.40 and 0.60."""
    interval = intervals([(1, 1, 1), (0, 1, 1)] * 50, f1, 2000, 0)["f1"]
    assert interval.low == pytest.approx(0.40, abs=0.02)
    assert interval.high == pytest.approx(0.60, abs=0.02)


@settings(deadline=None)
@given(ROWS)
def test_a_system_does_not_differ_from_itself(rows: list[Row]) -> None:
    difference = compare(rows, rows, f1, 20, 0)["f1"]
    assert difference.difference == 0
    assert difference.p == 1
    assert difference.interval == Interval(0, 0)


@pytest.mark.parametrize("documents", [2, 4, 6])
def test_the_p_value_is_that_of_the_exact_permutation_test(documents: int) -> None:
    """One system always finds the fact, the other never: only exchanging all documents or none is as extreme."""
    difference = compare([(1, 1, 1)] * documents, [(0, 1, 1)] * documents, f1, 4000, 0)["f1"]
    assert (difference.ours, difference.theirs, difference.difference) == (1, 0, 1)
    assert difference.p == pytest.approx(2 / 2**documents, abs=0.03)


def test_reports_carry_both() -> None:
    report = scored("official.json", train="train.json", against="predictions.jsonl", resamples=30)
    assert report.against is not None
    assert report.intervals.keys() == report.against.keys()
    difference = report.against["alias.f1"]
    assert difference.ours == report.alias.micro.f1
    assert difference.theirs == pytest.approx(8 / 15)
    assert report.intervals["alias.f1"].low <= report.alias.micro.f1 <= report.intervals["alias.f1"].high
    assert report.intervals["official.ign.f1"].high > 0
