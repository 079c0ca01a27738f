import pytest

from autore_cli.scoring.metrics import by_alias, by_entity
from tests.scoring.helpers import claims, document, scored


def test_by_alias_on_the_fixture() -> None:
    """Right: Brook P19 Selma, tower P17 Norland, and both Sam Reeds' P19 Lowick. Wrong: Old Light, Lowick P17 Lowick
    (twice, counted once), ada brook. Neither: Ada Brook P19 Port Selma, the third Sam Reed, the second Lowick."""
    report = scored("predictions.jsonl")
    micro = report.alias.micro
    assert (micro.right, micro.predicted, micro.gold) == (4, 7, 8)
    assert micro.precision == pytest.approx(4 / 7)
    assert micro.recall == pytest.approx(4 / 8)
    assert micro.f1 == pytest.approx(8 / 15)
    assert report.counts.repeats == 3


def test_by_entity_on_the_fixture() -> None:
    """All three Sam Reeds are the first entity: one right fact, not two."""
    micro = scored("predictions.jsonl").entity.micro
    assert (micro.right, micro.predicted, micro.gold) == (3, 6, 8)
    assert (micro.precision, micro.recall) == (0.5, 0.375)
    assert micro.f1 == pytest.approx(3 / 7)


def test_macro_is_the_mean_over_relations_of_either_side() -> None:
    """By alias, right/judged/gold: P19 3/3/3, P17 1/3/2, P27 0/1/1, P800 0/0/1, P40 0/0/1."""
    macro = scored("predictions.jsonl").alias.macro
    assert macro.relations == 5
    assert macro.precision == pytest.approx((1 + 1 / 3) / 5)
    assert macro.recall == pytest.approx((1 + 1 / 2) / 5)
    assert macro.f1 == pytest.approx((1 + 2 / 5) / 5)


def test_predictions_of_documents_without_facts_are_wrong() -> None:
    silence = document([["Port Selma"]], [])
    assert by_alias(silence, claims(silence, [("Port Selma", "P17", "Port Selma")])).counts == (0, 1, 0)


def test_case_decides() -> None:
    gold = document([["US"], ["us"]], [(0, "P17", 0)])
    assert by_alias(gold, claims(gold, [("us", "P17", "us")])).counts == (0, 1, 1)


def test_one_prediction_finds_one_fact_though_it_fits_two() -> None:
    gold = document([["Sam"], ["Sam"], ["Lowick"]], [(0, "P19", 2), (1, "P19", 2)])
    assert by_alias(gold, claims(gold, [("Sam", "P19", "Lowick")])).counts == (1, 1, 2)


def test_predictions_that_fit_several_facts_are_paired_so_that_most_are_found() -> None:
    """`Sam` fits both, `Sam Reed` the first alone: taken in the wrong order, one fact would be found."""
    gold = document([["Sam", "Sam Reed"], ["Sam"], ["Lowick"]], [(0, "P19", 2), (1, "P19", 2)])
    triples = [("Sam", "P19", "Lowick"), ("Sam Reed", "P19", "Lowick")]
    for order in (triples, triples[::-1]):
        for scores in ([0.9, 0.1], [0.1, 0.9]):
            outcome = by_alias(gold, claims(gold, order, scores))
            assert outcome.counts == (2, 2, 2)
            assert {claim.head.name: fact[0] for claim, fact in outcome.right} == {"SamReed": 0, "Sam": 1}


def test_wrong_aliases_of_one_entity_are_two_errors_by_alias_and_one_by_entity() -> None:
    gold = document([["Ada Brook", "Brook"], ["Norland"]], [(0, "P27", 1)])
    wrong = claims(gold, [("Ada Brook", "P19", "Norland"), ("Brook", "P19", "Norland")])
    assert by_alias(gold, wrong).counts == (0, 2, 1)
    assert by_entity(gold, wrong).counts == (0, 1, 1)


def test_direction_decides() -> None:
    gold = document([["Lowick"], ["Norland"]], [(0, "P17", 1)])
    assert by_alias(gold, claims(gold, [("Norland", "P17", "Lowick")])).counts == (0, 1, 1)


def test_of_a_repeated_wrong_triple_the_highest_score_counts() -> None:
    gold = document([["Lowick"], ["Norland"]], [(0, "P17", 1)])
    (wrong,) = by_alias(gold, claims(gold, [("x", "P17", "y")] * 2, [0.2, 0.7])).wrong
    assert wrong.score == 0.7
