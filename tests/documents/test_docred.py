import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import read_docred
from autore_cli.documents.docred import annotate
from autore_cli.errors import InputError
from autore_cli.records import Entity, Fact

RECORD: dict[str, Any] = {
    "title": "Mira Holt",
    "sents": [
        ["Mira", "Holt", "(", "born", "1950", ")", "is", "a", "painter", "from", "Lund", ",", "Sweden", "."],
        ["Holt", "'s", "sister", "stayed", "in", "Lund", "."],
    ],
    "vertexSet": [
        [
            {"name": "Holt", "sent_id": 1, "pos": [0, 1], "type": "PER"},
            {"name": "Mira Holt", "sent_id": 0, "pos": [0, 2], "type": "PER"},
            {"name": "Holt", "sent_id": 1, "pos": [0, 1], "type": "PER"},
        ],
        [
            {"name": "Lund", "sent_id": 0, "pos": [10, 11], "type": "LOC"},
            {"name": "Lund", "sent_id": 1, "pos": [5, 6], "type": "LOC"},
        ],
        [{"name": "Sweden", "sent_id": 0, "pos": [12, 13], "type": "LOC"}],
    ],
    "labels": [
        {"h": 0, "r": "P19", "t": 1, "evidence": [0]},
        {"h": 1, "r": "P17", "t": 2, "evidence": [1, 0, 0]},
        {"h": 1, "r": "P17", "t": 2, "evidence": []},
    ],
}


def write(folder: Path, content: object) -> Path:
    path = folder / "gold.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_read(tmp_path: Path) -> None:
    path = write(tmp_path, [RECORD])
    (gold,) = read_docred(path)
    text = "Mira Holt (born 1950) is a painter from Lund, Sweden. Holt's sister stayed in Lund."
    assert gold.document.id == "Mira Holt"
    assert gold.document.text == text
    assert gold.document.place == f"{path}: record 1"
    assert gold.sentences == ((0, 53), (54, 83))
    assert gold.entities == (
        Entity(((0, 9), (54, 58)), "PER"),
        Entity(((40, 44), (78, 82)), "LOC"),
        Entity(((46, 52),), "LOC"),
    )
    assert [gold.names(i) for i in range(3)] == [["Mira Holt", "Holt"], ["Lund"], ["Sweden"]]
    assert gold.facts == (Fact(0, "P19", 1, (0,)), Fact(1, "P17", 2, (0, 1)))
    assert gold.relation_ids is None


def test_both_renderings_hold_the_same_annotations(tmp_path: Path) -> None:
    path = write(tmp_path, [RECORD])
    (natural,) = read_docred(path)
    (spaced,) = read_docred(path, natural=False)
    assert spaced.document.text.endswith("Holt 's sister stayed in Lund .")
    assert spaced.facts == natural.facts
    assert [spaced.names(i) for i in range(3)] == [natural.names(i) for i in range(3)]


def test_labels_may_be_missing(tmp_path: Path) -> None:
    record = {key: value for key, value in RECORD.items() if key != "labels"}
    (gold,) = read_docred(write(tmp_path, [record]))
    assert gold.facts == ()


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["title"], None, "'title' is not of type str"),
        (["sents"], "text", "'sents' is not of type list"),
        (["sents", 1], ["a", 5], "sentence 1 is not a list of tokens"),
        (["vertexSet", 2], [], "entity 2 is not a list of mentions"),
        (["vertexSet", 2, 0], 7, "entity 2, mention 0 is not an object"),
        (["vertexSet", 2, 0], {"pos": [0, 1]}, "entity 2, mention 0 has no 'sent_id'"),
        (["vertexSet", 2, 0, "sent_id"], 2, "sent_id is 2, out of range(0, 2)"),
        (["vertexSet", 2, 0, "pos"], [12, 15], "pos [12, 15] is not a token range"),
        (["vertexSet", 2, 0, "pos"], [3, 3], "pos [3, 3] is not a token range"),
        (["vertexSet", 2, 0, "pos"], ["0", "1"], "is not a token range"),
        (["sents", 0, 12], " ", "its tokens are white space"),
        (["labels", 1, "h"], 3, "label 1: h is 3, out of range(0, 3)"),
        (["labels", 1, "t"], -1, "label 1: t is -1, out of range(0, 3)"),
        (["labels", 1, "r"], 17, "label 1: 'r' is not of type str"),
        (["labels", 1, "evidence"], [2], "label 1: evidence is 2, out of range(0, 2)"),
    ],
)
def test_a_broken_record_is_named(tmp_path: Path, keys: list[str | int], value: object, message: str) -> None:
    broken: Any = copy.deepcopy(RECORD)
    part = broken
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    path = write(tmp_path, [RECORD | {"title": "Another"}, broken])
    with pytest.raises(InputError) as caught:
        list(read_docred(path))
    assert message in caught.value.message
    assert caught.value.where == f"{path}: record 2"
    assert ("'Mira Holt'" in caught.value.message) == (keys != ["title"])


@pytest.mark.parametrize("key", ["title", "sents", "vertexSet"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, [{other: value for other, value in RECORD.items() if other != key}])
    with pytest.raises(InputError, match=f"has no '{key}'"):
        list(read_docred(path))


@pytest.mark.parametrize(("content", "message"), [(b"{}", "not a list"), (b"[", "not valid JSON"), (b"\xff", "JSON")])
def test_a_file_in_another_form(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "gold.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_docred(path))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        list(read_docred(tmp_path / "none.json"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECORD, "pos", "h"]), inner),
    max_leaves=12,
)


@given(st.fixed_dictionaries({}, optional={key: JSON | st.just(value) for key, value in RECORD.items()}) | JSON)
def test_any_record_is_read_or_named(record: object) -> None:
    try:
        gold = annotate(record, "gold.json: record 1")
    except InputError:
        return
    for entity in gold.entities:
        assert list(entity.mentions) == sorted(set(entity.mentions))
        assert all(gold.document.text[start:end].strip() for start, end in entity.mentions)


@pytest.mark.shared
@pytest.mark.parametrize("natural", [True, False])
def test_the_names_of_real_annotations_are_kept(natural: bool) -> None:
    if "AUTORE_DATA" not in os.environ:
        pytest.skip("AUTORE_DATA is not set")
    path = Path(os.environ["AUTORE_DATA"]) / "redocred" / "dev_revised.json"
    records = json.loads(path.read_text())
    for record, gold in zip(records, read_docred(path, natural=natural), strict=True):
        for mentions, entity in zip(record["vertexSet"], gold.entities, strict=True):
            tokens = {"".join(record["sents"][m["sent_id"]][slice(*m["pos"])]) for m in mentions}
            texts = {gold.document.text[start:end] for start, end in entity.mentions}
            assert {"".join(text.split()) for text in tokens} == {"".join(text.split()) for text in texts}
