import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import autore_cli
from autore_cli.calibration import Calibration
from autore_cli.documents.shapes import NameShapes
from autore_cli.errors import BundleError, ConfigurationError
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle, find, read
from autore_cli.stages import Decoding, Template

SMALLEST = """\
format = 1
name = "smallest"
base = "base"
max_passage = 100
[stages.relation]
[stages.head]
[stages.fact]
"""

FULL = """\
format = 1
name = "full"
description = "All keys."
base = "org/model"
revision = "main"
schema = "mine.toml"
paradigm = "D-R-F"
max_passage = 448
separator = ";"
joiner = "|"
opening = "<s>"
closing = "</s>"

[stages.relation]
adapter = "shared"
list = "[CLS]{passage}[SEP]relations :"
choose = "[CLS]{passage}[SEP]{relation} ? {description}"
propose = "schema"
threshold = 0.4
end_bias = 1
max_items = 8

[stages.fact]
adapter = "shared"

[trained]
relations = ["P17", "P50"]

[provenance]
weights = { from = "nowhere" }
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose bundles folder is empty."""
    package = tmp_path / "site" / "autore_cli"
    (package / "bundles").mkdir(parents=True)
    monkeypatch.setattr(autore_cli, "__file__", str(package / "__init__.py"))
    return package / "bundles"


def test_every_key_is_read(tmp_path: Path) -> None:
    (write(tmp_path, FULL) / "mine.toml").touch()
    bundle = read(tmp_path)
    assert (bundle.base_source(), bundle.revision, bundle.schema_source) == (
        "org/model",
        "main",
        tmp_path / "mine.toml",
    )
    assert list(bundle.stages) == ["relation", "fact"]
    assert bundle.adapters == {"relation": "shared", "fact": "shared"}
    relation = bundle.stages["relation"]
    assert relation.list == Template("[CLS]{passage}[SEP]relations :")
    assert relation.decoding == Decoding("schema", 0.4, 1.0, 8)
    assert bundle.stages["fact"].decoding == Decoding()
    assert bundle.trained == ("P17", "P50")
    assert bundle.provenance == {"weights": {"from": "nowhere"}}


def test_left_out_keys_have_defaults(tmp_path: Path) -> None:
    bundle = read(write(tmp_path, SMALLEST))
    assert (bundle.schema_source, bundle.paradigm, bundle.revision, bundle.trained) == ("redocred", "RHF", None, ())
    assert bundle.adapters == {"relation": None, "head": None, "fact": None}
    bundle.require_adapters()


