import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from autore_cli import schema
from autore_cli.errors import ConfigurationError
from autore_cli.schema import Relation

TYPES = {"PER", "ORG", "LOC", "TIME", "NUM", "MISC"}


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_the_default_has_96_relations_with_distinct_ids_and_names() -> None:
    default = schema.default()
    assert len(default) == 96
    assert len(default.by_id) == len(default.by_name) == 96
    assert default.by_id["P17"] is default.by_name["country"]
    assert all(re.fullmatch(r"P\d+", relation.id) for relation in default)


@pytest.mark.parametrize("relation", schema.default().relations, ids=lambda relation: relation.id)
def test_each_default_relation_is_complete(relation: Relation) -> None:
    sentences = relation.description.removesuffix(".").split(". ")
    assert relation.description.startswith("The head ")
    assert relation.description.endswith(".")
    assert "tail" in relation.description
    assert len(sentences) <= 2
    head, name, tail = relation.example.split(" | ")
    assert name == relation.name
    assert head
    assert tail
    for types in (relation.head_types, relation.tail_types):
        assert types
        assert set(types) <= TYPES
        assert len(set(types)) == len(types)


def test_descriptions_and_examples_are_not_repeated() -> None:
    default = schema.default()
    assert len({relation.description for relation in default}) == 96
    assert len({relation.example for relation in default}) == 96


@pytest.mark.parametrize("relation", [r for r in schema.default() if r.inverse], ids=lambda relation: relation.id)
def test_inverses_allow_the_same_types(relation: Relation) -> None:
    inverse = schema.default().by_id[relation.inverse or ""]
    assert set(relation.tail_types) & set(inverse.head_types)
    assert set(relation.head_types) & set(inverse.tail_types)
    assert not relation.symmetric


def test_symmetric_relations_have_like_ends() -> None:
    symmetric = [relation for relation in schema.default() if relation.symmetric]
    assert {relation.name for relation in symmetric} == {"spouse", "sibling", "sister city"}
    assert all(set(relation.head_types) == set(relation.tail_types) for relation in symmetric)


def test_load_toml(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "own.toml",
        '\ufeff[[relation]]\nid = "A1"\nname = "teaches"\ninverse = "A2"\nhead_types = ["PER"]\n'
        '[[relation]]\nid = "A2"\nname = "taught by"\n[[relation]]\nid = "A3"\nname = "peer"\nsymmetric = true\n',
    )
    own = schema.load(path)
    assert own.name == "own"
    assert [relation.id for relation in own] == ["A1", "A2", "A3"]
    assert own.by_name["teaches"] == Relation("A1", "teaches", head_types=("PER",), inverse="A2")
    assert own.by_id["A3"].symmetric


def test_load_json_in_both_forms(tmp_path: Path) -> None:
    listed = schema.load(write(tmp_path, "a.json", '[{"id": "A1", "name": "teaches", "inverse": null}]'))
    mapped = schema.load(write(tmp_path, "b.json", '{"A1": "teaches"}'))
    assert listed.relations == mapped.relations == (Relation("A1", "teaches"),)


TOML = '[[relation]]\nid = "A1"\nname = "teaches"\n'


@pytest.mark.parametrize(
    ("name", "content", "message", "entry"),
    [
        ("s.toml", "", "without relations", ""),
        ("s.toml", "[[relation]", "not valid TOML", ""),
        ("s.toml", "title = 1", "unknown field 'title'", ""),
        ("s.toml", "relation = 5", "not a list of tables", ""),
        ("s.toml", TOML + 'colour = "red"', "unknown field 'colour'", "relation 1 (A1)"),
        ("s.toml", TOML + '[[relation]]\nname = "x"', "no 'id'", "relation 2 (x)"),
        ("s.toml", TOML + '[[relation]]\nid = "A2"', "no 'name'", "relation 2 (A2)"),
        ("s.toml", TOML + '[[relation]]\nid = "A1"\nname = "x"', "id 'A1' is taken", "relation 2 (A1)"),
        ("s.toml", TOML + '[[relation]]\nid = "A2"\nname = "teaches"', "name 'teaches' is taken", "relation 2 (A2)"),
        ("s.toml", TOML + 'inverse = "A9"', "inverse 'A9' is not in the schema", "relation 1 (A1)"),
        ("s.toml", TOML + 'symmetric = true\ninverse = "A9"', "symmetric, but", "relation 1 (A1)"),
        ("s.toml", TOML + 'symmetric = "yes"', "neither true nor false", "relation 1 (A1)"),
        ("s.toml", TOML + 'head_types = "PER"', "'head_types' is not a list", "relation 1 (A1)"),
        ("s.toml", TOML + "tail_types = [1]", "'tail_types' is not a list", "relation 1 (A1)"),
        ("s.toml", TOML + 'description = "a\\nb"', "'description' is empty, of several lines", "relation 1 (A1)"),
        ("s.json", '{"A1": ""}', "'name' is empty", "relation 1 (A1)"),
        ("s.json", '{"A1": 5}', "'name' is not text", "relation 1 (A1)"),
        ("s.json", "[5]", "not a table of fields", "relation 1"),
        ("s.json", "5", "neither a list", ""),
        ("s.json", "[", "not valid JSON", ""),
        ("s.txt", TOML, "not valid JSON", ""),
    ],
)
def test_a_bad_schema_is_named(tmp_path: Path, name: str, content: str, message: str, entry: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(ConfigurationError) as caught:
        schema.load(path)
    assert message in caught.value.message
    assert caught.value.where is not None
    assert caught.value.where.startswith(str(path))
    assert entry in caught.value.where
    assert "\n" not in str(caught.value)


def test_a_missing_schema_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        schema.load(tmp_path / "none.toml")


@pytest.mark.shared
def test_the_default_agrees_with_the_annotations() -> None:
    """Ids and names, inverses of at least 90% of the facts, types of all but 1% of them."""
    if "AUTORE_DATA" not in os.environ:
        pytest.skip("AUTORE_DATA is not set")
    folder = Path(os.environ["AUTORE_DATA"]) / "redocred"
    default = schema.default()
    names = json.loads((folder / "rel_info.json").read_text())
    assert {relation.id: relation.name for relation in default} == names

    total: Counter[str] = Counter()
    reversed_too: dict[str, Counter[str]] = defaultdict(Counter)
    typed = 0
    for record in json.loads((folder / "dev_revised.json").read_text()):
        facts = {(label["h"], label["r"], label["t"]) for label in record["labels"]}
        types = [mentions[0]["type"] for mentions in record["vertexSet"]]
        backwards: dict[tuple[int, int], set[str]] = defaultdict(set)
        for head, id_, tail in facts:
            backwards[tail, head].add(id_)
        for head, id_, tail in facts:
            relation = default.by_id[id_]
            total[id_] += 1
            typed += types[head] in relation.head_types and types[tail] in relation.tail_types
            reversed_too[id_].update(backwards[head, tail])
    assert typed / total.total() > 0.99
    for relation in default:
        converse = relation.id if relation.symmetric else relation.inverse
        if converse is not None:
            assert reversed_too[relation.id][converse] >= 0.9 * total[relation.id], relation.id
