import pytest

from autore_cli.scoring.losses import Stage
from tests.scoring.helpers import lines, scored


def test_why_facts_are_missed() -> None:
    """relation: P27 and P40 are never predicted. head: P800 and P17 are, but not with these heads. tail: the second Sam
    Reed's P19, since the one prediction that fits found the first's."""
    assert scored("official.json").losses.missed == {"relation": 2, "head": 2, "tail": 1}


def test_why_predictions_are_wrong() -> None:
    """relation: Ada Brook P17 Norland (gold: P27), Sam Reed P20 Sam Reed (P40). swapped: P800. fact: Silence."""
    assert scored("official.json").losses.wrong == {
        "relation": 2, "swapped": 1, "boundary": 0, "entity": 0, "fact": 1, "document": 1,
    }  # fmt: skip


def test_ends_that_are_no_entities() -> None:
    """`Old Light` overlaps the tower; `ada brook` stands nowhere; nothing holds from Lowick to Lowick."""
    wrong = scored("predictions.jsonl").losses.wrong
    assert (wrong["boundary"], wrong["entity"], wrong["fact"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("head", "tail", "cause"),
    [
        ("Light", "Norland", "boundary"),
        ("Light", "capital", "entity"),
        ("Light", "Port", "boundary"),
        ("capital", "Norland", "entity"),
        ("Ada Brook was born", "Norland", "boundary"),
    ],
)
def test_boundary_means_that_every_end_that_is_no_entity_overlaps_one(head: str, tail: str, cause: str) -> None:
    row = {"doc": "Old Light", "head": head, "relation_id": "P17", "tail": tail}
    assert scored(lines([row])).losses.wrong[cause] == 1


@pytest.mark.parametrize(
    ("stage", "counts", "inputs"),
    [
        ("relation", (4, 6, 6), (3, 3)),  # right: P19 P17 P800, P19; wrong: P20, P17 of Silence; missed: P27, P40
        ("head", (3, 5, 6), (4, 6)),  # of P19: 1 right. P17: 1 of 2, 1 wrong. P800: wrong. P19 of Sam Reed: 1 of 2
        ("tail", (3, 3, 3), (3, 8)),  # of P19 Ada Brook, P17 Selma, P19 Sam Reed
    ],
)
def test_stages_given_right_input(stage: Stage, counts: tuple[int, int, int], inputs: tuple[int, int]) -> None:
    of = scored("official.json").stages[stage]
    assert (of.figures.right, of.figures.predicted, of.figures.gold) == counts
    assert (of.inputs, of.possible) == inputs
