import json

import pytest

from autore_cli import schema
from autore_cli.errors import InputError
from autore_cli.records import Fact
from autore_cli.scoring import Source, read
from autore_cli.scoring.gold import read_gold, training_facts
from tests.scoring.helpers import FIXTURES, GOLD, fixture_gold, lines


def test_docred() -> None:
    gold = fixture_gold()
    assert list(gold) == ["Old Light", "Two Reeds", "Silence"]
    light = gold["Old Light"]
    assert light.text is not None
    assert light.text.startswith("Ada Brook was born in Port Selma. Selma")
    assert light.entities[0].names == ("Ada Brook", "Brook")
    assert light.entities[0].sentences == {0, 2}
    assert light.entities[3].names == ('" Old Light " tower',)
    assert light.entities[3].name == '"Old Light" tower'
    assert light.labels[2] == Fact(0, "P27", 2, (0, 1))
    assert not gold["Silence"].facts


def test_names_point_to_entities_those_with_most_mentions_first() -> None:
    gold = fixture_gold()
    assert gold["Two Reeds"].aliases["SamReed"] == (0, 1)
    assert gold["Old Light"].aliases['"OldLight"tower'] == (3,)


def test_json_lines_make_an_entity_of_each_name() -> None:
    rows: list[dict[str, object]] = [
        {"doc": "a", "head": "Ada Brook", "relation": "place of birth", "tail": "Port Selma", "evidence": [1]},
        {"doc": "a", "head": "Port Selma", "relation_id": "P17", "tail": "Norland"},
        {"doc": "b", "head": "AdaBrook", "relation_id": "P19", "tail": "Norland"},
    ]
    first, second = read_gold(lines(rows), schema.default())
    assert [entity.name for entity in first.entities] == ["Ada Brook", "Port Selma", "Norland"]
    assert first.labels == (Fact(0, "P19", 1, (1,)), Fact(1, "P17", 2))
    assert second.id == "b"
    assert first.text is None


def test_repeated_labels_are_one_fact_with_the_last_ones_evidence() -> None:
    records = json.loads(GOLD.read_text())
    records[1]["labels"].append({"h": 0, "r": "P19", "t": 2, "evidence": [0, 1]})
    _, reeds, _ = read_gold(Source("gold.json", json.dumps(records).encode()), schema.default())
    assert len(reeds.labels) == 4
    assert len(reeds.facts) == 3
    assert reeds.facts[0, "P19", 2].evidence == (0, 1)


def test_training_facts_are_all_pairs_of_names_as_written() -> None:
    facts = training_facts(read(FIXTURES / "train.json"))
    assert facts == {("Sam Reed", "Lowick", "P19"), ("Sam Reed the elder", "Lowick", "P19")}


def repeated(records: list[object]) -> list[object]:
    return [*records, records[0]]


def without_labels(records: list[object]) -> list[object]:
    return records[2:]


@pytest.mark.parametrize(
    ("change", "message"), [(repeated, "more than once, as 'Old Light'"), (without_labels, "no facts")]
)
def test_gold_that_figures_would_lie_about_is_refused(change: object, message: str) -> None:
    assert callable(change)
    records = change(json.loads(GOLD.read_text()))
    with pytest.raises(InputError, match=message):
        read_gold(Source("gold.json", json.dumps(records).encode()), schema.default())
