"""Calibration: from the probabilities of a model's decisions to the score of a triple."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DIGITS = 6
_LOWEST_SCORE = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns a candidate's probabilities into the score of its triple.

    With `weights`, a logistic regression on the log-odds of the probabilities, fitted on held-out documents, so that
    the score estimates how often such a triple is right. Without, the product of the probabilities.

    Attributes:
        bias: the regression's intercept.
        weights: one for each probability.
        threshold: triples with a lower score are not extracted.
    """

    bias: float = 0.0
    weights: tuple[float, ...] = ()
    threshold: float = 0.0

    def score(self, probabilities: Sequence[float]) -> float:
        """The score, in (0, 1], rounded for people to read."""
        if not self.weights:
            return max(_LOWEST_SCORE, round(math.prod(probabilities), _DIGITS))
        terms = (weight * log_odds(each) for weight, each in zip(self.weights, probabilities, strict=True))
        return max(_LOWEST_SCORE, round(1 / (1 + math.exp(-(self.bias + sum(terms)))), _DIGITS))


def log_odds(probability: float) -> float:
    """`log(p / (1 - p))`, of probabilities kept away from 0 and 1."""
    bounded = min(max(probability, _LOWEST_SCORE), 1 - _LOWEST_SCORE)
    return math.log(bounded / (1 - bounded))
