import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO, Any

import pytest

from autore_cli.runs.reports import PARTS
from tests.cli.command import COMMAND, TIMEOUT, autore, environment, messages

TEXT = "Mara Lindqvist was born in Fjellhavn. Her husband Tomas Reval wrote The Quiet Harbour there."
KEYS = ["doc", "head", "relation", "relation_id", "tail", "head_spans", "tail_spans", "score"]


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def triples(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "lindqvist.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_triples_of_files_of_all_formats(bundle: Path, document: Path, tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_bytes(lines({"id": "one", "text": TEXT}, {"text": "Émile 🦜 met Zoë in Łódź."}))
    (tmp_path / "docred.json").write_text(json.dumps([{"title": "Reval", "sents": [["Tomas", "Reval", "wrote", "."]]}]))
    paths = [document, tmp_path / "more.jsonl", tmp_path / "docred.json"]
    done = autore("extract", "--model", bundle, *paths)
    assert done.returncode == 0
    texts = {"lindqvist": TEXT, "one": TEXT, "more.jsonl:2": "Émile 🦜 met Zoë in Łódź.", "Reval": "Tomas Reval wrote."}
    found = triples(done.stdout)
    assert {triple["doc"] for triple in found} == set(texts)
    assert [triple["doc"] for triple in found] == sorted((triple["doc"] for triple in found), key=list(texts).index)
    for triple in found:
        assert list(triple) == KEYS
        for name in ("head", "tail"):
            assert triple[f"{name}_spans"]
            assert {texts[triple["doc"]][start:end] for start, end in triple[f"{name}_spans"]} == {triple[name]}
        assert 0 < triple["score"] <= 1
    (closing,) = messages(done)
    assert re.fullmatch(
        rf"autore: 4 documents, {len(found)} triples, 4 windows, "
        r"\d+\.\d s \(loading \d+\.\d, reading 0\.\d, extracting \d+\.\d, writing 0\.\d\)",
        closing,
    )


def test_options_narrow_what_comes_out(bundle: Path, tmp_path: Path) -> None:
    schema, out = tmp_path / "own.toml", tmp_path / "out.jsonl"
    schema.write_text('[[relation]]\nid = "P50"\nname = "author"\n[[relation]]\nid = "own"\nname = "wrote"\n')
    options: list[str | Path] = ["--schema", schema, "--limit", "1", "--batch-size", "2", "--device", "cpu"]
    two = lines({"text": TEXT}, {"text": TEXT})
    everything = autore("extract", *options, "-", env={"AUTORE_MODEL": str(bundle)}, stdin=two)
    assert everything.returncode == 0
    assert messages(everything)[0] == "autore: warning: 'tiny' was not trained on 1 of the 2 relations: own"
    found = triples(everything.stdout)
    assert {triple["relation"] for triple in found} == {"author", "wrote"}
    assert {triple["doc"] for triple in found} == {"stdin:1"}

    threshold = sorted(triple["score"] for triple in found)[len(found) // 2]
    arguments = ["extract", "--model", bundle, *options, "--min-score", str(threshold), "--output", out, "--quiet", "-"]
    out.write_text("precious")
    refused = autore(*arguments, stdin=two)
    assert (refused.returncode, out.read_text()) == (5, "precious")
    assert messages(refused) == [f"autore: error: {out}: exists already", "autore: hint: --force replaces it"]
    narrowed = autore(*arguments, "--force", stdin=two)
    assert (narrowed.returncode, narrowed.stdout, narrowed.stderr) == (0, b"", b"")
    assert triples(out.read_bytes()) == [triple for triple in found if triple["score"] >= threshold]


def pass_on(stream: IO[bytes], output: "Queue[bytes]") -> None:
    for line in stream:
        output.put(line)


@contextmanager
def open_pipe(bundle: Path) -> Iterator[tuple["subprocess.Popen[bytes]", "Queue[bytes]"]]:
    """A process that extracts from a pipe held open, and a queue of the lines that it writes."""
    with subprocess.Popen(
        [*COMMAND, "extract", "--model", str(bundle), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored here
    ) as process:
        assert process.stdout is not None
        output: Queue[bytes] = Queue()
        Thread(target=pass_on, args=[process.stdout, output], daemon=True).start()
        yield process, output
        process.kill()


def write(process: "subprocess.Popen[bytes]", *documents: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(lines(*documents))
    process.stdin.flush()


def wait_for(document: str, output: "Queue[bytes]") -> None:
    while json.loads(output.get(timeout=TIMEOUT))["doc"] != document:
        pass


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_triples_stream_until_a_signal_ends_it(bundle: Path, number: int, code: int, word: str) -> None:
    with open_pipe(bundle) as (process, output):
        for name in ("first", "second"):
            write(process, {"id": name, "text": TEXT})
            wait_for(name, output)  # while the input is open
        time.sleep(0.5)
        process.send_signal(number)
        assert process.wait(TIMEOUT) == code
        assert process.stderr is not None
        first, closing, last = process.stderr.read().decode().splitlines()
        assert first == "autore: finishing what has begun; once more ends it at once"
        assert closing.startswith("autore: 2 documents, ")
        assert last == f"autore: {word}"


def test_a_closed_pipe_ends_it_without_a_word(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_bytes(lines(*({"text": TEXT} for _ in range(40))))
    command = " ".join([*COMMAND, "extract", "--quiet", "--model", str(bundle), str(tmp_path / "many.jsonl")])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert len(triples(done.stdout)) == 1
    assert done.stderr == b""
    assert done.returncode == 141


BROKEN = b'{"id": "a", "text": "' + TEXT.encode() + b'"}\n{"id": "b"\n{"id": "c"}\n{"id": "a", "text": "again"}\n'


def test_bad_documents_do_not_stop_the_others(bundle: Path, document: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.jsonl").write_bytes(BROKEN)
    (tmp_path / "bad.json").write_bytes(b'[{"title": "Reval"}]')
    done = autore("extract", "--model", bundle, "mixed.jsonl", "bad.json", "nowhere.txt", document.name, cwd=tmp_path)
    assert done.returncode == 1
    assert {triple["doc"] for triple in triples(done.stdout)} == {"a", "lindqvist"}
    errors = [line for line in messages(done) if line.startswith("autore: error: ")]
    places = [*(f"mixed.jsonl:{line}: " for line in (2, 3, 4)), "bad.json: record 1: ", "nowhere.txt: "]
    for error, place in zip(errors, places, strict=True):
        assert error.startswith(f"autore: error: {place}")
    assert messages(done)[-1].startswith("autore: 2 documents, ")
    assert ", 5 failed, " in messages(done)[-1]


def test_on_error_stop_ends_it_after_what_came_before(bundle: Path, document: Path, tmp_path: Path) -> None:
    done = autore("extract", "--model", bundle, "--on-error", "stop", document, tmp_path / "nowhere.txt", document)
    assert done.returncode == 3
    assert {triple["doc"] for triple in triples(done.stdout)} == {"lindqvist"}
    assert messages(done)[1].startswith(f"autore: error: {tmp_path}/nowhere.txt: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "empty"),
        (b"\xe9t\xe9", "not UTF-8 (byte 1)"),
        (b" \n", "the text is empty"),
    ],
)
def test_input_that_cannot_be_read(bundle: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "input.txt"
    if content is not None:
        path.write_bytes(content)
    done = autore("extract", "--model", bundle, path)
    assert (done.returncode, done.stdout) == (3, b"")
    errors = messages(done)
    assert errors[0] == f"autore: error: {path}: {message}"
    assert errors[-1].startswith("autore: 0 documents, 0 triples, 1 failed, ")


def test_empty_or_closed_stdin(bundle: Path) -> None:
    empty = autore("extract", "--model", bundle, "-")
    assert (empty.returncode, messages(empty)[0]) == (3, "autore: error: stdin: empty")
    command = " ".join([*COMMAND, "extract", "--model", str(bundle), "-"])
    closed = subprocess.run(["bash", "-c", f"{command} <&-"], capture_output=True, env=environment(), check=False)
    assert closed.returncode == 3
    assert messages(closed) == ["autore: error: stdin: can't be read: Bad file descriptor"]


def test_a_report_accounts_for_every_document(bundle: Path, document: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.jsonl").write_bytes(BROKEN)
    output, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    arguments: list[str | Path] = ["extract", "--model", bundle, "--report", report, "--batch-size", "2", "mixed.jsonl"]
    arguments.append(document.name)
    assert autore(*arguments, "--output", output, cwd=tmp_path).returncode == 1
    content = json.loads(report.read_bytes())
    assert content["exit_code"] == 1
    assert content["documents"] == {
        "read": 5,
        "done": 2,
        "earlier": 0,
        "failed": 3,
        "unfinished": 0,
        "truncated": 0,
    }
    assert [(each["id"], each["place"]) for each in content["failures"]] == [
        (None, "mixed.jsonl:2"),
        (None, "mixed.jsonl:3"),
        (None, "mixed.jsonl:4"),
    ]
    assert content["failures"][1]["reason"] == "no 'text'"
    assert (content["windows"], content["triples"]) == (2, len(output.read_bytes().splitlines()))
    seconds = content["seconds"]
    assert sum(seconds[part] for part in PARTS) == pytest.approx(seconds["total"], rel=0.2)
    assert seconds["loading"] > 0 < seconds["extracting"]
    assert content["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert content["configuration"].keys() >= {"autore", "bundle", "schema", "min_score"}
    assert content["run"]["batch_size"] == 2
    assert content["versions"]["torch"]

    report.write_text("precious")
    refused = autore(*arguments, cwd=tmp_path)
    assert (refused.returncode, messages(refused)[0]) == (5, f"autore: error: {report}: exists already")
    assert report.read_text() == "precious"
    alone = autore(*arguments, "--force", cwd=tmp_path)
    assert alone.stdout == output.read_bytes()
    assert json.loads(report.read_bytes())["output_sha256"] is None
    for path, message in (("-", "--report: '-' is no file"), ("mixed.jsonl", "mixed.jsonl: is the input as well")):
        wrong = autore("extract", "--model", bundle, "--report", path, "mixed.jsonl", cwd=tmp_path)
        assert wrong.returncode == 2
        assert messages(wrong)[0].startswith(f"autore: error: {message}")


def test_several_devices_give_what_one_gives(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_bytes(lines(*({"text": TEXT} for _ in range(40))))
    one = autore("extract", "--model", bundle, tmp_path / "many.jsonl")
    several = autore("extract", "--model", bundle, "--devices", "cpu,cpu", tmp_path / "many.jsonl")
    assert (several.returncode, several.stdout) == (0, one.stdout)
    assert messages(several)[0].startswith("autore: 40 documents, ")


def test_output_that_cannot_be_written(bundle: Path, document: Path, tmp_path: Path) -> None:
    def attempt(path: str | Path) -> tuple[int, str]:
        done = autore("extract", "--model", bundle, "--output", path, document)
        return done.returncode, messages(done)[0]

    assert attempt(tmp_path / "a" / "b") == (5, f"autore: error: {tmp_path}/a/b: its folder does not exist")
    assert attempt(tmp_path) == (5, f"autore: error: {tmp_path}: is a folder")
    assert attempt(document) == (2, f"autore: error: {document}: is the input as well")
    assert attempt("/dev/full") == (5, "autore: error: /dev/full: can't be written: No space left on device")
    if os.geteuid():  # root may write anywhere
        tmp_path.chmod(0o500)
        assert attempt(tmp_path / "out") == (5, f"autore: error: {tmp_path}/out: no permission to write it")
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--schema", "nowhere.toml"],
            2,
            "autore: error: nowhere.toml: schema can't be read: No such file or directory",
        ),
        (["--batch-size", "none"], 2, "autore: error: --batch-size: 'none' is neither 'auto' nor a number above 0"),
        (["--devices", "many"], 2, "autore: error: --devices: 'many' is neither a number from 1 to"),
        (["--devices", "2", "--device", "cpu"], 2, "autore: error: --devices says what --device does, and more: give"),
        (["--model", "nowhere"], 4, "autore: error: no bundle 'nowhere'"),
    ],
)
def test_settings_that_cannot_be_used(
    bundle: Path, document: Path, arguments: list[str], code: int, message: str
) -> None:
    done = autore("extract", "--model", bundle, *arguments, document)
    assert (done.returncode, done.stdout) == (code, b"")
    assert messages(done)[0].startswith(message)


def test_a_bundle_without_adapters_says_how_to_train_them(bundle: Path, document: Path, tmp_path: Path) -> None:
    copy = tmp_path / "untrained"
    copy.mkdir()
    (copy / "bundle.toml").write_bytes((bundle / "bundle.toml").read_bytes())
    done = autore("extract", "--model", copy, document)
    assert done.returncode == 4
    assert "has no adapter yet" in messages(done)[0]
    assert messages(done)[1].startswith("autore: hint: train it with: autore finetune --model ")
