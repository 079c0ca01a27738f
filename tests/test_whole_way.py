"""build-data, finetune, extract, score: the whole way, by the command, on tiny random models of two architectures."""

import json
from pathlib import Path

import pytest

from tests.cli.command import autore, messages
from tests.model import tiny

SENTENCES = [
    [["Mara", "Lindqvist", "wrote", "The", "Quiet", "Harbour", "in", "Fjellhavn", "."]],
    [["Ida", "Sorn", "wrote", "The", "Cold", "Sea", "in", "Lundvik", "."]],
]
SCHEMA = """\
[[relation]]
id = "P50"
name = "author"
description = "The head is a work; the tail is the person who wrote it."
"""
SETTINGS = ("--steps", "16", "--rank", "8", "--learning-rate", "0.003", "--dropout", "0", "--batch-size", "64")


def record(number: int) -> dict[str, object]:
    """A document in DocRED's format."""
    mentions = [("PER", [0, 2]), ("MISC", [3, 6]), ("LOC", [7, 8])]
    (tokens,) = sentences = SENTENCES[number]
    return {
        "title": f"doc {number}",
        "sents": sentences,
        "vertexSet": [
            [{"name": " ".join(tokens[slice(*pos)]), "pos": pos, "sent_id": 0, "type": kind}] for kind, pos in mentions
        ],
        "labels": [{"h": 1, "t": 0, "r": "P50", "evidence": [0]}],
    }


@pytest.fixture(params=["mistral", "copylm"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    if request.param == "copylm":
        tiny.bundle(folder, kind="wordpiece", causal_lm=tiny.copylm())
    else:
        tiny.bundle(folder)
    (folder / "schema.toml").write_text(SCHEMA)
    settings = (folder / "bundle.toml").read_text().replace('"redocred"', '"schema.toml"')
    (folder / "bundle.toml").write_text(settings)
    return folder


def test_from_annotated_documents_to_a_score(bundle: Path, tmp_path: Path) -> None:
    gold, data, own, triples = (tmp_path / name for name in ("gold.json", "data", "own", "triples.jsonl"))
    gold.write_text(json.dumps([record(0), record(1)]))

    done = autore("build-data", gold, "--model", bundle, "--output", data)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in data.glob("*.jsonl")) == ["fact.jsonl", "head.jsonl", "relation.jsonl"]

    done = autore("finetune", "--model", bundle, "--data", data, "--output", own, "--device", "cpu", *SETTINGS)
    assert done.returncode == 0, done.stderr
    for stage in tiny.STAGES:
        losses = json.loads((own / stage / "run.json").read_text())["losses"]
        assert losses[-1] < losses[0]

    found = {}
    for model in (bundle, own):
        done = autore("extract", gold, "--model", model, "--output", triples, "--force", "--device", "cpu")
        assert done.returncode == 0, done.stderr
        found[model] = [json.loads(line) for line in triples.read_bytes().splitlines()]
        assert messages(done)[-1].startswith("autore: 2 documents, ")
    assert found[bundle] != found[own]
    assert found[own]
    assert {triple["relation_id"] for triple in found[own]} == {"P50"}

    done = autore("score", triples, gold, "--json", "--resamples", "10")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["alias"]["micro"]
    assert figures["gold"] == 2
    assert figures["predicted"] > 0
