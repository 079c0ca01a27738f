"""Whether memory stays flat: thousands of documents go through a pipe, and the process's size is noted on the way.

python -m benchmarks.memory             10,000 documents of two sentences, and a model of two layers
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import IO

from benchmarks.documents import documents
from tests.model import tiny

DOCUMENTS = 10_000
NOTES = 10


def lines(count: int) -> Iterator[bytes]:
    """Documents as JSON lines."""
    for number, document in enumerate(documents(count)):
        text = ". ".join(document.text.split(". ")[:2])
        yield json.dumps({"id": str(number), "text": text}).encode() + b"\n"


def write(pipe: IO[bytes], count: int) -> None:
    """Writes all documents, as fast as they are read."""
    with pipe:
        pipe.writelines(lines(count))


def resident(process: int) -> float:
    """MB that a process holds in memory."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def main(count: int) -> None:
    """Runs `autore extract`, and prints a line for each tenth of the documents."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, schema = Path(folder, "bundle"), Path(folder, "schema.toml")
        tiny.bundle(bundle, kind="wordpiece", causal_lm=tiny.copylm())
        schema.write_text(tiny.SCHEMA, encoding="utf-8")
        command = ["-m", "autore_cli", "extract", "-", "--model", str(bundle), "--schema", str(schema), "--quiet"]
        with subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdin is not None  # noqa: S101 - for the type
            assert process.stdout is not None  # noqa: S101 - for the type
            Thread(target=write, args=(process.stdin, count), daemon=True).start()
            triples, note = 0, 0
            for triples, line in enumerate(process.stdout, 1):
                done = int(json.loads(line)["doc"]) + 1
                if done * NOTES // count > note:
                    note = done * NOTES // count
                    sys.stdout.write(f"{done:7,} documents  {triples:9,} triples  {resident(process.pid):7.1f} MB\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS)
