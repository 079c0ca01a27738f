"""Writes docs/commands.md: the help of every command, as a terminal of 100 columns shows it."""

import os
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).with_suffix(".md")
COMMANDS = ("", "extract", "build-data", "finetune", "score", "doctor")
PLAIN_TERMINAL = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}


def text() -> str:
    """The page."""
    parts = ["# The commands\n\nWritten by `make docs`.\n"]
    for command in COMMANDS:
        name = f"autore {command}".strip()
        parts.append(f"\n## `{name}`\n\n```text\n{_help(command)}\n```\n")
    return "".join(parts)


def _help(command: str) -> str:
    arguments = [sys.executable, "-m", "autore_cli", *command.split(), "--help"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTORE_")}
    for forcing_colours in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
        environment.pop(forcing_colours, None)
    environment |= PLAIN_TERMINAL
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    lines = (line.rstrip() for line in done.stdout.splitlines())
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
