"""Runs the command as a user does: in a process of its own, with real files and pipes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = [sys.executable, "-m", "autore_cli"]
TIMEOUT = 120


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without the user's own settings, and without a network."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTORE_")}
    return inherited | {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"} | dict(extra or {})


def autore(
    *arguments: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Runs the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment(env),
        cwd=cwd,
        timeout=TIMEOUT,
        check=False,
    )


def messages(done: "subprocess.CompletedProcess[bytes]") -> list[str]:
    """The lines of stderr."""
    return done.stderr.decode().splitlines()
