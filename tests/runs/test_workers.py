"""Several devices, for real: worker processes with a tiny model, killed, starved and left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
import torch

from autore_cli.errors import BundleError, ConfigurationError, DocumentError, InputError
from autore_cli.records import Document
from autore_cli.runs.extraction import LocalExtractor, Result
from autore_cli.runs.setup import Setup
from autore_cli.runs.workers import AHEAD, Workers
from tests.cli.command import environment
from tests.model import tiny

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at processes through /proc")

SCHEMA = '[[relation]]\nid = "P17"\nname = "country"\n\n[[relation]]\nid = "P50"\nname = "author"\n'
TWO = ["cpu", "cpu"]
PATIENCE = 60.0
HUGE = Document("huge", "Mara Lindqvist met Tomas Reval in Orlen. " * 50_000, "docs.jsonl:huge")
DOCUMENTS = [Document(f"d{number}", tiny.TEXTS[number % 4], f"docs.jsonl:{number}") for number in range(24)]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return setup_in(tmp_path_factory.mktemp("bundles") / "tiny")


def setup_in(folder: Path) -> Setup:
    """A random model of two relations."""
    tiny.bundle(folder)
    settings = (folder / "bundle.toml").read_text(encoding="utf-8")
    (folder / "bundle.toml").write_text(settings.replace("threshold = 0.4", "threshold = 0.0"), encoding="utf-8")
    schema = folder.parent / f"{folder.name}.toml"
    schema.write_text(SCHEMA, encoding="utf-8")
    return Setup(str(folder), str(schema))


@pytest.fixture(scope="module")
def expected(setup: Setup) -> list[Result]:
    """The documents' results, of this process."""
    (results,) = LocalExtractor(setup.pipeline("cpu")).extract([DOCUMENTS])
    assert any(result.triples for result in results)
    return results


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """No process, no zombie, and no descriptor outlives a test."""
    before = set(children()), descriptors()
    yield
    wait_until(lambda: (set(children()), descriptors()) == before)


