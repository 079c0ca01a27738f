import json
from pathlib import Path

import pytest

from autore_cli import schema
from autore_cli.errors import InputError
from autore_cli.scoring import Source, read
from autore_cli.scoring.predictions import Prediction, read_predictions
from tests.scoring.helpers import FIXTURES, fixture_gold, lines

ROW = {"doc": "Old Light", "head": "Brook", "relation_id": "P19", "tail": "Selma"}
RESULT = {"title": "Old Light", "h_idx": 0, "t_idx": 1, "r": "P19"}


def parsed(source: Source) -> list[Prediction]:
    return read_predictions(source, fixture_gold(), schema.default())


def test_json_lines() -> None:
    row = ROW | {"head_spans": [[0, 5]], "tail_spans": [[7, 9], [1, 2]], "score": 1, "evidence": [0], "more": "ignored"}
    assert parsed(lines([row])) == [
        Prediction("Old Light", "Brook", "P19", "Selma", ((0, 5),), ((7, 9), (1, 2)), score=1.0, evidence=(0,))
    ]


def test_relations_may_be_given_by_id_or_name() -> None:
    relations = [{"relation": "country"}, {"relation_id": "country"}, {"relation": "P17"}, {"relation": "x"}]
    rows = [{"doc": "d", "head": "h", "tail": "t", **relation} for relation in relations]
    assert [prediction.relation_id for prediction in parsed(lines(rows))] == ["P17", "P17", "P17", "x"]


def test_official_results_take_names_from_the_gold() -> None:
    first, *_, elsewhere = parsed(read(FIXTURES / "official.json"))
    assert first == Prediction("Old Light", "Ada Brook", "P19", "Port Selma", (), (), 0, 1, evidence=(0,))
    assert (elsewhere.head, elsewhere.head_entity) == ("entity 0", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tail": None}, "'tail' is not a text: None"),
        ({"head": " "}, "'head' is not a text: ' '"),
        ({"relation_id": None}, "'relation' is missing"),
        ({"relation_id": 17}, "'relation_id' is not a text: 17"),
        ({"score": "high"}, "'score' is not a number: 'high'"),
        ({"score": True}, "'score' is not a number: True"),
        ({"head_spans": [[3, 3]]}, r"'head_spans' is not a list of \[start, end\]"),
        ({"tail_spans": "here"}, r"'tail_spans' is not a list of \[start, end\]"),
        ({"evidence": ["0"]}, "'evidence' is not a list of sentence numbers"),
    ],
)
def test_a_bad_field_is_named_with_its_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parsed(lines([ROW, ROW | change]))
    assert caught.value.where == "rows.jsonl:2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": None}, "'title' is not a text"),
        ({"h_idx": 4}, "'h_idx' is not an entity's number, 0 to 3: 4"),
        ({"t_idx": -1}, "'t_idx' is not an entity's number, 0 to 3: -1"),
        ({"t_idx": True}, "'t_idx' is not an entity's number"),
        ({"title": "Elsewhere", "t_idx": "0"}, "'t_idx' is not a whole number from 0: '0'"),
        ({"r": ""}, "'r' is not a text: ''"),
    ],
)
def test_a_bad_result_is_named_with_its_number(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parsed(Source("result.json", json.dumps([RESULT, RESULT | change]).encode()))
    assert caught.value.where == "result.json: record 2"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "rows:1: not valid JSON"),
        (b'{"doc": "a"', "rows:1: not valid JSON"),
        (b"\n\n[1]\n", "rows: record 1: not a JSON object"),
        (b"[1, 2", "rows: not valid JSON"),
        (b'"text"', "rows:1: not a JSON object"),
        (b"\xff\xfe", "rows:1: not valid JSON"),
    ],
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(Source("rows", data))


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\xef\xbb\xbf \n")
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path / "empty.jsonl")
