import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from autore_cli.cli.score import score
from autore_cli.errors import AutoreError, ConfigurationError, InputError, OutputError
from tests.scoring.helpers import FIXTURES, GOLD

PREDICTIONS = FIXTURES / "predictions.jsonl"
OFFICIAL = FIXTURES / "official.json"


def run(*arguments: str | Path, width: int = 80) -> Result:
    app = typer.Typer()
    app.command()(score)
    first, *rest = map(str, arguments)
    command = [first, str(GOLD), *rest, "--resamples", "20"]
    return CliRunner().invoke(app, command, env={"COLUMNS": str(width)})


def output(*arguments: str | Path, width: int = 80) -> str:
    result = run(*arguments, width=width)
    assert result.exception is None, result.exception
    return result.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_everything_fits_the_terminal(width: int) -> None:
    everything = ("--by", "relation", "--by", "distance", "--by", "length", "--stages", "--examples", "9")
    others = ("--train", FIXTURES / "train.json", "--against", OFFICIAL)
    lines = output(PREDICTIONS, *everything, *others, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_figures_on_the_terminal() -> None:
    text = output(PREDICTIONS)
    assert "3 documents, 8 gold facts, 10 predictions: 80.0 % aligned" in text
    micro = next(line for line in text.splitlines() if "micro" in line)
    assert micro.split()[:4] == ["micro", "57.14", "50.00", "53.33"]
    assert micro.split()[-3:] == ["4", "7", "8"]
    assert "boundary: overlaps a gold mention" in text
    assert "Stages" not in text
    assert "By relation" not in text


def test_examples_are_the_most_confident_errors_with_their_sentences() -> None:
    text = output(PREDICTIONS, "--examples", "1")
    assert "0.600  Old Light | country | Norland" in text
    assert 'Brook designed the "Old Light" tower there.' in text
    assert "ada brook" not in text


def test_json_keys_are_stable() -> None:
    report = json.loads(output(PREDICTIONS, "--json", "--train", FIXTURES / "train.json", "--against", OFFICIAL))
    assert list(report) == [
        "autore", "python", "schema", "options", "files", "counts", "warnings", "alias", "entity", "official",
        "intervals", "groups", "losses", "stages", "confidence", "against", "examples",
    ]  # fmt: skip
    assert list(report["alias"]["micro"]) == ["precision", "recall", "f1", "right", "predicted", "gold"]
    assert list(report["official"]) == ["relation", "ign", "evidence", "frequent", "long_tail", "intra", "inter"]
    assert list(report["files"]) == ["predictions", "gold", "train", "against"]
    assert report["files"]["predictions"] == {
        "name": str(PREDICTIONS),
        "sha256": hashlib.sha256(PREDICTIONS.read_bytes()).hexdigest(),
        "format": "jsonl",
    }
    assert report["intervals"].keys() == report["against"].keys()
    assert report["counts"]["ends"] == {"index": 0, "span": 0, "name": 18, "none": 2}


def test_markdown() -> None:
    text = output(PREDICTIONS, "--markdown", "--by", "relation", "--examples", "1")
    lines = text.splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert "| micro | 57.14 | 50.00 | 53.33 |" in text
    assert "| P19 | place of birth | 100.00 | 100.00 | 100.00 | 3 | 3 | 3 |" in tables
    assert "| :-- | :-- | --: | --: | --: | --: | --: | --: |" in tables
    assert "- Old Light – country – Norland (boundary: overlaps a gold mention, score 0.6; Old Light)" in text
    assert "sha256" in lines[-1]


def test_markdown_marks_in_names_are_escaped(tmp_path: Path) -> None:
    row = {"doc": "Old Light", "head": "a|b *c*", "relation": "country", "tail": "Norland"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    assert r"a\|b \*c\* – country" in output(tmp_path / "p.jsonl", "--markdown", "--examples", "1")


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_plot(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"curve{ending}"
    output(PREDICTIONS, "--plot", path)
    head = path.read_bytes()[:100]
    assert head.startswith(b"\x89PNG") if ending == ".png" else b"<?xml" in head
    refused = run(PREDICTIONS, "--plot", path).exception
    assert isinstance(refused, OutputError)
    output(PREDICTIONS, "--plot", path, "--force")


def test_plot_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = run(PREDICTIONS, "--plot", tmp_path / "curve.png").exception
    assert isinstance(error, ConfigurationError)
    assert error.hint == "pip install 'autore[plot]'"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((PREDICTIONS, "--json", "--markdown"), ConfigurationError, "exclude each other"),
        ((PREDICTIONS, "--against", OFFICIAL, "--resamples", "0"), ConfigurationError, "needs --resamples"),
        ((PREDICTIONS, "--plot", "curve.txt"), ConfigurationError, "end it in .png"),
        ((OFFICIAL, "--plot", "curve.png"), ConfigurationError, "nothing to draw"),
        (("none.jsonl",), InputError, "none.jsonl: can't be read"),
        ((GOLD,), InputError, "'h_idx' is missing"),
        ((PREDICTIONS, "--train", PREDICTIONS), InputError, "not valid JSON"),
        ((PREDICTIONS, "--schema", "none.toml"), ConfigurationError, "none.toml"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str | Path, ...], error: type[AutoreError], message: str) -> None:
    app = typer.Typer()
    app.command()(score)
    first, *rest = map(str, arguments)
    result = CliRunner().invoke(app, [first, str(GOLD), *rest])
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not result.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [({"doc": "old light"}, "none of its documents is in the gold"), ({"relation": "met"}, "none of its relations")],
)
def test_predictions_about_something_else_are_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    row = {"doc": "Old Light", "head": "Brook", "relation": "country", "tail": "Selma"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row | change))
    error = run(tmp_path / "p.jsonl").exception
    assert isinstance(error, InputError)
    assert message in str(error)