def children(of: int | None = None) -> list[int]:
    """The workers of a parent, by default of this process; zombies, too."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if parent == (of or os.getpid()) and (not command or b"autore_cli.runs.worker" in command):
            found.append(int(folder.name))
    return sorted(found)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def wait_until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def split(documents: Sequence[Document], seed: int, most: int = 5) -> Iterator[Sequence[Document]]:
    """Batches of random sizes."""
    rng = random.Random(seed)
    start = 0
    while start < len(documents):
        size = rng.randint(1, most)
        yield documents[start : start + size]
        start += size


def assert_same(found: Sequence[Result], expected: Sequence[Result]) -> None:
    """The same but for the last digits of scores, which depend on the batch."""
    assert [result.document for result in found] == [result.document for result in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.error, one.windows) == (None, other.windows)
        assert [(t.doc, t.head, t.relation_id, t.tail, t.head_spans, t.tail_spans) for t in one.triples] == [
            (t.doc, t.head, t.relation_id, t.tail, t.head_spans, t.tail_spans) for t in other.triples
        ]
        assert [t.score for t in one.triples] == pytest.approx([t.score for t in other.triples], abs=1e-4)


def collect(iteration: Iterator[list[Result]], found: list[Result]) -> None:
    """Adds to `found`, which is there even if the iteration ends with an error."""
    for results in iteration:
        found += results


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # gone by itself
        os.kill(pid, signal.SIGKILL)


@contextmanager
def in_background(act: Callable[[Event], None]) -> Iterator[None]:
    """Runs something beside the test until that is done, which the event tells."""
    done = Event()
    thread = Thread(target=act, args=(done,))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_results_are_those_of_one_process_in_the_order_of_the_batches(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The number of threads decides in which order sums are taken, and so the last digits of scores.
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    batches = list(split(DOCUMENTS * 2, seed=1))
    local = list(LocalExtractor(setup.pipeline("cpu")).extract(batches))
    with Workers(setup, TWO) as workers:
        assert len(children()) == 2
        assert list(workers.extract(batches)) == local


@pytest.mark.gpu
def test_all_gpus_give_the_results_of_one(setup: Setup) -> None:
    if not torch.cuda.device_count():
        pytest.skip("no GPU")
    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    batches = list(split(DOCUMENTS * 4, seed=1))
    local = list(LocalExtractor(setup.pipeline("cuda:0")).extract(batches))
    with Workers(setup, devices) as workers:
        assert list(workers.extract(batches)) == local


def test_results_come_out_while_the_input_is_silent(setup: Setup) -> None:
    queue: Queue[list[Document] | None] = Queue()
    with Workers(setup, ["cpu"]) as workers:
        results = workers.extract(iter(queue.get, None))
        for document in DOCUMENTS[:3]:
            queue.put([document])
            assert [result.document for result in next(results)] == [document]
        queue.put(None)
        assert list(results) == []


def test_it_reads_no_further_ahead_than_it_has_to(setup: Setup) -> None:
    read: list[int] = []

    def batches() -> Iterator[list[Document]]:
        for number, document in enumerate(DOCUMENTS):
            read.append(number)
            yield [document]

    with Workers(setup, TWO) as workers:
        given_out = 0
        for _ in workers.extract(batches()):
            given_out += 1
            time.sleep(0.05)  # a slow consumer
            assert len(read) <= given_out + AHEAD * len(TWO)
    assert len(read) == given_out == len(DOCUMENTS)


def test_what_ends_the_input_comes_after_the_results_of_what_was_read(setup: Setup) -> None:
    def batches() -> Iterator[list[Document]]:
        yield DOCUMENTS[:2]
        yield DOCUMENTS[2:3]
        raise InputError("not a JSON object", where="docs.jsonl:4")

    found: list[Result] = []
    with Workers(setup, TWO) as workers, pytest.raises(InputError, match="not a JSON object"):
        collect(workers.extract(batches()), found)
    assert [result.document for result in found] == DOCUMENTS[:3]


def test_stopped_it_finishes_what_is_in_work(setup: Setup, expected: list[Result]) -> None:
    found: list[Result] = []
    with Workers(setup, TWO) as workers:
        for results in workers.extract([document] for document in DOCUMENTS):
            found += results
            if len(found) == 4:
                workers.stop()
    assert 4 <= len(found) <= 4 + AHEAD * len(TWO)
    assert_same(found, expected[: len(found)])


@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_random_moments_lose_nothing(setup: Setup, expected: list[Result], seed: int) -> None:
    rng = random.Random(seed)
    killed: list[int] = []

    def kill_some(done: Event) -> None:
        while len(killed) < 3 and not done.wait(rng.uniform(0.01, 0.4)):
            killed.append(rng.choice(children()))
            kill(killed[-1])

    found: list[Result] = []
    with Workers(setup, TWO) as workers, in_background(kill_some):
        collect(workers.extract(split(DOCUMENTS * 4, seed)), found)
    assert killed
    assert_same(found, expected * 4)


@contextmanager
def little_memory(spare: int = 2**27) -> Iterator[None]:
    """What an out-of-memory killer does to workers that take more than they have now, and so many bytes."""
    limit = max(map(resident, children())) + spare

    def kill_large(done: Event) -> None:
        while not done.wait(0.01):
            for worker in children():
                if resident(worker) > limit:
                    kill(worker)

    with in_background(kill_large):
        yield


def test_a_document_that_kills_fails_and_the_others_are_done(
    setup: Setup, expected: list[Result], caplog: pytest.LogCaptureFixture
) -> None:
    with Workers(setup, TWO) as workers, little_memory():
        batches = [[*DOCUMENTS[:2], HUGE, DOCUMENTS[2]], DOCUMENTS[3:6]]
        found = [result for results in workers.extract(batches) for result in results]
    failed = found.pop(2)
    assert failed.document == HUGE
    assert not failed.triples
    assert isinstance(failed.error, DocumentError)
    assert failed.error.message == "document 'huge' failed: the worker on cpu died (Killed, signal 9)"
    assert failed.error.where == HUGE.place
    assert_same(found, expected[:6])
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the worker on cpu died (Killed, signal 9); another takes its place"] * 3


def test_workers_that_die_one_after_another_end_it(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autore_cli.runs.workers.DEATHS_IN_A_ROW", 2)
    found: list[Result] = []
    with (
        Workers(setup, ["cpu"]) as workers,
        little_memory(),
        pytest.raises(ConfigurationError, match="signal 9") as error,
    ):
        collect(workers.extract([[HUGE], [HUGE], [HUGE]]), found)
    assert error.value.message.startswith("workers die one after another")
    assert error.value.hint
    assert [result.document for result in found] == [HUGE]
    assert found[0].error


def test_a_broken_bundle_is_told_once_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    setup = setup_in(tmp_path / "broken")
    weights = tmp_path / "broken/head/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BundleError) as error, Workers(setup, TWO):
        pass
    assert error.value.where
    assert error.value.where.startswith(str(tmp_path))
    with pytest.raises(BundleError) as local:
        setup.pipeline("cpu")
    told, same = error.value, local.value
    assert (told.message, told.where, told.hint) == (same.message, same.where, same.hint)
    assert not caplog.records


def test_a_device_that_is_not_there(setup: Setup) -> None:
    with pytest.raises(ConfigurationError, match="no device 'xpu:7'"), Workers(setup, ["cpu", "xpu:7"]):
        pass


def test_workers_that_die_while_they_load(setup: Setup) -> None:
    def kill_all(done: Event) -> None:
        while not done.wait(0.05):
            for worker in children():
                kill(worker)

    with (
        in_background(kill_all),
        pytest.raises(ConfigurationError, match="while it loaded the model"),
        Workers(setup, TWO),
    ):
        pass


def test_a_bundle_that_breaks_during_the_run_leaves_the_others_at_work(
    tmp_path: Path, expected: list[Result], caplog: pytest.LogCaptureFixture
) -> None:
    setup = setup_in(tmp_path / "tiny")

    def batches() -> Iterator[list[Document]]:
        (tmp_path / "tiny/bundle.toml").write_text("nothing")
        kill(children()[0])
        while "1 left" not in caplog.text:
            yield DOCUMENTS[:3]

    with Workers(setup, TWO) as workers:
        for found in workers.extract(batches()):
            assert_same(found, expected[:3])
    dead, left = [record.getMessage() for record in caplog.records]
    assert "another takes its place" in dead
    assert left.startswith(f"no worker on cpu any more, 1 left: {tmp_path / 'tiny/bundle.toml'}: isn't TOML")


RUN = """\
import sys
from autore_cli.records import Document
from autore_cli.runs.setup import Setup
from autore_cli.runs.workers import Workers

