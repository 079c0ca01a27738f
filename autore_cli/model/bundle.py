"""Bundles: a folder with bundle.toml, which says what a model is made of. Reads, checks and finds them; loads nothing.

    format = 1
    name = "redocred-small"
    description = "..."
    base = "base"              # a folder in the bundle, a hub id (org/name), or bundle:NAME: that packaged one's
    revision = ""              # of a hub id
    schema = "redocred"        # a packaged schema, or a .toml or .json file in the bundle
    paradigm = "RHF"           # see stages.PARADIGMS
    max_passage = 448          # tokens
    separator = ";"            # stands between the items of a list
    joiner = "|"               # stands between the parts of an item
    opening = "<s>[INST] "     # around a prompt that no template below spells out;
    closing = " [/INST]"       # left out, the tokenizer's chat template gives both

    names = "[CLS]{passage}[SEP]names |"   # for stages that propose names

    [stages.relation]          # one table for each stage of the paradigm
    adapter = "relation"       # a folder in the bundle in PEFT's format; left out, the base as it is.
                               # Stages that name the same one share it
    list = "[CLS]{passage}[SEP]relations :"
    choose = "[CLS]{passage}[SEP]{relation} ?"
    propose = "schema"         # this and the next three: see stages.Decoding
    threshold = 0.4
    end_bias = 0.0
    max_items = 64

    [name_shapes]              # optional: see documents.shapes.NameShapes
    weights = "name-shapes.json"
    least = 0.005

    [calibration]              # optional: see calibration.Calibration. A weight for each time that a stage lists or
    bias = 0.0                 # chooses, in the order of the stages; with name_shapes one for head and tail each
    weights = [0.5, 0.5, 0.5]
    threshold = 0.2

    [trained]
    relations = ["P6", "P17"]  # ids of the relations that the adapters were trained on

    [provenance]               # free: where the weights come from

    [sha256]                   # optional: the digests of files, checked when a file is loaded
    "base/model.safetensors" = "..."

Nothing in it can point outside the bundle's folder, by `..` or by a symbolic link.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, cast

import autore_cli
from autore_cli.calibration import Calibration
from autore_cli.documents.shapes import NameShapes
from autore_cli.documents.shapes import load as load_shapes
from autore_cli.errors import BundleError, ConfigurationError
from autore_cli.model.tables import Table
from autore_cli.stages import (
    PARADIGMS,
    Decoding,
    Part,
    Prompts,
    Stage,
    StageName,
    StagePrompts,
    Template,
    default_prompts,
    paradigm,
)

FILE = "bundle.toml"
FORMAT = 1
DEFAULT = "redocred-small"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
OTHER_BUNDLE = "bundle:"
SHARED_ADAPTER = "shared"

_PROPOSALS: Mapping[tuple[Part, ...], tuple[str, ...]] = {
    ("relation",): ("list", "schema"),
    ("head",): ("list", "names"),
    ("tail",): ("list", "names"),
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ADAPTER = re.compile(r"[\w-]+")  # PEFT makes a module's name of it
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BundleStage:
    """One stage of a bundle.

    Attributes:
        adapter: the adapter's folder in the bundle, which is also its name; None is the base as it is.
        list: the prompt that asks for a list; None is the default one.
        choose: the prompt that asks yes or no; None is the default one.
        decoding: how items are found.
    """

    adapter: str | None
    list: Template | None
    choose: Template | None
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class NameShapesFile:
    """Where the weights of the name shapes are, and how likely a name must be at least."""

    weights: str
    least: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """What bundle.toml says, checked. The module's docstring explains the fields.

    Attributes:
        folder: where it was read.
        stages: by name, in the paradigm's order.
        trained: relation ids.
        sha256: digests by path in the bundle.
    """

    folder: Path
    name: str
    description: str
    base: str
    revision: str | None
    schema: str
    paradigm: str
    max_passage: int
    separator: str
    joiner: str
    opening: str | None
    closing: str | None
    names: Template | None
    name_shapes: NameShapesFile | None
    calibration: Calibration
    stages: Mapping[StageName, BundleStage]
    trained: tuple[str, ...]
    provenance: Mapping[str, Any]
    sha256: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Its bundle.toml."""
        return self.folder / FILE

    @property
    def reference(self) -> str:
        """What to hand to `find` to get this bundle: its name if it is packaged, else its folder."""
        return self.folder.name if self.folder.parent == bundles_folder() else str(self.folder)

    @property
    def adapters(self) -> dict[str, str | None]:
        """The adapter of each stage."""
        return {name: stage.adapter for name, stage in self.stages.items()}

    def with_paradigm(self, name: str) -> "Bundle":
        """The bundle under another paradigm.

        A stage that is the same in both keeps its settings. One that is given or yields other parts keeps the name of
        its adapter alone: it is asked by the default prompts, and lists.

        Raises:
            ConfigurationError: there is no such paradigm.
        """
        if name == self.paradigm:
            return self
        before = {stage.name: stage for stage in paradigm(self.paradigm)}
        stages = {
            stage.name: self.stages[stage.name]
            if before.get(stage.name) == stage
            else _fresh_stage(stage, self.stages.get(stage.name))
            for stage in paradigm(name)
        }
        return replace(self, paradigm=name, stages=stages, calibration=Calibration())

    def with_shared_adapter(self) -> "Bundle":
        """The bundle with one adapter for all its stages."""
        stages = {name: replace(stage, adapter=SHARED_ADAPTER) for name, stage in self.stages.items()}
        return replace(self, stages=stages)

    def needs_chat_template(self) -> bool:
        """Whether a prompt is left to the default one, and what stands around it to the tokenizer's chat template."""
        spelt_out = all(stage.list and stage.choose for stage in self.stages.values())
        return not spelt_out and (self.opening is None or self.closing is None)

    def prompts(self, opening: str = "", closing: str = "") -> Prompts:
        """All prompt templates.

        Args:
            opening: what the tokenizer's chat template puts before the user's words, if it is needed.
            closing: what it puts after them.
        """
        default = default_prompts(
            PARADIGMS[self.paradigm],
            opening if self.opening is None else self.opening,
            closing if self.closing is None else self.closing,
        )
        stages = {
            name: StagePrompts(stage.list or default.stages[name].list, stage.choose or default.stages[name].choose)
            for name, stage in self.stages.items()
        }
        return Prompts(stages, self.separator, self.joiner, self.names)

    @property
    def schema_source(self) -> str | Path:
        """The name of a packaged schema, or the path of a schema file. Raises BundleError as `path` does."""
        return self.path(self.schema) if Path(self.schema).suffix else self.schema

    def shapes(self) -> NameShapes | None:
        """The name shapes, if the bundle has any. Raises as `path` and `documents.shapes.load` do."""
        shapes = self.name_shapes
        return load_shapes(self.path(shapes.weights), shapes.least) if shapes else None

    def base_source(self) -> Path | str:
        """The base model's folder, or its hub id, be it this bundle's or another one's (`bundle:NAME`).

        Raises:
            BundleError: the folder or the other bundle is missing, or `path`'s reasons.
        """
        owner = self.base_owner()
        is_hub_id = _HUB_ID.fullmatch(owner.base) and not (owner.folder / owner.base).exists()
        return owner.base if is_hub_id else owner.path(owner.base)

    def base_owner(self) -> "Bundle":
        """The bundle that names the base: this one, or the packaged one that `bundle:NAME` leads to.

        Raises:
            BundleError: there is no such bundle, or its base is yet another one's.
        """
        if not self.base.startswith(OTHER_BUNDLE):
            return self
        name = self.base.removeprefix(OTHER_BUNDLE)
        if name not in known():
            raise BundleError(f"no packaged bundle '{name}' to take the base from", where=str(self.file))
        owner = read(bundles_folder() / name)
        if owner.base.startswith(OTHER_BUNDLE):
            raise BundleError(f"the bundle '{name}' has no base of its own", where=str(self.file))
        return owner

    def path(self, relative: str) -> Path:
        """The path of a file or folder of the bundle, all files in it checked.

        Raises:
            BundleError: it is missing, lies outside the bundle's folder, or isn't what was bundled (sha256).
        """
        path = self.folder / relative
        if not path.exists():
            raise BundleError("is missing", where=str(path), hint=f"{self.file} names it")
        home = self.folder.resolve()
        for inner in (path, *sorted(path.rglob("*"))):
            if not inner.resolve().is_relative_to(home):
                raise BundleError("lies outside the bundle's folder", where=str(inner))
            self._check_digest(inner)
        return path

    def require_adapters(self) -> None:
        """Checks that every stage's adapter is there.

        Raises:
            BundleError: one isn't, with the command that trains it.
        """
        for stage, adapter in self.adapters.items():
            for name in ADAPTER_FILES if adapter else ():
                if not (self.folder / f"{adapter}" / name).exists():
                    raise BundleError(
                        f"the {stage} stage of '{self.name}' has no adapter yet: {adapter}/{name} is missing",
                        where=str(self.folder),
                        hint=f"train it with: autore finetune --model {self.reference} --stage {stage} --data DATA "
                        "--output OWN, and then give --model OWN; DATA is the folder that autore build-data wrote",
                    )

    def _check_digest(self, path: Path) -> None:
        expected = self.sha256.get(path.relative_to(self.folder).as_posix())
        if expected is None:
            return
        if digest(path) != expected:
            raise BundleError(f"is damaged: its sha256 isn't the one in {FILE}", where=str(path))


