"""Extracting asks no network, unless the base is one of the hub's that isn't on this machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, TIMEOUT, environment

TEXT = b"Mara Lindqvist was born in Fjellhavn. Her husband Tomas Reval wrote The Quiet Harbour there."

CUT = ["unshare", "--net", "--map-root-user"]
"""Runs a command in a network of its own, which holds nothing, not even this machine."""

WATCH = """\
import os
import sys


def watch(event, arguments):
    inet = event == "socket.connect" and arguments[0].family.name in ("AF_INET", "AF_INET6")
    if inet or event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        with open(os.environ["ATTEMPTS"], "a") as file:
            print(event, arguments, file=file)


sys.addaudithook(watch)
"""
"""As sitecustomize.py, it notes in every Python process who asks for the network."""


def can_be_cut() -> bool:
    """Whether this system lets a network be cut off."""
    return (
        shutil.which("unshare") is not None
        and not subprocess.run([*CUT, "true"], capture_output=True, check=False).returncode
    )


pytestmark = pytest.mark.skipif(not can_be_cut(), reason="unshare --net is missing, or not permitted")


def without_network(folder: Path, *command: str | Path) -> tuple["subprocess.CompletedProcess[bytes]", str]:
    """Runs a command, and tells what it tried to reach."""
    attempts = folder / "attempts"
    attempts.touch()
    (folder / "sitecustomize.py").write_text(WATCH)
    own = environment({"ATTEMPTS": str(attempts), "PYTHONPATH": str(folder), "HF_HOME": str(folder / "hf")})
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT"):  # what most users have not set
        own.pop(name, None)
    done = subprocess.run(
        [*CUT, *map(str, command)], input=TEXT, capture_output=True, env=own, timeout=TIMEOUT, check=False
    )
    return done, attempts.read_text()


def test_the_network_is_cut_and_watched(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=5)"
    done, attempts = without_network(tmp_path, sys.executable, "-c", code)
    assert b"Network is unreachable" in done.stderr
    assert "socket.connect" in attempts


@pytest.mark.parametrize("model", [None, "tiny"])
def test_extracting_asks_no_network(bundle: Path, tmp_path: Path, model: str | None) -> None:
    which = ["--model", str(bundle)] if model else []
    done, attempts = without_network(tmp_path, *COMMAND, "extract", *which, "-")
    assert (done.returncode, attempts) == (0, "")
    assert done.stdout


def test_a_base_of_the_hub_is_asked_for(bundle: Path, tmp_path: Path) -> None:
    settings = (bundle / "bundle.toml").read_text(encoding="utf-8").replace('base = "base"', 'base = "nobody/nothing"')
    (bundle / "bundle.toml").write_text(settings, encoding="utf-8")
    done, attempts = without_network(tmp_path, *COMMAND, "extract", "--model", bundle, "-")
    assert (done.returncode, done.stdout) == (4, b"")
    error, hint = done.stderr.decode().splitlines()[-2:]
    assert "its base nobody/nothing isn't on this machine, and can't be fetched" in error
    assert hint == "autore: hint: where there is a network: hf download nobody/nothing"
    assert "huggingface.co" in attempts
