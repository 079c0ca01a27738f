from dataclasses import replace

import pytest

from autore_cli.scoring import Report, distance
from tests.scoring.helpers import document, fixture_gold, lines, scored


def groups(report: Report, by: str) -> dict[str, tuple[int, int, int]]:
    rows = {group.key: group.figures for group in report.groups[by]}
    return {key: (figures.right, figures.predicted, figures.gold) for key, figures in rows.items()}


def test_by_relation() -> None:
    report = scored("predictions.jsonl")
    assert groups(report, "relation") == {
        "P19": (3, 3, 3), "P17": (1, 3, 2), "P27": (0, 1, 1), "P40": (0, 0, 1), "P800": (0, 0, 1),
    }  # fmt: skip
    assert [group.name for group in report.groups["relation"]][:2] == ["place of birth", "country"]


def test_by_distance() -> None:
    assert groups(scored("official.json"), "distance") == {"0": (3, 5, 5), "1": (0, 2, 3), "unknown": (0, 1, 0)}


def test_by_length() -> None:
    assert groups(scored("official.json"), "length") == {"1-99": (3, 7, 8), "unknown": (0, 1, 0)}


def test_gold_of_triples_knows_neither() -> None:
    rows = [{"doc": "d", "head": "h", "relation": "country", "tail": "t"}]
    report = scored(lines(rows), lines(rows))
    assert report.alias.micro.f1 == report.entity.micro.f1 == 1
    assert groups(report, "distance") == groups(report, "length") == {"unknown": (1, 1, 1)}


@pytest.mark.parametrize(
    ("apart", "group"), [(None, "unknown"), (0, "0"), (1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5+"), (9, "5+")]
)
def test_distance_groups(apart: int | None, group: str) -> None:
    assert distance.distance_group(apart) == group


@pytest.mark.parametrize(
    ("words", "group"),
    [(1, "1-99"), (99, "1-99"), (100, "100-149"), (150, "150-199"), (200, "200-299"), (299, "200-299"), (300, "300+")],
)
def test_length_groups(words: int, group: str) -> None:
    assert distance.length_group(replace(document([], []), text=" ".join(["w"] * words))) == group


def test_distance_is_between_the_closest_mentions() -> None:
    light = fixture_gold()["Old Light"]
    assert distance.of_fact(light, (0, "P800", 3)) == 0
    assert distance.of_fact(light, (0, "P27", 2)) == 1
