"""Training data: from the lines that build-data wrote to rows of token ids, tokenised exactly as in extraction.

A *row* is one passage and the prompts about it. All that stands before an instruction is computed once a row, so a row
of many prompts (packing) costs little more than one of a single prompt; the loss is the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import orjson

from autore_cli.errors import InputError
from autore_cli.examples import Example
from autore_cli.generation import Encoder, Encoding, Request
from autore_cli.records import Span
from autore_cli.stages import NO, YES, Piece, Prompt, Stage, StageName

_KINDS = ("list", "choose")
_CACHED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt behind its passage, and the tokens that should follow."""

    suffix: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def read(self) -> tuple[int, ...]:
        """The tokens that a model reads: all but the last, which is predicted only."""
        return (*self.suffix, *self.completion[:-1])


@dataclass(frozen=True, slots=True)
class Row:
    """A prefix (which ends with the passage) and prompts that follow it, each on its own."""

    prefix: tuple[int, ...]
    samples: tuple[Sample, ...]

    @property
    def length(self) -> int:
        """Tokens that a model reads."""
        return len(self.prefix) + sum(len(sample.read) for sample in self.samples)

    @property
    def targets(self) -> int:
        """Tokens that the loss is taken over."""
        return sum(len(sample.completion) for sample in self.samples)


@dataclass(frozen=True, slots=True)
class TokenisedExample:
    """An example in token ids. `doc` is its document's id."""

    doc: str
    request: Request
    completion: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Controls:
    """What completions are made of beside names: the texts by which they are taken apart, and the tokens for these.

    Attributes:
        separator: the text between items.
        joiner: the text between the parts of an item.
        tokens: the token of either.
        end: the token that ends a list.
        answers: the token of `yes` and that of `no`.
    """

    separator: str
    joiner: str
    tokens: Mapping[str, int]
    end: int
    answers: Mapping[str, int]


class Tokeniser:
    """Turns examples into token ids.

    Args:
        encoder: the bundle's.
        controls: the bundle's.
    """

    def __init__(self, encoder: Encoder, controls: Controls) -> None:
        self.encoder = _CachedEncoder(encoder)
        self.controls = controls
        self._prefixes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def example(self, example: Example, parts: int) -> TokenisedExample:
        """Tokenises an example.

        Args:
            example: the example.
            parts: how many parts an item of the example's stage has.

        Raises:
            InputError: the completion can't be one of this stage.
        """
        choice = example.kind == "choose"
        completion = (self.controls.answers[example.completion],) if choice else self._list(example, parts)
        request = example.prompt.request(self.encoder)
        prefix = self._prefixes.setdefault(request.prefix, request.prefix)  # one in memory for all prompts of a passage
        return TokenisedExample(example.doc, Request(prefix, request.suffix, request.passage), completion)

    def _list(self, example: Example, parts: int) -> tuple[int, ...]:
        controls = self.controls
        tokens: list[int] = []
        for item in filter(None, example.completion.split(controls.separator)):
            names = item.split(controls.joiner) if parts > 1 else [item]
            if len(names) != parts:
                raise InputError(f"an item of the {example.stage} stage has {parts} parts, unlike {item!r}")
            if tokens:
                tokens.append(controls.tokens[controls.separator])
            for number, ids in enumerate(self.encoder.encode_many(names)):
                tokens += [controls.tokens[controls.joiner], *ids] if number else ids
        return (*tokens, controls.end)


class _CachedEncoder:
    """An encoder that remembers the texts it met last: prompts share their passages, templates and descriptions."""

    def __init__(self, encoder: Encoder) -> None:
        self._encode = lru_cache(_CACHED_TEXTS)(encoder.encode)
        self._encode_many = lru_cache(_CACHED_TEXTS)(lambda texts: encoder.encode_many(texts))
        self._encode_template = lru_cache(_CACHED_TEXTS)(encoder.encode_template)

    def encode(self, text: str) -> Encoding:
        return self._encode(text)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return self._encode_many(tuple(texts))

    def encode_template(self, text: str) -> list[int]:
        return self._encode_template(text)


def read_examples(path: Path, stage: StageName) -> Iterator[tuple[str, Example]]:
    """The examples of a training file, each with its place (`head.jsonl:12`).

    Raises:
        InputError: the file can't be read or holds no examples, or a line of it isn't an example.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path)) from None
    empty = True
    for number, line in enumerate(lines, start=1):
        if line.strip():
            empty = False
            place = f"{path}:{number}"
            yield place, _parse(line, place, stage)
    if empty:
        raise InputError("holds no examples", where=str(path))


def _parse(line: bytes, place: str, stage: StageName) -> Example:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}", where=place) from None
    try:
        return example_of(record, stage)
    except InputError as error:
        raise InputError(error.message, where=place) from None


def example_of(record: Mapping[str, Any], stage: StageName) -> Example:
    """The example that a line of training data holds: the inverse of `Example.record`.

    `kind` may be missing (a list), `doc` too (the passage stands for it), and `plain` (the passage alone is plain).

    Raises:
        InputError: a field is missing or not of its form.
    """
    if not isinstance(record, dict):
        raise InputError("not a JSON object")
    text, completion, passage = _text(record, "prompt"), _text(record, "completion"), record.get("passage")
    kind = record.get("kind", "list")
    if kind not in _KINDS:
        raise InputError(f"'kind' must be one of {', '.join(_KINDS)}")
    if kind == "choose" and completion not in (YES, NO):
        raise InputError(f"the completion of a choice must be {YES} or {NO}")
    (span,) = _spans("passage", [passage], len(text))
    plain = _spans("plain", record.get("plain", [passage]), len(text))
    if span not in plain or span[0] == span[1]:
        raise InputError("the passage must be one of the 'plain' ranges, and not empty")
    prompt = _prompt(text, span, plain)
    return Example(stage, kind, str(record.get("doc", prompt.passage)), prompt, completion)


def _text(record: Mapping[str, Any], name: str) -> str:
    text = record.get(name)
    if not isinstance(text, str):
        raise InputError(f"'{name}' must be a text")
    return text


def _spans(name: str, value: Any, length: int) -> list[Span]:
    """Ranges that are in order and don't overlap."""
    at = 0
    spans: list[Span] = []
    for each in value if isinstance(value, list) else [None]:
        match each:
            case [int(start), int(end)] if at <= start <= end <= length:
                spans.append((start, end))
                at = end
            case _:
                raise InputError(f"'{name}' must hold [start, end] within the prompt, in order")
    return spans


