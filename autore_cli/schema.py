"""Relation schemas: the packaged one with Re-DocRED's 96 relations, and users' own in TOML or JSON."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import orjson

from autore_cli.errors import ConfigurationError

DEFAULT_NAME = "redocred"


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation that may come out.

    Attributes:
        id: its short name, as `P17`.
        name: what prompts and output call it, as `country`.
        description: what the head is and what the tail is, in a sentence or two.
        head_types: the entity types (`PER`, `LOC`, ...) that a head may have; empty: any.
        tail_types: the same for tails.
        inverse: the id of the relation that holds from tail to head whenever this one holds from head to tail. It need
            not work both ways: `father` implies `child`, which doesn't imply `father`.
        symmetric: it holds from tail to head as well.
        example: a triple, written `Lisbon | country | Portugal`.
    """

    id: str
    name: str
    description: str = ""
    head_types: tuple[str, ...] = ()
    tail_types: tuple[str, ...] = ()
    inverse: str | None = None
    symmetric: bool = False
    example: str = ""


@dataclass(frozen=True)
class Schema:
    """Relations in a fixed order, with distinct ids and names."""

    name: str
    relations: tuple[Relation, ...]

    def __iter__(self) -> Iterator[Relation]:
        return iter(self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    @cached_property
    def by_id(self) -> dict[str, Relation]:
        """The relations by their ids."""
        return {relation.id: relation for relation in self.relations}

    @cached_property
    def by_name(self) -> dict[str, Relation]:
        """The relations by their names."""
        return {relation.name: relation for relation in self.relations}


@cache
def default() -> Schema:
    """The packaged schema: Re-DocRED's 96 relations, with Wikidata's ids and names."""
    file = resources.files("autore_cli") / "data" / f"{DEFAULT_NAME}.toml"
    return _parse(file.read_bytes(), f"{DEFAULT_NAME}.toml", DEFAULT_NAME, toml=True)


def load(path: Path) -> Schema:
    """Reads a schema file.

    Args:
        path: TOML with a `[[relation]]` table for each relation, or JSON: a list of such objects, or DocRED's own
            `{"P17": "country", ...}`. `id` and `name` are needed, Relation's other fields optional.

    Returns:
        The schema, named after the file.

    Raises:
        ConfigurationError: the file can't be read or parsed, or an entry is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"schema can't be read: {error.strerror}", where=str(path)) from error
    return _parse(data, str(path), path.stem, toml=path.suffix.lower() == ".toml")


def _parse(data: bytes, file: str, name: str, *, toml: bool) -> Schema:
    entries = _toml_entries(data, file) if toml else _json_entries(data, file)
    if not entries:
        raise ConfigurationError("schema without relations", where=file)
    relations = tuple(_relation(entry, f"{file}: relation {number}") for number, entry in enumerate(entries, start=1))
    _check(relations, file)
    return Schema(name, relations)


def _toml_entries(data: bytes, file: str) -> list[object]:
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"not valid TOML: {error}", where=file) from error
    entries = content.pop("relation", [])
    if content:
        raise ConfigurationError(f"unknown field {next(iter(content))!r}", where=file)
    if not isinstance(entries, list):
        raise ConfigurationError("'relation' is not a list of tables", where=file, hint="write [[relation]]")
    return entries


def _json_entries(data: bytes, file: str) -> list[object]:
    try:
        content = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"not valid JSON: {error}", where=file, hint="TOML files end in .toml") from error
    if isinstance(content, dict):
        return [{"id": id_, "name": name} for id_, name in content.items()]
    if isinstance(content, list):
        return content
    raise ConfigurationError("neither a list of relations nor an object of ids and names", where=file)


def _relation(entry: object, where: str) -> Relation:
    """Checks one entry by itself."""
    if not isinstance(entry, dict):
        raise ConfigurationError("not a table of fields", where=where)
    place = f"{where} ({entry.get('id') or entry.get('name') or 'no id'})"
    known = [field.name for field in fields(Relation)]
    for key in entry:
        if key not in known:
            raise ConfigurationError(f"unknown field {key!r}", where=place, hint=f"known: {', '.join(known)}")
    symmetric = entry.get("symmetric", False)
    if not isinstance(symmetric, bool):
        raise ConfigurationError("'symmetric' is neither true nor false", where=place)
    relation = Relation(
        id=_line(entry, "id", place),
        name=_line(entry, "name", place),
        description=_line(entry, "description", place) if "description" in entry else "",
        head_types=_types(entry.get("head_types", []), "head_types", place),
        tail_types=_types(entry.get("tail_types", []), "tail_types", place),
        inverse=_line(entry, "inverse", place) if entry.get("inverse") is not None else None,
        symmetric=symmetric,
        example=_line(entry, "example", place) if "example" in entry else "",
    )
    if relation.symmetric and relation.inverse not in (None, relation.id):
        raise ConfigurationError("symmetric, but with another inverse than itself", where=place)
    return relation


def _line(entry: dict[str, object], key: str, place: str) -> str:
    """One line of text, as prompts and output need it."""
    value = entry.get(key)
    if value is None:
        raise ConfigurationError(f"no {key!r}", where=place)
    if not isinstance(value, str):
        raise ConfigurationError(f"{key!r} is not text", where=place)
    if value != value.strip() or len(value.splitlines()) != 1:
        raise ConfigurationError(f"{key!r} is empty, of several lines, or has white space at its ends", where=place)
    return value


def _types(value: object, key: str, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ConfigurationError(f"{key!r} is not a list of entity types", where=place)
    return tuple(value)


def _check(relations: tuple[Relation, ...], file: str) -> None:
    """Checks what only shows among all relations: distinct ids and names, and inverses that exist."""
    ids: set[str] = set()
    names: set[str] = set()
    for number, relation in enumerate(relations, start=1):
        place = f"{file}: relation {number} ({relation.id})"
        if relation.id in ids:
            raise ConfigurationError(f"the id {relation.id!r} is taken", where=place)
        if relation.name in names:
            raise ConfigurationError(f"the name {relation.name!r} is taken", where=place)
        ids.add(relation.id)
        names.add(relation.name)
    for number, relation in enumerate(relations, start=1):
        if relation.inverse is not None and relation.inverse not in ids:
            place = f"{file}: relation {number} ({relation.id})"
            raise ConfigurationError(f"its inverse {relation.inverse!r} is not in the schema", where=place)
