import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.command import autore, messages
from tests.cli.test_build_data import record


@pytest.fixture(scope="module")
def data(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training files."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.json").write_text(json.dumps([record("Lindqvist", [(0, "P50", 1), (1, "P17", 2)])]))
    assert autore("build-data", folder / "train.json", "-m", bundle, "-o", folder / "data").returncode == 0
    return folder / "data"


def test_it_trains_adapters_that_extract_can_use(bundle: Path, data: Path, tmp_path: Path) -> None:
    own, config = tmp_path / "own", tmp_path / "settings.toml"
    config.write_text("steps = 5\nrank = 4\nlearning_rate = 0.01\n")
    done = autore("finetune", "--model", bundle, "--data", data, "--output", own, "--config", config, "--steps", "2")
    assert done.returncode == 0
    assert done.stdout == b""
    assert messages(done)[0].startswith("autore: relation: 2 steps over ")
    assert messages(done)[-1] == f"autore: fact: written to {own}/fact"
    for stage in ("relation", "head", "fact"):
        assert json.loads((own / stage / "adapter_config.json").read_text())["r"] == 4
        assert (own / stage / "run.json").exists()
    assert autore("extract", "--model", own, "-", stdin=b"Mara Lindqvist was born in Fjellhavn.").returncode == 0

    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    again = ("finetune", "--model", bundle, "--data", data, "--output", own, "--config", config)
    for refused in (autore(*again), autore(*again, "--dry-run")):
        assert (refused.returncode, refused.stdout) == (5, b"")
        assert messages(refused)[0] == f"autore: error: {own}/relation: holds an adapter already"
    for nothing in (autore(*again, "--resume"), autore(*again, "--resume", "--dry-run")):
        assert (nothing.returncode, nothing.stdout) == (0, b"")
        assert messages(nothing) == [f"autore: nothing is left to do: what was to be trained is in {own}"]
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_a_dry_run_shows_the_plan_and_writes_nothing(bundle: Path, data: Path, tmp_path: Path) -> None:
    done = autore("finetune", "--model", bundle, "--data", data, "--output", tmp_path / "own", "--dry-run")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert rows[0] == ["relation", "head", "fact"]
    assert [row[0] for row in rows[3:6]] == ["examples", "too", "rows"]
    assert not (tmp_path / "own").exists()


def test_all_wrong_settings_are_told_at_once(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("rnk = 4\ndropout = 2\n")
    done = autore("finetune", "--model", bundle, "--config", tmp_path / "settings.toml", "--steps", "0")
    assert done.returncode == 2
    assert all(name in messages(done)[0] for name in ("rnk", "dropout", "steps"))


def test_one_stage_on_a_schema_of_its_own_makes_a_whole_bundle(bundle: Path, tmp_path: Path) -> None:
    schema, documents, own = tmp_path / "mine.json", tmp_path / "train.json", tmp_path / "own"
    schema.write_text(json.dumps({"X1": "moors at"}))
    documents.write_text(json.dumps([record("Lindqvist", [(0, "X1", 1)])]))
    made = autore("build-data", documents, "-m", bundle, "--schema", schema, "-o", tmp_path / "data")
    assert made.returncode == 0
    done = autore(
        *("finetune", "-m", bundle, "--data", tmp_path / "data", "-o", own),
        *("--stage", "head", "--steps", "1", "--rank", "2"),
    )
    assert done.returncode == 0
    assert json.loads((own / "schema.json").read_text()) == [{"id": "X1", "name": "moors at"}]
    extracted = autore("extract", "--model", own, "-", stdin=b"Mara Lindqvist was born in Fjellhavn.")
    assert extracted.returncode == 0
    assert not any("not trained on" in line for line in messages(extracted))


def test_a_paradigm_goes_from_the_data_to_the_bundle(bundle: Path, tmp_path: Path) -> None:
    documents, data, own = (tmp_path / name for name in ("train.json", "data", "own"))
    documents.write_text(json.dumps([record("Lindqvist", [(0, "P50", 1), (1, "P17", 2)])]))
    made = autore("build-data", documents, "-m", bundle, "-o", data, "--paradigm", "D-RS-F")
    assert made.returncode == 0, made.stderr

    settings = ("--steps", "2", "--rank", "2", "--optimiser", "adamw-8bit")
    common = ("finetune", "-m", bundle, "--data", data, "-o", own, *settings)
    refused = autore(*common, "--paradigm", "RHF", "--alpha", "0")
    assert refused.returncode == 2
    (error,) = messages(refused)
    assert all(
        problem in error for problem in ("alpha", "made for the paradigm D-RS-F, not RHF", "head.jsonl is missing")
    )
    assert not own.exists()

    done = autore(*common, "--shared-adapter")
    assert done.returncode == 0, done.stderr
    assert messages(done)[-1] == f"autore: shared: written to {own}/shared"
    toml = tomllib.loads((own / "bundle.toml").read_text())
    assert toml["paradigm"] == "D-RS-F"
    assert {name: stage["adapter"] for name, stage in toml["stages"].items()} == {
        "relation": "shared",
        "fact": "shared",
    }
    assert autore("extract", "-m", own, "-", stdin=b"Mara Lindqvist was born in Fjellhavn.").returncode == 0
