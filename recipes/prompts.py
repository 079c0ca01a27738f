"""The default bundle's prompts, as its bundle.toml has them."""

from pathlib import Path

from autore_cli.model.bundle import read

BUNDLE = read(Path(__file__).parent / "redocred-small")
PROMPTS = BUNDLE.prompts()