small, huge = Document("small", "Mara met Tomas."), Document("huge", "Mara met Tomas. " * 60_000)
with Workers(Setup(sys.argv[1], sys.argv[2]), ["cpu", "cpu"]) as workers:
    for _ in workers.extract([[small], [huge], [huge]]):
        print("at work", flush=True)
"""


def is_alive(pid: int) -> bool:
    """Whether a process is there that isn't a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_are_gone_when_their_run_is_even_in_the_middle_of_a_batch(setup: Setup) -> None:
    command = [sys.executable, "-c", RUN, setup.model, str(setup.schema)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        assert process.stdout.readline() == b"at work\n"
        workers = children(process.pid)
        time.sleep(0.5)
        assert len(workers) == 2
        process.kill()
        wait_until(lambda: not any(map(is_alive, workers)), patience=10)


def test_what_all_workers_warn_of_is_said_once(
    setup: Setup, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python warns wherever a library opens a file without saying in which encoding, if asked to."""
    monkeypatch.setenv("PYTHONWARNDEFAULTENCODING", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    with Workers(setup, TWO):
        pass
    told = [record.getMessage() for record in caplog.records]
    assert any("EncodingWarning" in message for message in told)
    assert len(set(told)) == len(told)


def test_signals_that_ask_to_end_are_left_to_the_run(setup: Setup, expected: list[Result]) -> None:
    with Workers(setup, TWO) as workers:
        first = children()
        for worker in first:
            assert os.getsid(worker) == worker  # a Ctrl-C of the terminal doesn't even reach it
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGTERM)
        found = [result for results in workers.extract([DOCUMENTS]) for result in results]
        assert children() == first
    assert_same(found, expected)
