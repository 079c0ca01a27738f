"""Whatever ends a run, the next one goes on with it, and the output is that of a run that nothing ended."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, TIMEOUT, autore, environment, messages
from tests.model import tiny

DOCUMENTS = 120
UNREADABLE = 3
KILLS = 16


def journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


def finished(output: Path) -> int:
    """How many documents the journal says are finished."""
    if not journal_of(output).exists():
        return 0
    lines = journal_of(output).read_bytes().splitlines(keepends=True)[1:]
    return sum(len(json.loads(line)) for line in lines if line.endswith(b"\n"))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many documents, some without a triple and some that can't be read, and some of them equal but for their ids."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("input") / "documents.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(DOCUMENTS):
            text = " ".join(rng.sample(tiny.TEXTS, rng.choice([1, 1, 2]))) if number % 7 else "!?"
            file.write(json.dumps({"text": text}) + "\n" if number % 31 != 30 else "not JSON\n")
    return path


@pytest.fixture(scope="module")
def reference(bundle: Path, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of a run that nothing ended."""
    output = tmp_path_factory.mktemp("output") / "out.jsonl"
    assert autore("extract", "--model", bundle, "--output", output, documents).returncode == 1
    return output.read_bytes()


@pytest.fixture(scope="module")
def launcher(bundle: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.runs.launcher", str(bundle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def launch(launcher: "subprocess.Popen[str]", *arguments: str | Path, seconds: float | None = None) -> int:
    """Runs the command, kills it after some seconds, and returns its exit code."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdin.write(json.dumps({"arguments": list(map(str, arguments)), "seconds": seconds}) + "\n")
    launcher.stdin.flush()
    return int(launcher.stdout.readline())


def test_killed_at_any_moment_it_goes_on(
    launcher: "subprocess.Popen[str]", bundle: Path, documents: Path, reference: bytes, tmp_path: Path
) -> None:
    rng = random.Random(1)
    options: list[str | Path] = ["extract", "--model", bundle, documents]
    start = time.monotonic()
    assert launch(launcher, *options, "--output", tmp_path / "whole.jsonl") == 1
    whole = time.monotonic() - start
    assert (tmp_path / "whole.jsonl").read_bytes() == reference
    kills = in_the_middle = runs = 0
    while kills < KILLS:
        output, runs = tmp_path / f"{runs}.jsonl", runs + 1
        ended = -signal.SIGKILL
        while ended == -signal.SIGKILL:
            ended = launch(launcher, *options, "--output", output, "--resume", seconds=rng.uniform(whole / 4, whole))
            kills += ended == -signal.SIGKILL
            in_the_middle += ended == -signal.SIGKILL and 0 < finished(output) < DOCUMENTS - UNREADABLE
        assert ended == 1
        assert output.read_bytes() == reference
    assert in_the_middle


def test_killed_with_several_devices_it_goes_on(
    bundle: Path, documents: Path, reference: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    arguments: list[str | Path] = [
        "extract",
        "--model",
        bundle,
        "--devices",
        "cpu,cpu",
        "--output",
        output,
        "--resume",
        documents,
    ]
    for goal in (1, 40):
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stderr=subprocess.DEVNULL, env=environment()
        ) as process:
            while finished(output) < goal and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        assert goal <= finished(output) < DOCUMENTS - UNREADABLE
    done = autore(*arguments)
    assert done.returncode == 1
    assert output.read_bytes() == reference
    again = autore(*arguments)
    assert "autore: nothing is left to do: what could be read is finished" in messages(again)
    assert output.read_bytes() == reference


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_batch_end_and_says_how_to_go_on(
    bundle: Path, documents: Path, reference: bytes, tmp_path: Path, number: int, exit_code: int
) -> None:
    output, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    arguments: list[str | Path] = ["extract", "--model", bundle, "--output", output, "--report", report, documents]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored here
    ) as process:
        while not finished(output):
            time.sleep(0.001)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == exit_code
    ending = [line for line in stderr.decode().splitlines() if "error" not in line and "hint" not in line]
    assert ending[0] == "autore: finishing what has begun; once more ends it at once"
    done = finished(output)
    assert ending[1].startswith(f"autore: {done} documents, ")
    assert ending[2:] == [
        "autore: the same command goes on from here with --resume",
        f"autore: {'interrupted' if exit_code == 130 else 'terminated'}",
    ]
    written = json.loads(report.read_bytes())
    assert written["exit_code"] == exit_code
    assert written["documents"]["done"] == done
    assert written["triples"] == len(output.read_bytes().splitlines())
    assert reference.startswith(output.read_bytes())
    assert autore(*arguments, "--resume").returncode == 1
    assert output.read_bytes() == reference
    assert json.loads(report.read_bytes())["documents"]["earlier"] == done


def test_a_second_signal_ends_it_at_once(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    text = " ".join(tiny.TEXTS)
    (tmp_path / "in.jsonl").write_text(
        json.dumps({"text": tiny.TEXTS[0]}) + "\n" + "".join(json.dumps({"text": text * 8}) + "\n" for _ in range(40))
    )
    arguments: list[str | Path] = ["extract", "--model", bundle, "--output", output, tmp_path / "in.jsonl"]
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        while not finished(output):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"autore: finishing what has begun; once more ends it at once\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == -signal.SIGINT
    assert finished(output)


def test_only_the_same_settings_go_on(bundle: Path, documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    options: list[str | Path] = ["extract", "--model", bundle, "--limit", "1", "--output", output, documents]
    assert autore(*options).returncode == 0
    before = output.read_bytes()

    changed = autore(*options, "--resume", "--min-score", "0.5")
    assert changed.returncode == 2
    assert messages(changed)[0] == (
        f"autore: error: {output}: can't be gone on with, as it was made with something else: "
        "min_score was not given and is 0.5"
    )
    again = autore(*options)
    assert again.returncode == 5
    assert messages(again)[0] == f"autore: error: {output}: exists already"
    assert messages(again)[1] == "autore: hint: --resume goes on with it, --force replaces it"
    assert autore(*options, "--resume", "--force").returncode == 2
    assert autore("extract", "--resume", documents).returncode == 2
    assert output.read_bytes() == before

    more = autore(*options[:4], "3", *options[5:], "--resume")  # the limit decides which documents, not what comes out
    assert more.returncode == 0
    assert output.read_bytes().startswith(before)
    journal_of(output).unlink()
    lost = autore(*options, "--resume")
    assert lost.returncode == 5
    assert "out.jsonl.journal is missing" in messages(lost)[0]
    assert autore(*options, "--force", "--min-score", "1").returncode == 0
    assert (output.read_bytes(), finished(output)) == (b"", 1)


def test_two_runs_cannot_share_an_output(bundle: Path, documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    options = ["extract", "--model", str(bundle), "--output", str(output), "-"]
    with subprocess.Popen(
        [*COMMAND, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as run:
        assert run.stdin is not None
        run.stdin.write(json.dumps({"text": tiny.TEXTS[0]}).encode() + b"\n")
        run.stdin.flush()
        while not finished(output):
            time.sleep(0.01)
        for option in ("--resume", "--force"):
            other = autore(*options[:-1], option, documents)
            assert other.returncode == 5
            assert messages(other)[0] == f"autore: error: {output}: is being written by another run"
        run.stdin.close()
        assert run.wait(TIMEOUT) == 0
