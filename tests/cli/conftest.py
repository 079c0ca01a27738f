from pathlib import Path

import pytest

from tests.model import tiny


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights and a schema of two relations, the ones that it claims to be trained on."""
    folder = tiny.bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    (folder / "schema.toml").write_text(tiny.SCHEMA, encoding="utf-8")
    settings = (folder / "bundle.toml").read_text(encoding="utf-8")
    settings = settings.replace('"redocred"', '"schema.toml"').replace("threshold = 0.4", "threshold = 0.0")
    (folder / "bundle.toml").write_text(settings, encoding="utf-8")
    return folder
