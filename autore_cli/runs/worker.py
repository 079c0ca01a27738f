"""A worker: a process that extracts on one device, for a run in another process. `process` starts it.

It reads and writes the lines that `wire` describes, and ends as soon as its input does, in the middle of a batch, too:
so it never outlives the run, however that ends. Signals that ask to end are left to the run.
"""

import logging
import os
import signal
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, BinaryIO

import orjson

from autore_cli.files import as_lines
from autore_cli.runs import wire
from autore_cli.runs.extraction import extract_batch
from autore_cli.runs.setup import Setup

_DONE = 0


class Answers:
    """Writes messages, each as a whole, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def write(self, **content: object) -> None:
        """Writes a message. Ends the process if nobody is there any more to read it."""
        with self._lock:
            try:
                self._stream.write(as_lines([content]))
                self._stream.flush()
            except BrokenPipeError:
                os._exit(_DONE)


class _Relay(logging.Handler):
    """Sends log records to the run, which shows them."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        self._answers.write(log=wire.log_to_json(record))


def main() -> None:
    """Loads a pipeline, and answers batch after batch, until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    requests, answers = _pipes()
    inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
    Thread(target=_read, args=(requests, inbox), daemon=True).start()
    order = inbox.get()
    _relay_logs(answers, order["levels"])
    try:
        pipeline = Setup(**order["setup"]).pipeline(order["device"])
    except Exception as error:
        answers.write(error=wire.error_to_json(error))
        return
    answers.write(ready=True)
    while True:
        documents = wire.documents_from_json(inbox.get()["documents"])
        try:
            results = extract_batch(pipeline, documents)
        except Exception as error:
            answers.write(error=wire.error_to_json(error))
        else:
            answers.write(results=wire.results_to_json(results))


def _pipes() -> tuple[BinaryIO, Answers]:
    """The pipes from and to the run. What a library prints goes to stderr from now on, and it has nothing to read."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return os.fdopen(requests, "rb"), Answers(os.fdopen(answers, "wb"))


def _read(requests: BinaryIO, inbox: "SimpleQueue[dict[str, Any]]") -> None:
    for line in requests:
        inbox.put(orjson.loads(line))
    os._exit(_DONE)  # whatever the main thread is at, nobody waits for it


def _relay_logs(answers: Answers, levels: dict[str, int]) -> None:
    logging.getLogger().addHandler(_Relay(answers))
    logging.captureWarnings(True)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


if __name__ == "__main__":
    main()
