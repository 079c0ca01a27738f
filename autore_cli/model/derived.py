"""New bundles out of old ones: the same base and prompts, with adapters of its own."""

import json
import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autore_cli.errors import ConfigurationError, OutputError
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle


def derive(source: Bundle, folder: Path) -> Bundle:
    """The bundle in `folder`, to which adapters can be added; written if it isn't there.

    A base of the hub or of a packaged bundle is referred to; another one is linked into the folder, or copied where
    the file system has no links, so that the bundle can be moved.

    Raises:
        ConfigurationError: the folder holds a bundle of another base or with other adapters.
        OutputError: the folder can't be written.
    """
    if (folder / bundles.FILE).exists():
        there = bundles.read(folder)
        if not same(there, source):
            raise ConfigurationError(
                f"holds a bundle that was not made from '{source.name}'",
                where=str(folder),
                hint="choose another --output",
            )
        return there
    try:
        _write(source, folder)
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=str(error.filename or folder)) from None
    return bundles.read(folder)


def same(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles have equal prompts, adapters' names, and a base of the same files."""
    if one.folder.resolve() == other.folder.resolve():
        return True
    return _shape(one) == _shape(other) and (_files(one) == _files(other))


def _shape(bundle: Bundle) -> tuple[Any, ...]:
    return bundle.paradigm, dict(bundle.stages), bundle.separator, bundle.joiner, bundle.opening, bundle.closing


def _files(bundle: Bundle) -> Any:
    """What tells one base from another: its hub id and revision, or its files' names and sizes."""
    source = bundle.base_source()
    if isinstance(source, str):
        return source, bundle.base_owner().revision
    return sorted((path.name, path.stat().st_size) for path in source.iterdir() if path.is_file())


def _write(source: Bundle, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = tomllib.loads(source.file.read_text(encoding="utf-8"))
    # They speak of the old adapters; what the new ones are made of stands in the run.json beside each.
    content.pop("sha256", None)
    content["provenance"] = {
        "bundle": source.name,
        "adapters": "trained by autore finetune: see each adapter's run.json",
    }
    content["name"] = folder.resolve().name
    content["base"] = _base(source, folder)
    if isinstance(source.schema_source, Path):
        (folder / source.schema).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source.schema_source, folder / source.schema)
    # Last, as a bundle without its toml is none.
    (folder / bundles.FILE).write_text(_toml(content), encoding="utf-8")


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
