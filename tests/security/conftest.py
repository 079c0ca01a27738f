from pathlib import Path

import pytest

from tests.model import tiny


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with random weights and two relations, of its test's own."""
    return two_relations(tiny.bundle(tmp_path / "tiny"))


def two_relations(folder: Path) -> Path:
    """Gives a tiny bundle a schema of two relations, each of which it finds everywhere."""
    (folder / "schema.toml").write_text(tiny.SCHEMA, encoding="utf-8")
    settings = (folder / "bundle.toml").read_text(encoding="utf-8")
    settings = settings.replace('"redocred"', '"schema.toml"').replace("threshold = 0.4", "threshold = 0.0")
    (folder / "bundle.toml").write_text(settings, encoding="utf-8")
    return folder
