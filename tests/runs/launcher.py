"""Runs the command in processes that are forked from one that has imported all that is heavy: many runs in little time.

    python -m tests.runs.launcher BUNDLE

A line of stdin is a run: `{"arguments": [...], "seconds": 0.5}`, as JSON, where `seconds` is the time after which it is
killed, or null. Each is answered with the run's exit code, negative if a signal ended it.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from autore_cli.cli import app
from autore_cli.runs.setup import Setup


def main() -> None:
    Setup(sys.argv[1]).pipeline("cpu")
    answer("ready")
    for line in sys.stdin:
        run = json.loads(line)
        process = os.fork()
        if not process:
            sys.argv = ["autore", *run["arguments"]]
            with Path(os.devnull).open("r+b", buffering=0) as nothing:
                for stream in (0, 1, 2):
                    os.dup2(nothing.fileno(), stream)
            app.main()
        if run["seconds"] is not None:
            time.sleep(run["seconds"])
            os.kill(process, signal.SIGKILL)  # it is there, be it as a zombie, until it is waited for
        answer(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def answer(content: object) -> None:
    sys.stdout.write(f"{content}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