def _prompt(text: str, passage: Span, plain: Iterable[Span]) -> Prompt:
    before: list[Piece] = []
    after: list[Piece] = []
    side, at = before, 0
    for start, end in plain:
        if at < start:
            side.append(Piece(text[at:start], plain=False))
        if (start, end) == passage:
            side = after
        else:
            side.append(Piece(text[start:end], plain=True))
        at = end
    if at < len(text):
        side.append(Piece(text[at:], plain=False))
    return Prompt(tuple(before), text[slice(*passage)], tuple(after))


def is_held_out(doc: str, fraction: float, seed: int) -> bool:
    """Whether a document is held out: by its id alone, so that all stages hold out the same ones."""
    digest = hashlib.sha256(f"{seed}:{doc}".encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits: tokens of a passage, of a prompt with its completion (`positions`), and of a packed row."""

    passage: int
    positions: int
    row: int

    def fits(self, example: TokenisedExample) -> bool:
        """Whether the example can be trained on."""
        start, end = example.request.passage
        length = len(example.request.prefix) + len(example.request.suffix) + len(example.completion)
        return end - start <= self.passage and length <= min(self.positions, self.row)


def pack(examples: Iterable[TokenisedExample], limits: Limits, *, packing: bool) -> list[Row]:
    """Puts the prompts of equal prefixes behind one copy of it, in as many rows as it takes.

    Args:
        examples: all of which fit.
        limits: how long a row may be.
        packing: False puts every prompt into a row of its own.
    """
    groups: dict[tuple[int, ...], list[list[Sample]]] = {}
    lengths: dict[tuple[int, ...], int] = {}
    for example in examples:
        prefix, sample = example.request.prefix, Sample(example.request.suffix, example.completion)
        rows = groups.setdefault(prefix, [])
        length = lengths.get(prefix, 0) + len(sample.read)
        if not (rows and packing and length <= limits.row):
            rows.append([])
            length = len(prefix) + len(sample.read)
        rows[-1].append(sample)
        lengths[prefix] = length
    return [Row(prefix, tuple(samples)) for prefix, rows in groups.items() for samples in rows]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of one or more training files.

    Attributes:
        train: to learn from.
        held_out: of documents kept aside.
        held_out_examples: the examples in them, by stage.
        examples: prompts of both.
        dropped: prompts too long to be used.
    """

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    held_out_examples: Mapping[Stage, Sequence[Example]]
    examples: int
    dropped: int


def load(
    files: Mapping[Stage, Path],
    tokeniser: Tokeniser,
    limits: Limits,
    *,
    packing: bool,
    held_out: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Reads the training files of stages that share an adapter.

    Args:
        files: the file of each stage.
        tokeniser: the bundle's.
        limits: longer prompts are left out, and counted.
        packing: see `pack`.
        held_out: the fraction of documents to keep aside.
        seed: chooses them.

    Raises:
        InputError: a file can't be read, a line of it isn't an example, or no example fits.
    """
    train: list[TokenisedExample] = []
    aside: list[TokenisedExample] = []
    texts: dict[Stage, list[Example]] = {stage: [] for stage in files}
    dropped = 0
    for stage, path in files.items():
        for place, example in read_examples(path, stage.name):
            tokenised = _tokenised(tokeniser, example, len(stage.yields), place)
            if not limits.fits(tokenised):
                dropped += 1
            elif is_held_out(tokenised.doc, held_out, seed):
                aside.append(tokenised)
                texts[stage].append(example)
            else:
                train.append(tokenised)
    where = ", ".join(map(str, files.values()))
    if not train:
        raise InputError(f"no example left to learn from: {dropped} too long, {len(aside)} held out", where=where)
    if held_out and not aside:
        raise InputError(f"too few documents to hold out {held_out:g} of them", where=where)
    return Dataset(
        tuple(pack(train, limits, packing=packing)),
        tuple(pack(aside, limits, packing=packing)),
        texts,
        examples=len(train) + len(aside) + dropped,
        dropped=dropped,
    )


def _tokenised(tokeniser: Tokeniser, example: Example, parts: int, place: str) -> TokenisedExample:
    try:
        return tokeniser.example(example, parts)
    except InputError as error:
        raise InputError(error.message, where=place) from None


STAGE_FILES: Mapping[StageName, str] = {name: f"{name}.jsonl" for name in get_args(StageName)}
"""Where build-data writes the examples of each stage."""

BUILD_FILE = "build.json"
"""What build-data tells of the examples: for what they were made, of what, how many, and what was left out."""


def built_for(folder: Path) -> str | None:
    """The paradigm that a folder's examples were made for, if build-data made them.

    Raises:
        InputError: what it told of them can't be read.
    """
    file = folder / BUILD_FILE
    if not file.exists():
        return None
    try:
        return str(orjson.loads(file.read_bytes())["paradigm"])
    except (OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise InputError("can't be read as what build-data wrote", where=str(file)) from error
