"""Whether `autore extract` can run for as long as one likes: documents through a pipe, and a look at the process.

    python benchmarks/soak.py                       an hour, the default bundle
    python benchmarks/soak.py --minutes 5 --model FOLDER --devices cpu,cpu

Once a minute a line: the documents that have come back, the resident memory of the run and its workers in MiB, and
their open descriptors and threads. At the end, one JSON object: whether every document came back, and how much memory
grew from the second quarter of the time to the last, each by its mean, as memory goes up and down with the documents
that are in work. The exit code is 0 if every document came back, in order, with no descriptor more, and memory grew by
less than 5 %.

Every document is another one. That one without triples came back, too, is known from the run's own report, which counts
what was done.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from threading import Thread
from typing import IO

from autore_cli.model.bundle import DEFAULT

NAMES = ["Ida Holm", "Piet Maas", "Lena Sorel", "Jon Falk", "Ana Reis", "Tor Berg", "Eva Lind", "Max Orth"]
PLACES = ["Oslo", "Bergen", "Lyon", "Porto", "Graz", "Turku", "Ghent", "Riga", "Norway", "France", "Austria", "Latvia"]
SENTENCES = [
    "{name} was born in {place}.",
    "{name} studied at the University of {place} and later taught there.",
    "In {year}, {name} moved to {place} with {other}.",
    "{other} wrote a book about {place}, which was published in {year}.",
    "The river runs from {place} to the sea.",
    "{name}, a citizen of {place}, died in {year}.",
]
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """The processes at one moment: how much memory (bytes), how many descriptors and threads."""

    memory: int
    descriptors: int
    threads: int


def documents() -> Iterator[bytes]:
    """Documents without end, of 1 to 40 sentences, as lines."""
    rng = random.Random(0)  # noqa: S311
    for number in itertools.count():
        sentences = [
            rng.choice(SENTENCES).format(
                name=rng.choice(NAMES),
                other=rng.choice(NAMES),
                place=rng.choice(PLACES),
                year=rng.randrange(1700, 2020),
            )
            for _ in range(rng.choice([1, 4, 10, 10, 40]))
        ]
        yield json.dumps({"id": str(number), "text": " ".join(sentences)}).encode() + b"\n"


def family(process: int) -> list[int]:
    """A process, and all that it started."""
    found = [process]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def sample(process: int) -> Sample:
    """Looks at a process and its children."""
    memory = descriptors = threads = 0
    for each in family(process):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines())
        memory += int(status["VmRSS"].split()[0]) * 1024
        threads += int(status["Threads"])
        descriptors += len(list(Path(f"/proc/{each}/fd").iterdir()))
    return Sample(memory, descriptors, threads)


def feed(stream: IO[bytes], end: float, counts: dict[str, int]) -> None:
    """Writes documents until the time is over."""
    with stream:
        for line in documents():
            if time.monotonic() > end:
                return
            stream.write(line)
            counts["written"] += 1


def follow(stream: IO[bytes], counts: dict[str, int]) -> None:
    """Reads triples, and counts the documents that they are of, and those that come too late."""
    last = -1
    for line in stream:
        number = int(json.loads(line)["doc"])
        counts["seen"] += number != last
        counts["disorder"] += number < last
        last = number


def main() -> int:
    """Runs it, and tells whether all was well."""
    parser = argparse.ArgumentParser(description="Documents through a pipe, for as long as one likes.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two looks")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--devices", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "autore_cli", "extract", "-", "--model", options.model]
        command += ["--devices", options.devices, "--report", str(report), "--quiet"]
        counts = {"written": 0, "seen": 0, "disorder": 0}
        start = time.monotonic()
        end = start + options.minutes * 60
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdin is not None  # noqa: S101
            assert process.stdout is not None  # noqa: S101
            threads = [
                Thread(target=feed, args=(process.stdin, end, counts)),
                Thread(target=follow, args=(process.stdout, counts)),
            ]
            for thread in threads:
                thread.start()
            samples = list(watch(process, start, end, options.every, counts))
            for thread in threads:
                thread.join()
        return judge(samples, counts, json.loads(report.read_bytes()), process.returncode)


def watch(
    process: "subprocess.Popen[bytes]", start: float, end: float, every: float, counts: dict[str, int]
) -> Iterator[Sample]:
    """Looks again and again, from the first triple on, and writes a line each time."""
    print(f"{'minute':>7} {'written':>8} {'with triples':>12} {'MiB':>8} {'descriptors':>11} {'threads':>7}")  # noqa: T201
    while (now := time.monotonic()) < end - 1 and process.poll() is None:
        if counts["seen"]:
            look = sample(process.pid)
            figures = f"{counts['written']:8d} {counts['seen']:12d} {look.memory / 2**20:8.1f}"
            print(f"{(now - start) / 60:7.1f} {figures} {look.descriptors:11d} {look.threads:7d}", flush=True)  # noqa: T201
            yield look
        time.sleep(min(every, max(0.0, end - 1 - time.monotonic())))


def judge(samples: list[Sample], counts: dict[str, int], report: dict[str, dict[str, int]], code: int) -> int:
    """Writes the verdict."""
    quarter = len(samples) // 4
    if not quarter:
        print("too short to judge", file=sys.stderr)  # noqa: T201
        return 1
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    growth = mean(each.memory for each in last) / mean(each.memory for each in second) - 1
    more = max(each.descriptors for each in last) - max(each.descriptors for each in second)
    complete = counts["written"] == report["documents"]["done"] and not counts["disorder"] and code == 0
    verdict = {
        "documents": counts["written"],
        "done": report["documents"]["done"],
        "with_triples": counts["seen"],
        "triples": report["triples"],
        "out_of_order": counts["disorder"],
        "exit_code": code,
        "memory_growth": round(growth, 4),
        "descriptors_more": more,
    }
    print(json.dumps(verdict))  # noqa: T201
    return 0 if complete and growth < TOLERANCE and not more else 1


if __name__ == "__main__":
    sys.exit(main())
