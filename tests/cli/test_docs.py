import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_help_in_the_docs_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec
    assert spec.loader
    commands = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(commands)
    assert commands.FILE.read_text(encoding="utf-8") == commands.text(), "make docs writes it anew"
