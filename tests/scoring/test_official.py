"""The numbers are worked out by hand from fixtures/scoring; see the sums beside them."""

import pytest

from autore_cli.scoring.figures import Figures
from tests.scoring.helpers import lines, scored

OFFICIAL = scored("official.json", train="train.json").official


def counts(figures: Figures) -> tuple[int, int, int]:
    return figures.right, figures.predicted, figures.gold


def test_f1() -> None:
    """Nine results, one repeated; the one of an unknown document is wrong."""
    assert counts(OFFICIAL.relation) == (3, 8, 8)
    assert OFFICIAL.relation.f1 == pytest.approx(3 / 8)


def test_ign_leaves_out_right_predictions_of_training_facts_and_not_the_facts() -> None:
    """The training data has Sam Reed, born in Lowick."""
    ign = OFFICIAL.ign
    assert ign is not None
    precision = (3 - 1) / (8 - 1 + 1e-5)
    assert ign.ignored == 1
    assert ign.precision == pytest.approx(precision, abs=1e-12)
    assert ign.recall == 3 / 8
    assert ign.f1 == pytest.approx(2 * precision * (3 / 8) / (precision + 3 / 8), abs=1e-12)


def test_without_training_data_there_is_no_ign() -> None:
    assert scored("official.json").official.ign is None


def test_evidence() -> None:
    """Predicted 1 + 2 + 1 + 0 + 1 + 0 + 1 sentences, none counted for the unknown document and the repeat; right: one
    of each right result; gold: 7 + 3, and recall is over one more."""
    assert counts(OFFICIAL.evidence) == (3, 6, 10)
    assert OFFICIAL.evidence.precision == 1 / 2
    assert OFFICIAL.evidence.recall == 3 / 11
    assert OFFICIAL.evidence.f1 == pytest.approx(6 / 17)


def test_frequent_and_long_tail() -> None:
    """Frequent: P17 and P27 of the gold. Long-tail: P19, P20, P40 and P800."""
    assert counts(OFFICIAL.frequent) == (1, 4, 3)
    assert counts(OFFICIAL.long_tail) == (2, 4, 5)


def test_relations_outside_the_schema_are_neither_frequent_nor_long_tail() -> None:
    rows = [{"doc": "Old Light", "head": "Brook", "relation": name, "tail": "Selma"} for name in ("P19", "P17", "met")]
    official = scored(lines(rows)).official
    assert (official.relation.predicted, official.frequent.predicted, official.long_tail.predicted) == (3, 1, 1)


def test_intra_and_inter() -> None:
    """Nothing is known of distances in an unknown document, so it is in neither."""
    assert counts(OFFICIAL.intra) == (3, 5, 5)
    assert counts(OFFICIAL.inter) == (0, 2, 3)


def test_f1_is_that_by_entity() -> None:
    for predictions in ("official.json", "predictions.jsonl"):
        report = scored(predictions)
        assert report.official.relation == report.entity.micro
