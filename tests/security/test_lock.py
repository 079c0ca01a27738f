"""The lock file pins all that is installed but torch, by version and hash."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each package."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    hashes = {entry[0]: [word for word in entry if word.startswith("--hash")] for entry in entries}
    return {pin.split("==")[0]: (pin.split("==")[1], own) for pin, own in hashes.items()}


def test_every_package_has_its_hashes() -> None:
    for version, hashes in locked().values():
        assert version
        assert hashes
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for each in hashes)


def test_all_that_the_project_asks_for_is_there_but_torch() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = map(Requirement, [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["plot"]])
    pins = locked()
    for requirement in wanted:
        if requirement.name not in ("autore", "torch"):
            assert pins[requirement.name][0] in requirement.specifier
    assert not [name for name in pins if name.startswith(("torch", "nvidia", "cuda", "triton"))]


def test_make_names_a_torch_that_the_project_allows() -> None:
    (version,) = re.findall(r"^TORCH \?= torch==(\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    (allowed,) = (Requirement(each) for each in PROJECT["project"]["dependencies"] if each.startswith("torch"))
    assert version in allowed.specifier
