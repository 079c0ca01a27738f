"""New bundles out of old ones: the same base, with adapters of its own; and its paradigm, if that was changed."""

import json
import os
import shutil
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autore_cli import schema as schemas
from autore_cli.errors import ConfigurationError, OutputError
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import ADAPTER_FILES, ADAPTER_WEIGHTS, Bundle, BundleStage, digest
from autore_cli.schema import Schema

SCHEMA_FILE = "schema.json"
"""The schema of training data, in their folder and in the bundle that is trained on them."""

_INHERITED = "inherited"


def derive(source: Bundle, folder: Path, schema: Path | None = None, inherited: Collection[str] = ()) -> Bundle:
    """The bundle in `folder`, to which adapters can be added; written if it isn't there.

    A base of the hub or of a packaged bundle is referred to; another one is linked into the folder, or copied where
    the file system has no links, so that the bundle can be moved.

    Args:
        source: what it is made from.
        folder: where it is, or goes.
        schema: the schema file of what it will be trained on; None is the source's schema.
        inherited: the adapters that it takes over from the source, as far as that has them.

    Raises:
        ConfigurationError: the folder holds a bundle of another base, of another schema or with other adapters, or the
            schema can't be used.
        BundleError: an adapter to be inherited is damaged.
        OutputError: the folder can't be written.
    """
    relations = schemas.load(schema).relations if schema else None
    if (folder / bundles.FILE).exists():
        there = bundles.read(folder)
        if not same(there, source):
            raise ConfigurationError(
                f"holds a bundle that was not made from '{source.name}'",
                where=str(folder),
                hint="choose another --output",
            )
        if relations and relations != schema_of(there).relations:
            raise ConfigurationError(
                f"holds a bundle of another schema than {schema}", where=str(folder), hint="choose another --output"
            )
        return there
    try:
        _write(source, folder, schema, [name for name in inherited if _has(source, name)])
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=str(error.filename or folder)) from None
    return bundles.read(folder)


def same(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles have equal prompts, adapters' names, and a base of the same files."""
    in_place = one.folder.resolve() == other.folder.resolve()
    return _shape(one) == _shape(other) and (in_place or _files(one) == _files(other))


def is_inherited(folder: Path, adapter: str) -> bool:
    """Whether the bundle in `folder` took the adapter over from the one that it was made from, and still has it."""
    weights = folder / adapter / ADAPTER_WEIGHTS
    if not (weights.exists() and (folder / bundles.FILE).exists()):
        return False
    inherited = bundles.read(folder).provenance.get(_INHERITED)
    return isinstance(inherited, dict) and inherited.get(adapter) == digest(weights)


def schema_of(bundle: Bundle) -> Schema:
    """The bundle's own schema.

    Raises:
        ConfigurationError: its file can't be used.
        BundleError: its file is missing.
    """
    source = bundle.schema_source
    return schemas.load(source) if isinstance(source, Path) else schemas.default()


def _has(bundle: Bundle, adapter: str) -> bool:
    return all((bundle.folder / adapter / name).exists() for name in ADAPTER_FILES)


def _shape(bundle: Bundle) -> tuple[Any, ...]:
    return bundle.paradigm, dict(bundle.stages), bundle.separator, bundle.joiner, bundle.opening, bundle.closing


def _files(bundle: Bundle) -> Any:
    """What tells one base from another: its hub id and revision, or its files' names and sizes."""
    source = bundle.base_source()
    if isinstance(source, str):
        return source, bundle.base_owner().revision
    return sorted((path.name, path.stat().st_size) for path in source.iterdir() if path.is_file())


def _write(source: Bundle, folder: Path, schema: Path | None, inherited: Collection[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = tomllib.loads(source.file.read_text(encoding="utf-8"))
    # They speak of the old adapters; what the new ones are made of stands in the run.json beside each.
    content.pop("sha256", None)
    content.pop("calibration", None)
    for adapter in inherited:
        # Copied, not linked: it may be trained, which writes over its files.
        ignored = shutil.ignore_patterns("checkpoints")
        shutil.copytree(source.path(adapter), folder / adapter, ignore=ignored, dirs_exist_ok=True)
    content["provenance"] = {
        "bundle": source.name,
        "adapters": "trained by autore finetune, but for those inherited: see each adapter's run.json",
        _INHERITED: {adapter: digest(folder / adapter / ADAPTER_WEIGHTS) for adapter in inherited},
    }
    content["name"] = folder.resolve().name
    content["paradigm"] = source.paradigm
    content["stages"] = {name: _stage(stage) for name, stage in source.stages.items()}
    content["base"] = _base(source, folder)
    if source.name_shapes:
        shutil.copyfile(source.path(source.name_shapes.weights), folder / source.name_shapes.weights)
    content |= _schema(source, folder, schema)
    # Last, as a bundle without its toml is none.
    (folder / bundles.FILE).write_text(_toml(content), encoding="utf-8")


def _stage(stage: BundleStage) -> dict[str, Any]:
    """The stage's table, which leaves out what it does not say."""
    templates = {"list": stage.list, "choose": stage.choose}
    spelt_out = {key: template.text for key, template in templates.items() if template}
    content = {"adapter": stage.adapter, **spelt_out, **asdict(stage.decoding)}
    return {key: value for key, value in content.items() if value is not None}


def _schema(source: Bundle, folder: Path, schema: Path | None) -> dict[str, Any]:
    """Copies the schema's file, if it has one. Returns what the new bundle says of schema and training."""
    own = source.schema_source
    named: dict[str, Any] = {"schema": source.schema}
    if schema:
        relations = schemas.load(schema).relations
        named["trained"] = {"relations": [relation.id for relation in relations]}
        if relations != schema_of(source).relations:
            own, named["schema"] = schema, SCHEMA_FILE
    if isinstance(own, Path):
        (folder / named["schema"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(own, folder / named["schema"])
    return named


def _base(source: Bundle, folder: Path) -> str:
    """How the new bundle refers to the base."""
    if source.base.startswith(bundles.OTHER_BUNDLE) or isinstance(source.base_source(), str):
        return source.base
    if source.folder.resolve().parent == bundles.bundles_folder().resolve():
        return f"{bundles.OTHER_BUNDLE}{source.folder.name}"
    shutil.copytree(source.base_source(), folder / "base", copy_function=_link, dirs_exist_ok=True)
    return "base"


def _link(source: str, target: str) -> None:
    if os.path.exists(target):
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _toml(content: Mapping[str, Any], name: str = "") -> str:
    """TOML of texts, numbers, booleans, lists of them, and tables."""
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in content.items() if key not in tables]
    head = f"\n[{name}]\n" if name else ""
    inner = [_toml(table, f"{name}.{_key(key)}" if name else _key(key)) for key, table in tables.items()]
    return head + "".join(lines) + "".join(inner)


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    # JSON's texts, numbers, booleans and flat lists are TOML's too, but for one control character that JSON lets stand.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