def digest(path: Path) -> str:
    """A file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundles_folder() -> Path:
    """The folder of the packaged bundles: inside the package when installed, beside it in a checkout."""
    package = Path(autore_cli.__file__).parent
    installed = package / "bundles"
    return installed if installed.is_dir() else package.parent / "adapters"


def known() -> list[str]:
    """The names of the packaged bundles."""
    return sorted(file.parent.name for file in bundles_folder().glob(f"*/{FILE}"))


def find(name_or_folder: str | Path = DEFAULT) -> Bundle:
    """Reads a packaged bundle by its name, or any bundle by its folder. A packaged name goes first.

    Raises:
        BundleError: there is no such bundle, or its bundle.toml can't be used.
    """
    names = known()
    if str(name_or_folder) in names:
        return read(bundles_folder() / name_or_folder)
    if Path(name_or_folder).is_dir():
        return read(Path(name_or_folder))
    hint = f"known are {', '.join(names) or 'none'}; or give a folder with a {FILE}"
    raise BundleError(f"no bundle '{name_or_folder}'", hint=hint)


def read(folder: Path) -> Bundle:
    """Reads and checks a folder's bundle.toml.

    Raises:
        BundleError: it is missing or can't be used; all problems are told at once.
    """
    file = folder / FILE
    try:
        table = Table(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BundleError(f"the folder has no {FILE}", where=str(folder)) from None
    except OSError as error:
        raise BundleError(f"can't be read: {error.strerror}", where=str(file)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"isn't TOML: {error}", where=str(file)) from None
    bundle = _bundle(folder, table)
    if table.problems:
        raise BundleError("; ".join(table.problems), where=str(file))
    return bundle


def _bundle(folder: Path, table: Table) -> Bundle:
    table.get("format", int, what=f"{FORMAT}, the only one that this version of autore knows", valid=FORMAT.__eq__)
    written = Prompts({})
    name = table.get("paradigm", str, "RHF", what=f"one of {', '.join(PARADIGMS)}", valid=PARADIGMS.__contains__)
    stages = _stages(PARADIGMS[name], table.table("stages"))
    shapes = _name_shapes(table.table("name_shapes")) if "name_shapes" in table.content else None
    bundle = Bundle(
        folder=folder,
        name=table.get("name", str),
        description=table.get("description", str, ""),
        base=table.get("base", str, what="a folder in the bundle, a hub id or bundle:NAME", valid=_is_inside),
        revision=table.get("revision", str, "") or None,
        schema=table.get("schema", str, "redocred", what="a schema's name or a file in the bundle", valid=_is_inside),
        paradigm=name,
        max_passage=table.get("max_passage", int, what="1 or more", valid=_is_positive),
        separator=table.get("separator", str, written.separator),
        joiner=table.get("joiner", str, written.joiner),
        opening=table.optional("opening", str),
        closing=table.optional("closing", str),
        names=_template(table, "names", set()),
        name_shapes=shapes,
        calibration=_calibration(table.table("calibration", {}), stages.values(), shapes),
        stages=stages,
        trained=_trained(table.table("trained", {})),
        provenance=table.get("provenance", dict, {}),
        sha256=_digests(table.table("sha256", {})),
    )
    table.close()
    return bundle


def _stages(stages: Sequence[Stage], table: Table) -> dict[StageName, BundleStage]:
    found = {stage.name: _stage(stage, table.table(stage.name)) for stage in stages}
    table.close()
    return found


def _stage(stage: Stage, table: Table) -> BundleStage:
    proposals = _PROPOSALS.get(stage.yields, ("list",))
    propose = table.get(
        "propose", str, proposals[0], what=f"one of {', '.join(proposals)}", valid=proposals.__contains__
    )
    default = Decoding()
    given = {"relations"} if stage.all_relations else set[str](stage.given)
    read_stage = BundleStage(
        adapter=table.optional("adapter", str, what="a folder's name", valid=lambda name: _matches(_ADAPTER, name)),
        list=_template(table, "list", given),
        choose=_template(table, "choose", given.union(stage.yields)),
        decoding=Decoding(
            propose=cast(Literal["list", "schema", "names"], propose),
            threshold=table.optional("threshold", float, what="between 0 and 1", valid=lambda share: 0 <= share <= 1),
            end_bias=table.get("end_bias", float, default.end_bias),
            max_items=table.get("max_items", int, default.max_items, what="1 or more", valid=_is_positive),
        ),
    )
    table.close()
    return read_stage


def _fresh_stage(stage: Stage, before: BundleStage | None) -> BundleStage:
    # A list of whole triples holds more items than one of names.
    decoding = Decoding(max_items=Decoding().max_items * len(stage.yields))
    return BundleStage(before.adapter if before else stage.name, list=None, choose=None, decoding=decoding)


def _template(table: Table, key: str, values: set[str]) -> Template | None:
    """The template under `key`, which may name the places that `values` fill."""
    text = table.optional(key, str)
    if text is None:
        return None
    known_values = values | {"description"} if "relation" in values else values
    try:
        template = Template(text)
        template.render("", dict.fromkeys(known_values, ""))
    except ConfigurationError as error:
        table.complain(key, str(error))
        return None
    return template


def _name_shapes(table: Table) -> NameShapesFile:
    shapes = NameShapesFile(
        weights=table.get("weights", str, what="a file in the bundle", valid=_is_inside),
        least=table.get("least", float, 0.0, what="between 0 and 1", valid=lambda share: 0 <= share <= 1),
    )
    table.close()
    return shapes


def _calibration(table: Table, stages: Iterable[BundleStage], shapes: NameShapesFile | None) -> Calibration:
    decodings = [stage.decoding for stage in stages]
    decisions = sum((each.propose != "schema") + (each.threshold is not None) for each in decodings)
    decisions += 2 if shapes else 0
    weights = table.get(
        "weights",
        list,
        [],
        what=f"a list of {decisions} numbers, one for each time that a stage lists or chooses"
        + (", and one for head and tail each" if shapes else ""),
        valid=lambda values: _are_numbers(values) and len(values) in (0, decisions),
    )
    read_calibration = Calibration(
        table.get("bias", float, 0.0),
        tuple(map(float, weights)),
        table.get("threshold", float, 0.0, what="between 0 and 1", valid=lambda share: 0 <= share <= 1),
    )
    table.close()
    return read_calibration


def _trained(table: Table) -> tuple[str, ...]:
    relations = table.get("relations", list, [], what="a list of relation ids", valid=_are_texts)
    table.close()
    return tuple(relations)


def _digests(table: Table) -> dict[str, str]:
    for path in table.content:
        if not _is_inside(path):
            table.complain(path, "lies outside the bundle's folder")
    return {
        path: table.get(path, str, what="a sha256 in hex", valid=lambda digest: _matches(_DIGEST, digest))
        for path in table.content
    }


def _matches(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.fullmatch(text) is not None


def _are_numbers(values: list[Any]) -> bool:
    return all(type(value) in (int, float) for value in values)


def _is_inside(relative: str) -> bool:
    """Whether a path stays in its folder, symbolic links aside. Hub ids and names do, too."""
    path = PureWindowsPath(relative)  # splits at both slashes
    return bool(path.parts) and not path.anchor and ".." not in path.parts


def _is_positive(number: int) -> bool:
    return number >= 1


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
