"""What can go wrong on the way, made to happen: the run says it on one line, loses nothing, and can be gone on with."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from autore_cli.errors import BundleError
from autore_cli.runs import identity
from autore_cli.runs.setup import Setup
from tests.cli.command import COMMAND, TIMEOUT, autore, environment, messages
from tests.model import tiny
from tests.runs.test_resume import finished

BASE, ADAPTER = "base/model.safetensors", "head/adapter_model.safetensors"


def lines(texts: Sequence[str]) -> bytes:
    return b"".join(json.dumps({"id": str(number), "text": text}).encode() + b"\n" for number, text in enumerate(texts))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_bytes(lines([f"{number}. {text}" for number in range(8) for text in tiny.TEXTS]))
    return path


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, to be broken."""
    return shutil.copytree(bundle, tmp_path / "copy")


def test_a_disk_that_fills_up(bundle: Path, documents: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    arguments: list[str | Path] = ["extract", "--model", bundle, documents, "--output"]
    assert autore(*arguments, whole).returncode == 0
    size = whole.stat().st_size * 2 // 3
    full = subprocess.run(
        [*COMMAND, *map(str, arguments), output],
        stderr=subprocess.PIPE,
        env=environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        timeout=TIMEOUT,
        check=False,
    )
    assert full.returncode == 5
    assert messages(full)[-2:] == [
        "autore: the same command goes on from here with --resume",
        f"autore: error: {output}: can't be written: File too large",
    ]
    assert 0 < finished(output) < 48
    again = autore(*arguments, output, "--resume")
    assert again.returncode == 0
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"half", b"zeros"])
@pytest.mark.parametrize("name", [BASE, ADAPTER])
def test_a_model_file_that_is_damaged_or_half_there(
    copy: Path, documents: Path, tmp_path: Path, name: str, damage: bytes
) -> None:
    file = copy / name
    content = file.read_bytes()
    file.write_bytes({b"": b"", b"half": content[: len(content) // 2], b"zeros": bytes(len(content))}[damage])
    done = autore("extract", "--model", copy, "--output", tmp_path / "out.jsonl", documents)
    assert (done.returncode, done.stdout) == (4, b"")
    assert messages(done)[0].startswith(f"autore: error: {file}: is damaged: ")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_base_of_the_hub_without_a_network(copy: Path, documents: Path, tmp_path: Path) -> None:
    file = copy / "bundle.toml"
    text = file.read_text(encoding="utf-8").replace('base = "base"', 'base = "autore-tests/nowhere"\nrevision = "v1"')
    file.write_text(text, encoding="utf-8")
    shutil.rmtree(copy / "base")
    nowhere = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "empty")}
    for env in (nowhere, {"HF_HOME": str(tmp_path / "empty")}):
        done = autore("extract", "--model", copy, documents, env=env)
        assert done.returncode == 4
        error, hint = messages(done)[-2:]
        assert "autore-tests/nowhere isn't on this machine, and can't be fetched: " in error
        assert hint == "autore: hint: where there is a network: hf download autore-tests/nowhere --revision v1"


CLOCK = """\
import datetime, itertools, time
_real, _count = time.time, itertools.count()
def _jumping():
    return _real() + 86400 * (-1) ** next(_count)
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""


def test_a_clock_that_jumps_a_day_forth_and_back_whenever_it_is_read(
    bundle: Path, documents: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    output, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    plain = autore("extract", "--model", bundle, documents)
    arguments: list[str | Path] = ["extract", "--model", bundle, "--output", output, "--report", report, documents]
    done = autore(*arguments, env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})
    assert done.returncode == 0
    assert output.read_bytes() == plain.stdout
    seconds = json.loads(report.read_bytes())["seconds"]
    assert all(0 <= each < TIMEOUT for each in seconds.values())
    assert sum(seconds.values()) <= 2 * seconds["total"] + 0.01  # the parts, and the total itself


@contextmanager
def streaming(*arguments: str | Path) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[str, str], None]]]:
    """A run that reads a pipe, and a function that hands it a document and waits for a triple of it."""
    with subprocess.Popen(
        [*COMMAND, "extract", *map(str, arguments), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None

        def ask(name: str, text: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"id": name, "text": text}).encode() + b"\n")
            process.stdin.flush()
            while json.loads(process.stdout.readline())["doc"] != name:
                continue

        yield process, ask
        process.kill()


def test_an_adapter_that_changes_during_a_run(copy: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with streaming("--model", copy, "--report", report) as (process, ask):
        ask("before", tiny.TEXTS[0] * 2)
        shutil.copy(copy / "relation" / "adapter_model.safetensors", tmp_path / "new")
        (tmp_path / "new").replace(copy / ADAPTER)
        ask("after", tiny.TEXTS[0] * 2)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert stderr.decode().splitlines()[0] == (
        f"autore: warning: the bundle changed during the run, which went on with what it had loaded: {copy / ADAPTER}"
    )
    assert json.loads(report.read_bytes())["changed_files"] == [str(copy / ADAPTER)]


def test_a_model_is_not_loaded_that_changed_since_the_run_began(copy: Path) -> None:
    setup = Setup(str(copy))
    setup = replace(setup, state=identity.state(setup.bundle()))
    digest = identity.digest(setup.bundle())
    assert setup.pipeline("cpu")
    (copy / ADAPTER).write_bytes((copy / "fact" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(BundleError, match="changed during the run") as raised:
        setup.pipeline("cpu")
    assert raised.value.where == str(copy / ADAPTER)
    assert identity.digest(setup.bundle()) != digest


def test_two_bundles_have_the_same_digest_only_if_all_of_their_files_are_the_same(bundle: Path, copy: Path) -> None:
    digest = identity.digest(Setup(str(bundle)).bundle())
    assert identity.digest(Setup(str(copy)).bundle()) == digest
    for name in ("bundle.toml", "schema.toml", BASE, "base/tokenizer.json", "fact/adapter_config.json"):
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(before + b"\n")
        assert identity.digest(Setup(str(copy)).bundle()) != digest
        (copy / name).write_bytes(before)
    assert identity.digest(Setup(str(copy)).bundle()) == digest


SHORT_OF_MEMORY = """\
import resource, sys
from pathlib import Path
from autore_cli.records import Document
from autore_cli.runs.extraction import extract_batch
from autore_cli.runs.setup import Setup

pipeline = Setup(sys.argv[1]).pipeline("cpu")
documents = [Document(name, " ".join(f"Mara{n} met Tomas{n}." for n in range(8)), "input:2") for name in "ab"]
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]), -1))
results = extract_batch(pipeline, documents)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
for result in results + extract_batch(pipeline, documents):
    print(result.document.id, result.error)
"""


def test_documents_that_memory_does_not_suffice_for_fail_and_the_others_go_on(tmp_path: Path) -> None:
    # The model wants tensors of 0.5 MiB a token. What is left suffices for all that threads and the tokenizer, which
    # end the process when they are short of memory, may want; not for a passage.
    model = tiny.model(hidden_size=16, intermediate_size=2**17, num_hidden_layers=1)
    wide = tiny.bundle(tmp_path / "wide", causal_lm=model)
    left = 16 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(wide), str(left)],
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    *failed, first, second = done.stdout.decode().splitlines()
    hint = "(try a smaller model, or another --device)"
    assert failed == [
        f"{name} input:2: document '{name}' failed: there is not enough memory for it {hint}" for name in "ab"
    ]
    assert [first, second] == ["a None", "b None"]
