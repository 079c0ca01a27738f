import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import autore, messages


def record(title: str, facts: list[tuple[int, str, int]]) -> dict[str, Any]:
    """A document of three entities: Mara Lindqvist, Fjellhavn and Vestmark."""
    sents = [["Mara", "Lindqvist", "was", "born", "in", "Fjellhavn", ",", "Vestmark", "."]]
    places = [((0, 2), "PER"), ((5, 6), "LOC"), ((7, 8), "LOC")]
    entities = [
        [{"name": " ".join(sents[0][start:end]), "sent_id": 0, "pos": [start, end], "type": kind}]
        for (start, end), kind in places
    ]
    labels = [{"h": head, "r": relation, "t": tail, "evidence": [0]} for head, relation, tail in facts]
    return {"title": title, "sents": sents, "vertexSet": entities, "labels": labels}


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([record("Lindqvist", [(0, "P50", 1), (1, "P17", 2)]), record("Nobody", [])]))
    return path


def test_it_writes_the_three_stages_files(bundle: Path, annotated: Path, tmp_path: Path) -> None:
    done = autore("build-data", annotated, "--model", bundle, "--output", tmp_path / "data")
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.split()[:3] == [b"stage", b"kind", b"examples"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "build.json",
        "fact.jsonl",
        "head.jsonl",
        "relation.jsonl",
        "schema.json",
    ]
    schema = [{"id": "P17", "name": "country"}, {"id": "P50", "name": "author"}]
    assert json.loads((tmp_path / "data" / "schema.json").read_text()) == schema
    heads = [json.loads(line) for line in (tmp_path / "data" / "head.jsonl").read_text().splitlines()]
    for example in heads:
        start, end = example["passage"]
        assert example["prompt"][start:end] == "Mara Lindqvist was born in Fjellhavn, Vestmark."
    lists = {(example["doc"], example["completion"]) for example in heads if example["kind"] == "list"}
    assert lists == {("Lindqvist", "Mara Lindqvist"), ("Lindqvist", "Fjellhavn"), ("Nobody", "")}


def test_the_seed_decides(bundle: Path, annotated: Path, tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate(("0", "0", "1")):
        folder = tmp_path / str(number)
        assert autore("build-data", annotated, "-m", bundle, "-o", folder, "--seed", seed, "--quiet").stdout == b""
        contents.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert contents[0] == contents[1] != contents[2]


def test_what_is_there_is_kept_and_nothing_half_is_left(bundle: Path, annotated: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert autore("build-data", annotated, "-m", bundle, "-o", data).returncode == 0
    before = {path: path.read_bytes() for path in data.iterdir()}
    refused = autore("build-data", annotated, "-m", bundle, "-o", data)
    assert refused.returncode == 5
    assert messages(refused)[1] == "autore: hint: --force replaces it"
    on_a_file = autore("build-data", annotated, "-m", bundle, "-o", annotated, "--force")
    assert (on_a_file.returncode, messages(on_a_file)) == (5, [f"autore: error: {annotated}: is not a folder"])
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps([record("Lindqvist", []), {"title": "Broken"}]))
    failed = autore("build-data", broken, "-m", bundle, "-o", data, "--force")
    assert failed.returncode == 3
    assert messages(failed)[0].startswith(f"autore: error: {broken}: record 2: broken DocRED document 'Broken': ")
    assert {path: path.read_bytes() for path in data.iterdir()} == before


@pytest.mark.parametrize(
    ("records", "place", "message", "hint"),
    [
        ([], "", "no documents", "DocRED"),
        ([record("Nobody", [])], "", "no fact of the schema's relations", "'labels'"),
        ([record("Lindqvist", [(0, "P19", 1)])], "", "no fact of the schema's relations", "P19"),
        ([record("Lindqvist", [(0, "P50", 1)])] * 2, ": record 2", "the id 'Lindqvist' is taken", ""),
    ],
)
def test_documents_without_use_are_refused(
    bundle: Path, tmp_path: Path, records: list[dict[str, Any]], place: str, message: str, hint: str
) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(records))
    refused = autore("build-data", path, "-m", bundle, "-o", tmp_path / "data")
    assert refused.returncode == 3
    assert messages(refused)[0].startswith(f"autore: error: {path}{place}: {message}")
    assert hint in messages(refused)[-1]
    assert not (tmp_path / "data").exists()


