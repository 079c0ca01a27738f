"""Scores out of probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.calibration import Calibration, log_odds

PROBABILITIES = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(PROBABILITIES, st.floats(-20, 20), st.lists(st.floats(-9, 9), min_size=3, max_size=3))
def test_scores_lie_above_0_and_up_to_1(probabilities: list[float], bias: float, weights: list[float]) -> None:
    assert 0 < Calibration(bias, tuple(weights)).score(probabilities) <= 1
    assert 0 < Calibration().score(probabilities) <= 1


def test_without_weights_the_score_is_the_product() -> None:
    assert Calibration().score([0.5, 0.5, 0.8]) == pytest.approx(0.2)


def test_with_weights_it_is_a_logistic_regression() -> None:
    score = Calibration(0.5, (1.0, -2.0)).score([0.7, 0.4])
    assert score == pytest.approx(1 / (1 + math.exp(-(0.5 + log_odds(0.7) - 2 * log_odds(0.4)))), abs=1e-6)


@given(PROBABILITIES, st.integers(0, 2))
def test_with_positive_weights_a_surer_decision_never_lowers_the_score(probabilities: list[float], place: int) -> None:
    surer = list(probabilities)
    surer[place] = (surer[place] + 1) / 2
    calibration = Calibration(-1.0, (0.3, 0.6, 0.9))
    assert calibration.score(surer) >= calibration.score(probabilities)
