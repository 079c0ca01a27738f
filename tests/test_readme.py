import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tree() -> Iterator[Path]:
    """The paths of the README's file tree."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## The files\n+```text\n(.*?)```", readme, re.DOTALL)
    folders: list[str] = []
    for line in block.splitlines():
        match = re.fullmatch(r"([│ ]*)[├└]── (\S+)( +\S.*)?", line)
        assert match, f"not a line of a tree: {line}"
        depth, name, clause = len(match[1]) // 4, match[2], match[3]
        folders[depth:] = [name]
        yield ROOT.joinpath(*folders)
        assert clause or name.endswith("/"), f"no clause: {line}"


def test_the_file_tree_shows_what_is_there() -> None:
    assert [path for path in tree() if not path.exists()] == []


def test_the_file_tree_shows_every_module() -> None:
    modules = {path for path in ROOT.glob("autore_cli/**/*.py") if path.name != "__init__.py"}
    assert modules - set(tree()) == set()


def test_links_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