def test_facts_outside_the_schema_are_counted(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([record("Lindqvist", [(0, "P50", 1), (0, "P19", 1), (0, "P27", 2)])]))
    done = autore("build-data", path, "-m", bundle, "-o", tmp_path / "data")
    assert done.returncode == 0
    assert messages(done) == [
        "autore: warning: facts of relations that the schema does not have, left out: 2, of P19, P27"
    ]


def long_record(count: int) -> dict[str, Any]:
    """A document of so many sentences, each with a work and its author; the last author is the first one's, too."""
    sents = [["The", f"Harbour{number}", "is", "by", f"Mara{number}", "Lindqvist", "."] for number in range(count)]
    entities = [
        [{"name": " ".join(sents[number][start:end]), "sent_id": number, "pos": [start, end], "type": kind}]
        for number in range(count)
        for (start, end), kind in (((0, 2), "MISC"), ((4, 6), "PER"))
    ]
    labels = [{"h": 2 * number, "r": "P50", "t": 2 * number + 1, "evidence": [number]} for number in range(count)]
    labels.append({"h": 0, "r": "P50", "t": 2 * count - 1, "evidence": [0]})
    return {"title": "Long", "sents": sents, "vertexSet": entities, "labels": labels}


def test_long_documents_are_cut_and_all_that_is_left_out_is_counted(bundle: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "train.json", tmp_path / "data"
    path.write_text(json.dumps([long_record(12), record("Lindqvist", [(0, "P50", 1), (0, "P19", 1)])]))
    done = autore("build-data", path, "-m", bundle, "-o", data, "--max-examples", "9", "--no-choose")
    assert done.returncode == 0, done.stderr
    about = json.loads((data / "build.json").read_text())
    assert (about["paradigm"], about["bundle"], about["documents"]) == ("RHF", "tiny", 2)
    assert about["windows"] == 3
    counts = {(each["stage"], each["left out"]): each["count"] for each in about["left_out"]}
    assert counts["all", "facts whose ends share no window"] == 1
    assert counts["all", "facts of relations that the schema lacks"] == 1
    assert counts["fact", "examples above the limit"] > 0
    facts = [json.loads(line) for line in (data / "fact.jsonl").read_text().splitlines()]
    assert len({tuple(example["prompt"][slice(*example["passage"])].split()) for example in facts}) == 3
    for example in facts:
        passage = example["prompt"][slice(*example["passage"])]
        assert passage.count("Harbour") < 12
        assert example["completion"] in passage
    for reason in ("facts whose ends share no window", "examples above the limit", "documents without text"):
        assert reason in done.stdout.decode()


def test_another_paradigm_has_other_stages_and_prompts(bundle: Path, annotated: Path, tmp_path: Path) -> None:
    done = autore("build-data", annotated, "-m", bundle, "-o", tmp_path / "data", "--paradigm", "D-F")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["build.json", "fact.jsonl", "schema.json"]
    lists = [json.loads(line) for line in (tmp_path / "data" / "fact.jsonl").read_text().splitlines()]
    assert [example["completion"] for example in lists] == [
        "Mara Lindqvist|author|Fjellhavn;Fjellhavn|country|Vestmark",
        "",
    ]
    refused = autore("build-data", annotated, "-m", bundle, "-o", tmp_path / "data", "--paradigm", "F-D")
    assert refused.returncode == 2
    assert messages(refused)[0].startswith("autore: error: unknown paradigm 'F-D'")
