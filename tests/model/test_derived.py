import json
import tomllib
from pathlib import Path

import pytest

from autore_cli.errors import ConfigurationError, OutputError
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.derived import derive, is_inherited, schema_of
from tests.model import tiny


@pytest.fixture
def source(tmp_path: Path) -> Bundle:
    return read(tiny.bundle(tmp_path / "tiny"))


def edited(source: Bundle, old: str, new: str) -> Bundle:
    source.file.write_text(source.file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return read(source.folder)


def test_a_new_bundle_has_the_prompts_and_the_base_of_its_source(source: Bundle, tmp_path: Path) -> None:
    made = derive(source, tmp_path / "deep" / "new")
    assert made.name == "new"
    assert made.stages == source.stages
    assert sorted(path.name for path in (made.folder / "base").iterdir()) == sorted(
        path.name for path in (source.folder / "base").iterdir()
    )
    assert not (made.folder / "head").exists()
    made.folder.rename(tmp_path / "moved")
    assert read(tmp_path / "moved").base_source() == tmp_path / "moved" / "base"


@pytest.mark.parametrize("separator", ['"', "\\", "\n", "\u007f", "\u00e9\U0001f600", "'''", "\t"])
def test_texts_come_through_toml(source: Bundle, tmp_path: Path, separator: str) -> None:
    escaped = "".join(f"\\U{ord(character):08x}" for character in separator)
    source = edited(source, 'separator = ";"', f'separator = "{escaped}"')
    assert derive(source, tmp_path / "new").separator == separator


def test_a_packaged_base_and_one_of_the_hub_are_referred_to(
    source: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "bundles_folder", lambda: tmp_path)
    made = derive(source, tmp_path / "elsewhere" / "new")
    assert made.base == "bundle:tiny"
    assert made.base_source() == source.folder / "base"
    assert derive(made, tmp_path / "elsewhere" / "newer").base == "bundle:tiny"

    of_the_hub = edited(source, 'base = "base"', 'base = "some-org/some-model"\nrevision = "abc"')
    again = derive(of_the_hub, tmp_path / "elsewhere" / "other")
    assert (again.base, again.revision) == ("some-org/some-model", "abc")


def test_a_bundle_that_is_there_is_kept_if_it_fits(source: Bundle, tmp_path: Path) -> None:
    made = derive(source, tmp_path / "new")
    text = made.file.read_text() + "# a comment of the user\n"
    made.file.write_text(text)
    derive(source, tmp_path / "new")
    assert made.file.read_text() == text
    assert derive(source, source.folder).file == source.file

    other = edited(source, "heads of", "every head of")
    with pytest.raises(ConfigurationError, match="not made from 'tiny'"):
        derive(other, tmp_path / "new")


def test_a_bundle_does_not_change_its_paradigm_in_place(source: Bundle, tmp_path: Path) -> None:
    changed = source.with_paradigm("D-R-F")
    with pytest.raises(ConfigurationError, match="not made from 'tiny'"):
        derive(changed, source.folder)
    made = derive(changed, tmp_path / "new")
    assert (made.paradigm, made.stages) == ("D-R-F", changed.stages)
    assert made.stages["relation"] == source.stages["relation"]
    assert derive(changed, made.folder) == made
    with pytest.raises(ConfigurationError, match="not made from 'tiny'"):
        derive(source, made.folder)
    shared = derive(changed.with_shared_adapter(), tmp_path / "shared")
    assert shared.adapters == {"relation": "shared", "fact": "shared"}


def test_digests_and_calibration_of_old_adapters_are_left_behind(source: Bundle, tmp_path: Path) -> None:
    old = f'[calibration]\nthreshold = 0.5\n\n[sha256]\n"head/adapter_model.safetensors" = "{"0" * 64}"\n\n'
    source = edited(source, "[provenance]", f"{old}[provenance]")
    made = derive(source, tmp_path / "new")
    assert not made.sha256
    assert (source.calibration.threshold, made.calibration.threshold) == (0.5, 0.0)
    assert tomllib.loads(made.file.read_text())["provenance"]["bundle"] == "tiny"


def test_name_shapes_come_along(source: Bundle, tmp_path: Path) -> None:
    (source.folder / "shapes.json").write_text('{"bias": -1, "weights": {"first Xx": 2}}')
    source = edited(source, "[stages.relation]", '[name_shapes]\nweights = "shapes.json"\n\n[stages.relation]')
    assert derive(source, tmp_path / "new").shapes() == source.shapes() is not None


def test_a_folder_that_can_not_be_written_is_told(source: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        derive(source, tmp_path / "file" / "new")


def test_adapters_are_inherited_as_far_as_they_are_there(source: Bundle, tmp_path: Path) -> None:
    (source.folder / "head" / "run.json").write_text("{}")
    (source.folder / "fact" / "adapter_model.safetensors").unlink()
    made = derive(source, tmp_path / "new", inherited=["head", "fact"])
    assert (made.folder / "head" / "run.json").exists()
    assert not (made.folder / "fact").exists()
    assert is_inherited(made.folder, "head")
    assert not is_inherited(made.folder, "fact")
    assert not is_inherited(source.folder, "head")

    weights = source.folder / "head" / "adapter_model.safetensors"
    before = weights.read_bytes()
    (made.folder / "head" / "adapter_model.safetensors").write_bytes(b"trained")
    assert not is_inherited(made.folder, "head")
    assert weights.read_bytes() == before
    assert derive(source, made.folder, inherited=["head"]) == made


def test_another_schema_comes_along(source: Bundle, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps([{"id": "X1", "name": "moors at", "head_types": ["MISC"]}]))
    made = derive(source, tmp_path / "new", schema)
    assert (made.schema, made.trained) == ("schema.json", ("X1",))
    assert [relation.name for relation in schema_of(made)] == ["moors at"]
    assert derive(source, made.folder, schema) == made
    assert derive(made, tmp_path / "newer", schema).schema == "schema.json"

    schema.write_text(json.dumps({"X2": "sails from"}))
    with pytest.raises(ConfigurationError, match="another schema"):
        derive(source, made.folder, schema)


def test_the_schema_of_the_source_stays(source: Bundle, tmp_path: Path) -> None:
    source = edited(source, 'schema = "redocred"', 'schema = "own.json"')
    (source.folder / "own.json").write_text(json.dumps({"X1": "moors at"}))
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps([{"id": "X1", "name": "moors at"}]))
    made = derive(source, tmp_path / "new", schema)
    assert (made.schema, made.trained) == ("own.json", ("X1",))
