"""The command, given what is odd but allowed, and what is too much."""

import json
from pathlib import Path

import pytest

from tests.cli.command import autore, messages
from tests.model import tiny
from tests.security.conftest import two_relations

SENTENCE = "Mara Lindqvist was born in Fjellhavn."


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_relations(tiny.bundle(tmp_path_factory.mktemp("bundles") / "tiny", seed=2))


def test_a_thousand_identical_documents(bundle: Path) -> None:
    stdin = b"".join(json.dumps({"id": number, "text": SENTENCE}).encode() + b"\n" for number in range(1000))
    done = autore("extract", "--model", bundle, "-", stdin=stdin)
    assert done.returncode == 0
    assert messages(done)[-1].startswith("autore: 1,000 documents, ")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for triple in map(json.loads, done.stdout.splitlines()):
        found.setdefault(triple["doc"], {})[triple["head"], triple["relation"], triple["tail"]] = triple["score"]
    assert list(found) == [str(number) for number in range(1000)]
    assert all(triples == pytest.approx(found["0"], abs=1e-4) for triples in found.values())


def test_documents_of_one_character(bundle: Path) -> None:
    characters = "aZ5.;|\"'{[\0\x1b\u0301\u200d字🦜\U0010ffff"
    stdin = b"".join(json.dumps({"text": character}).encode() + b"\n" for character in characters)
    done = autore("extract", "--model", bundle, "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"")
    assert messages(done)[-1].startswith(f"autore: {len(characters)} documents, 0 triples, ")


def test_ten_megabytes_without_a_space(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 10_000_000)
    (tmp_path / "short.txt").write_text(SENTENCE)
    done = autore("extract", "--model", bundle, "long.txt", "short.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert messages(done)[:2] == [
        "autore: error: long.txt: the text is longer than 1,000,000 characters",
        "autore: hint: split it, or raise --max-chars",
    ]
    assert {json.loads(line)["doc"] for line in done.stdout.splitlines()} == {"short"}


def test_the_limit_is_the_users(bundle: Path) -> None:
    stdin = b"".join(json.dumps({"id": count, "text": "x" * count}).encode() + b"\n" for count in (50, 51, 20_000))
    done = autore("extract", "--model", bundle, "--max-chars", "50", "-", stdin=stdin)
    assert done.returncode == 1
    assert messages(done)[-1].startswith("autore: 1 document, ")
    assert ", 2 failed, " in messages(done)[-1]
    done = autore("extract", "--model", bundle, "--max-chars", "20000", "-", stdin=stdin)
    assert done.returncode == 0