def test_left_out_templates_are_the_default_ones(tmp_path: Path) -> None:
    bundle = read(write(tmp_path, FULL))
    assert not bundle.needs_chat_template()
    prompts = bundle.prompts()
    assert prompts.stages["relation"].list == bundle.stages["relation"].list
    assert prompts.stages["fact"].list.text.startswith("<s>Passage: {passage}")
    assert prompts.stages["fact"].list.text.endswith("</s>")
    assert (prompts.separator, prompts.joiner) == (";", "|")
    plain = read(write(tmp_path / "plain", SMALLEST))
    assert plain.needs_chat_template()
    assert plain.prompts("<user>", "<end>").stages["head"].choose.text.startswith("<user>Passage: {passage}")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = (
        FULL.replace("format = 1", "format = 2")
        .replace('name = "full"', "name = 3")
        .replace("max_passage = 448", "")
        .replace("threshold = 0.4", "threshold = 1.4\nthreshhold = 0.4")
        .replace("max_items = 8", "max_items = true")
        .replace("relations :", "relations of {head} :")
        .replace('"P50"', "50")
        + '[sha256]\n"../x" = "'
        + "0" * 64
        + '"\n"y" = "0"\n'
    )
    with pytest.raises(BundleError) as raised:
        read(write(tmp_path, text))
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'bundle.toml'}: ")
    assert "\n" not in message
    for problem in (
        "format must be 1",
        "name must be text, not 3",
        "max_passage is missing",
        "stages.relation.threshold must be between 0 and 1, not 1.4",
        "stages.relation.threshhold is not a key",
        "stages.relation.max_items must be 1 or more, not True",
        "place {head}",
        "trained.relations must be a list of relation ids",
        "sha256.../x lies outside the bundle's folder",
        "sha256.y must be a sha256 in hex",
    ):
        assert problem in message, problem


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("max", "paradigm = 'R-D-F'\nmax", "paradigm must be one of D-F, D-RS-F, D-R-F, RHF, not 'R-D-F'"),
        ("[stages.relation]\n[stages.head]\n[stages.fact]", "stages = 3", "stages must be a table, not 3"),
        ("[stages.head]\n", "", "stages.head is missing"),
        ("[stages.head]", "[stages.head]\nadapter = '../other'", "stages.head.adapter must be a folder's name"),
        ("[stages.head]", "[stages.head]\npropose = 'schema'", "stages.head.propose must be one of list"),
        ("[stages.head]", "[stages.head]\nlist = 'no place'", "needs {passage} exactly once"),
        ("[stages.head]", "[stages.tail]\n[stages.head]", "stages.tail is not a key"),
        ('"base"', "'/etc'", "base must be a folder in the bundle"),
        ('"base"', "'a/../../b'", "base must be a folder in the bundle"),
        ('"base"', "'a\\..\\..\\b'", "base must be a folder in the bundle"),
        ('"base"', "'C:\\weights'", "base must be a folder in the bundle"),
        ("max", "schema = '../schema.toml'\nmax", "schema must be a schema's name or a file in the bundle"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(BundleError) as raised:
        read(write(tmp_path, SMALLEST.replace(old, new, 1)))
    assert problem in str(raised.value)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bundle.toml").write_bytes(content)
    with pytest.raises(BundleError, match="isn't TOML") as raised:
        read(tmp_path)
    assert raised.value.where == str(tmp_path / "bundle.toml")


def test_bundles_are_found_by_name_and_by_folder(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(packaged / "redocred-small", SMALLEST)
    write(packaged / "mistral-7b", FULL)
    mine = write(tmp_path / "mine", FULL)
    write(tmp_path / "redocred-small", FULL)
    monkeypatch.chdir(tmp_path)
    assert find().folder == packaged / "redocred-small", "a folder in the way doesn't hide a packaged bundle"
    assert find("mistral-7b").reference == "mistral-7b"
    assert find(mine).reference == str(mine)
    assert find("mine").folder == Path("mine")
    with pytest.raises(BundleError, match=r"no bundle 'mistral'.*known are mistral-7b, redocred-small"):
        find("mistral")
    with pytest.raises(BundleError, match=r"the folder has no bundle\.toml"):
        find(tmp_path)


def test_a_checkout_has_its_bundles_beside_the_package(packaged: Path) -> None:
    packaged.rmdir()
    assert bundles.bundles_folder() == packaged.parents[1] / "adapters"


def test_a_base_can_be_a_packaged_bundles(packaged: Path, tmp_path: Path) -> None:
    (write(packaged / "redocred-small", SMALLEST) / "base").mkdir()
    write(packaged / "borrower", SMALLEST.replace('"base"', '"bundle:redocred-small"'))
    mine = tmp_path / "mine"
    text = SMALLEST.replace('"base"', '"bundle:{}"')
    assert read(write(mine, text.format("redocred-small"))).base_source() == packaged / "redocred-small" / "base"
    with pytest.raises(BundleError, match="no packaged bundle 'mine'"):
        read(write(mine, text.format("mine"))).base_source()
    with pytest.raises(BundleError, match="'borrower' has no base of its own"):
        read(write(mine, text.format("borrower"))).base_source()


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    bundle = read(write(tmp_path, SMALLEST.replace("[stages.head]", "[stages.head]\nadapter = 'head'")))
    with pytest.raises(BundleError, match="base: is missing"):
        bundle.base_source()
    with pytest.raises(
        BundleError, match=r"the head stage of 'smallest' has no adapter yet.*autore finetune --model .*head"
    ):
        bundle.require_adapters()
    for name in bundles.ADAPTER_FILES:
        (tmp_path / "head").mkdir(exist_ok=True)
        (tmp_path / "head" / name).touch()
    bundle.require_adapters()


def test_nothing_can_point_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "model.safetensors").touch()
    bundle = read(write(tmp_path / "bundle", SMALLEST))
    linked = bundle.folder / "base"
    linked.symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="lies outside"):
        bundle.base_source()
    linked.unlink()
    linked.mkdir()
    (linked / "model.safetensors").symlink_to(tmp_path / "secret" / "model.safetensors")
    with pytest.raises(BundleError, match="lies outside"):
        bundle.base_source()


def test_digests_are_checked(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    bundle = read(write(tmp_path, f'{SMALLEST}[sha256]\n"base/model.safetensors" = "{digest}"\n'))
    assert bundle.base_source() == tmp_path / "base"
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(BundleError, match="is damaged") as raised:
        bundle.base_source()
    assert raised.value.where == str(tmp_path / "base" / "model.safetensors")


def test_reading_a_bundle_loads_no_model_library() -> None:
    code = "import sys, autore_cli.model.bundle; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bundle_is_frozen(tmp_path: Path) -> None:
    bundle: Bundle = read(write(tmp_path, SMALLEST))
    with pytest.raises(AttributeError):
        bundle.name = "other"  # type: ignore[misc]


def test_name_shapes(tmp_path: Path) -> None:
    bundle = read(write(tmp_path, SMALLEST))
    assert bundle.shapes() is None
    table = '[name_shapes]\nweights = "shapes.json"\nleast = 0.1\n'
    bundle = read(write(tmp_path, f"{SMALLEST}{table}[calibration]\nweights = [1, 2, 3, 4, 5]"))
    with pytest.raises(BundleError, match="is missing"):
        bundle.shapes()
    (tmp_path / "shapes.json").write_text('{"bias": -1, "weights": {"first Xx": 2}}')
    assert bundle.shapes() == NameShapes(-1.0, {"first Xx": 2.0}, 0.1)
    (tmp_path / "shapes.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="holds no weights"):
        bundle.shapes()
    with pytest.raises(BundleError, match="weights must be a file in the bundle"):
        read(write(tmp_path, f"{SMALLEST}{table.replace('shapes.json', '../shapes.json')}"))
    with pytest.raises(BundleError, match="a list of 5 numbers"):
        read(write(tmp_path, f"{SMALLEST}{table}[calibration]\nweights = [1, 2, 3]"))


@pytest.mark.parametrize("weights", [[0.5], [0.1, 0.2, 0.3, 0.4]])
def test_a_calibration_has_a_weight_for_each_decision(tmp_path: Path, weights: list[float]) -> None:
    calibrated = f"{SMALLEST}[calibration]\nbias = -1.0\nthreshold = 0.2\nweights = "
    assert read(write(tmp_path, f"{calibrated}[1, 2.5, 3]")).calibration == Calibration(-1.0, (1.0, 2.5, 3.0), 0.2)
    with pytest.raises(BundleError, match="a list of 3 numbers"):
        read(write(tmp_path, f"{calibrated}{weights}"))