def test_oddities_are_counted(tmp_path: Path) -> None:
    row = {"doc": "Old Light", "head": "Brook", "relation": "country", "tail": "Selma"}
    rows = [row, row | {"doc": "Elsewhere"}, row | {"relation": "met"}, row | {"head_spans": [[1, 3]]}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = json.loads(output(tmp_path / "p.jsonl", "--json"))
    counts = report["counts"]
    assert (counts["unknown_documents"], counts["in_unknown_documents"], counts["silent_documents"]) == (1, 1, 2)
    assert (counts["outside_schema"], counts["disbelieved_ends"], counts["without_score"]) == (1, 1, 4)
    assert [line.removeprefix(f"{tmp_path / 'p.jsonl'}: ") for line in report["warnings"]] == [
        "predictions of 1 documents that the gold does not have, counted as wrong: 1",
        "predictions with a relation that neither schema nor gold has, counted as wrong: 1",
        "heads and tails aligned by name, as the text reads otherwise at their spans: 1",
    ]


def test_nothing_predicted_scores_0(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[]")
    report = json.loads(output(tmp_path / "p.json", "--json"))
    assert report["alias"]["micro"]["f1"] == report["official"]["relation"]["f1"] == 0
    assert "0 predictions" in output(tmp_path / "p.json")


def test_standard_input() -> None:
    app = typer.Typer()
    app.command()(score)
    result = CliRunner().invoke(app, ["-", str(GOLD), "--json"], input=PREDICTIONS.read_bytes())
    report = json.loads(result.stdout)
    assert report["files"]["predictions"]["name"] == "standard input"
    assert report["alias"]["micro"]["right"] == 4


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from autore_cli.cli.score import score; "
        f"score(Path({str(PREDICTIONS)!r}), Path({str(GOLD)!r}), as_json=True); "
        "heavy = {'torch', 'transformers', 'numpy', 'matplotlib'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
