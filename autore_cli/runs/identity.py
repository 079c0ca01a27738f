"""What a run extracts with, as digests: to tell whether two runs can share an output, and whether files changed."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson

from autore_cli.model.bundle import ADAPTER_FILES, Bundle
from autore_cli.model.bundle import digest as file_sha256
from autore_cli.schema import Schema
from autore_cli.versions import version

Configuration = dict[str, str | float | None]
"""What decides what comes out of a document, by name."""


def configuration(bundle: Bundle, relations: Schema, **options: str | float | None) -> Configuration:
    """What decides what comes out: the bundle, the relations and options.

    Devices and batch sizes are not among these, as they decide no more than the last digits of scores: the sixth, or
    the third where one device computes in 16 bit.
    """
    return {
        "autore": version("autore"),
        "bundle": digest(bundle),
        "schema": hashlib.sha256(orjson.dumps([asdict(relation) for relation in relations])).hexdigest(),
        **options,
    }


def digest(bundle: Bundle) -> str:
    """The sha256 of a bundle: of the names and sha256 of its files, and of the name of a base that lies on the hub.

    Files whose digest is in bundle.toml are not read for it, as loading checks them.
    """
    total = hashlib.sha256()
    for owner, file in _files(bundle):
        name = file.relative_to(owner.folder).as_posix()
        total.update(f"{name} {owner.sha256.get(name) or file_sha256(file)}\n".encode())
    owner = bundle.base_owner()
    total.update(f"{owner.base} {owner.revision}\n".encode())
    return total.hexdigest()


def state(bundle: Bundle, *others: Path) -> str:
    """A line for each of the bundle's files, and for others, that changes with the file. Reads none of them."""
    lines = []
    for file in (*(file for _, file in _files(bundle)), *others):
        try:
            status = file.stat()
        except OSError:
            lines.append(f"- - - {file}")
        else:
            lines.append(f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {file}")
    return "\n".join(lines)


def changed(before: str, after: str) -> list[str]:
    """The files that differ between two states."""
    lines = set(before.splitlines()) ^ set(after.splitlines())
    return sorted({line.split(" ", 3)[3] for line in lines})


def _files(bundle: Bundle) -> Iterator[tuple[Bundle, Path]]:
    """The files that an extraction depends on, in an order that stays, each with the bundle that owns it."""
    owner = bundle.base_owner()
    yield bundle, bundle.file
    if Path(bundle.schema).suffix:
        yield bundle, bundle.folder / bundle.schema
    if bundle.name_shapes:
        yield bundle, bundle.folder / bundle.name_shapes.weights
    for adapter in sorted({name for name in bundle.adapters.values() if name}):
        yield from ((bundle, bundle.folder / adapter / name) for name in ADAPTER_FILES)
    if owner is not bundle:
        yield owner, owner.file
    base = owner.folder / owner.base
    yield from ((owner, file) for file in sorted(base.rglob("*")) if file.is_file())
