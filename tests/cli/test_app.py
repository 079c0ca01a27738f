import os
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, autore, environment, messages

HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy", "matplotlib")


def test_help_shows_the_commands() -> None:
    done = autore("--help")
    assert done.returncode == 0
    assert all(name in done.stdout.decode() for name in ("extract", "build-data", "finetune", "score", "--version"))
    assert done.stderr == b""
    assert autore().stdout.strip() == done.stdout.strip()


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    autore("--help")  # writes the bytecode
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        autore("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["extract", "--help"], ["build-data", "--help"], ["finetune", "--help"], ["score", "--help"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, autore_cli.cli.app as app\n"
        f"sys.argv = ['autore', *{arguments!r}]\n"
        "try: app.main()\n"
        f"finally: sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--help" in done.stdout


def test_version() -> None:
    assert autore("--version").stdout.decode() == f"autore {version('autore')}\n"


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--nonsense"], "No such option: --nonsense", "see 'autore --help'"),
        (["extract", "--nonsense", "a.txt"], "No such option: --nonsense", "see 'autore extract --help'"),
        (["extrakt"], "No such command 'extrakt'. Did you mean 'extract'?", "see 'autore --help'"),
        (["extract"], "Missing argument 'PATHS'", "see 'autore extract --help'"),
        (["extract", "--min-score", "1.5", "a.txt"], "Invalid value for '--min-score'", "see 'autore extract --help'"),
        (["extract", "--limit", "0", "a.txt"], "Invalid value for '--limit'", "see 'autore extract --help'"),
        (["build-data", "a.json"], "Missing option '--output' / '-o'", "see 'autore build-data --help'"),
        (["finetune", "--stage", "tail"], "Invalid value for '--stage'", "see 'autore finetune --help'"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(arguments: list[str], message: str, hint: str) -> None:
    done = autore(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    first, second = messages(done)
    assert first.startswith(f"autore: error: {message}")
    assert second == f"autore: hint: {hint}"


def test_an_error_has_a_traceback_only_when_asked_for() -> None:
    arguments = ["extract", "--model", "nowhere", "a.txt"]
    quiet, verbose, debug = (
        autore(*arguments),
        autore(*arguments, "--verbose"),
        autore(*arguments, env={"AUTORE_DEBUG": "1"}),
    )
    assert {done.returncode for done in (quiet, verbose, debug)} == {4}
    assert messages(quiet)[0] == "autore: error: no bundle 'nowhere'"
    assert len(messages(quiet)) == 2
    for done in (verbose, debug):
        assert messages(done)[0] == "Traceback (most recent call last):"
        assert messages(done)[-2:] == messages(quiet)


def test_control_characters_in_messages_are_escaped() -> None:
    done = autore("extract", "--model", "a\x1b[31m\nb", "a.txt")
    assert messages(done)[0] == r"autore: error: no bundle 'a\x1b[31m\nb'"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["extract", "--help"]])
def test_a_closed_pipe_is_no_error(arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=closed, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert done.stderr == b""
    assert done.returncode in (1, 141)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["extract", "--help"]])
def test_a_full_disk_is_an_error(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert done.returncode == 5
    assert done.stderr.decode() == "autore: error: stdout: can't be written: No space left on device\n"
