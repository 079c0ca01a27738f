import json
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
