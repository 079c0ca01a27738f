"""A worker process, seen from the run that starts it."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen
from threading import Thread
from typing import IO, Any, cast

import orjson

from autore_cli.files import as_lines
from autore_cli.runs.setup import Setup

# -P: no module comes from the folder that the user happens to be in.
_COMMAND = [sys.executable, "-P", "-m", "autore_cli.runs.worker"]
_LOGGERS = ("", "autore_cli")


@dataclass(frozen=True, slots=True)
class Message:
    """What a worker says, as `wire` describes it; None is its end."""

    process: "WorkerProcess"
    content: dict[str, Any] | None


class WorkerProcess:
    """Starts a worker (`autore_cli.runs.worker`), and lets it load its model.

    Args:
        setup: its pipeline.
        device: where it runs.
        threads: how many threads compute in it, at least one, if the user's environment doesn't say.
        hear: gets its messages, in a thread, and at last that of its end.
    """

    def __init__(self, setup: Setup, device: str, threads: int, hear: Callable[[Message], object]) -> None:
        self.device = device
        self._process = Popen(  # noqa: S603, nothing in it is the user's
            _COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=None if sys.stderr else DEVNULL,
            env=_environment(max(1, threads)),
            start_new_session=True,  # out of the terminal's reach: Ctrl-C is for the run
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        answers = cast(IO[bytes], self._process.stdout)
        self._reader = Thread(target=self._read, args=(answers, hear), name=device, daemon=True)
        self._reader.start()
        levels = {name: logging.getLogger(name).getEffectiveLevel() for name in _LOGGERS}
        self.send(setup=setup, device=device, levels=levels)

    def send(self, **content: object) -> None:
        """Sends a message; without effect if it is dead, of which a message tells."""
        with suppress(BrokenPipeError):
            self._requests.write(as_lines([content]))
            self._requests.flush()

    def kill(self) -> None:
        """Lets it die at once. It has nothing to save."""
        self._process.kill()

    def end(self) -> str:
        """Ends it, if it lives, leaves nothing of it behind, and tells how it ended."""
        self.kill()
        code = self._process.wait()
        self._reader.join()
        with suppress(BrokenPipeError):
            self._requests.close()
        return f"died ({signal.strsignal(-code)}, signal {-code})" if code < 0 else f"ended with exit code {code}"

    def _read(self, answers: IO[bytes], hear: Callable[[Message], object]) -> None:
        with answers:
            for line in answers:
                if line.endswith(b"\n"):  # else it died while it wrote
                    hear(Message(self, orjson.loads(line)))
        hear(Message(self, None))


def _environment(threads: int) -> dict[str, str]:
    """A worker's environment: it imports what the run does, and computes in so many threads, unless the user chose."""
    return {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
