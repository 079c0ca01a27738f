"""Reading prompts: a passage once for all that are about it, and these side by side in rows behind it."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from autore_cli.generation import Request
from autore_cli.model.context import NOTHING, Context
from autore_cli.model.decoding import wanted_by
from autore_cli.model.packing import PREFIX, Run
from autore_cli.model.stems import common, share

Wanted = Callable[[int, int], Sequence[int]]
"""The tokens whose logits a request asks for, by its index and its segment in its row."""


@dataclass(frozen=True, slots=True)
class Window:
    """A prefix, and the indices of its requests."""

    prefix: tuple[int, ...]
    requests: list[int]


class Reading(NamedTuple):
    """Some rows that have been read.

    Attributes:
        prompts: what the model keeps of them.
        rows: the requests of each row, by their indices.
        tokens: those that each request asks for, `[rows, requests, wanted]`.
        logits: theirs behind each request, shaped alike.
    """

    prompts: Context
    rows: Sequence[Sequence[int]]
    tokens: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class _Row:
    """Requests that share a row, behind the prefix of a window, in runs."""

    window: int
    requests: Sequence[int]
    stems: Sequence[Run]
    runs: Sequence[Run]

    @property
    def length(self) -> int:
        return sum(len(run.tokens) for run in (*self.stems, *self.runs))


def windows(requests: Sequence[Request], *, shared: bool) -> list[Window]:
    """Groups requests by prefix; long ones first, so that a batch's rows are alike and memory runs short early.

    Args:
        requests: the requests.
        shared: whether requests with the same prefix share it.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.prefix if shared else index, []).append(index)
    found = [Window(requests[group[0]].prefix, group) for group in groups.values()]
    return sorted(found, key=lambda window: -len(window.prefix))


def read(
    model: PreTrainedModel,
    some: Sequence[Window],
    requests: Sequence[Request],
    wanted: Wanted,
    *,
    rows: int,
    row_tokens: int,
) -> Iterator[Reading]:
    """Reads the requests of some windows.

    Args:
        model: a causal LM.
        some: the windows.
        requests: all requests, which the windows refer to.
        wanted: the tokens whose logits are needed.
        rows: that are read at once.
        row_tokens: about how many tokens of requests share a row.
    """
    for start in range(0, len(some), rows):
        part = some[start : start + rows]
        prefixes = Context(model, rows=len(part))
        behind = prefixes.read([[Run(PREFIX, 0, window.prefix)] for window in part])
        waiting = [row for place, window in enumerate(part) for row in _rows(place, window, requests, row_tokens)]
        waiting.sort(key=lambda row: -row.length)
        for first in range(0, len(waiting), rows):
            yield _read_rows(prefixes, behind, waiting[first : first + rows], wanted)


def _read_rows(prefixes: Context, behind: Tensor, rows: Sequence[_Row], wanted: Wanted) -> Reading:
    """Reads some rows behind their prefixes. `behind` are the prefixes' own logits, `[windows, 1, vocabulary]`."""
    prompts = prefixes.select([row.window for row in rows])
    asked = [[wanted(index, segment(run)) for run, index in enumerate(row.requests)] for row in rows]
    tokens = wanted_by(asked).to(behind.device)
    logits = prompts.read([row.runs for row in rows], tokens, [row.stems for row in rows])
    for place, row in enumerate(rows):
        for run in (run for run, each in enumerate(row.runs) if each is NOTHING):
            logits[place, run] = behind[row.window, 0, tokens[place, run].clamp(min=0)]
    return Reading(prompts, [row.requests for row in rows], tokens, logits)


def _rows(place: int, window: Window, requests: Sequence[Request], row_tokens: int) -> Iterator[_Row]:
    """Divides a window's requests into rows of about the same length; those that begin alike stay together."""
    order = sorted(window.requests, key=lambda index: requests[index].suffix)
    suffixes = [requests[index].suffix for index in order]
    lengths = [len(each) - common(before, each) for before, each in zip([(), *suffixes], suffixes, strict=False)]
    total = sum(lengths)
    rows = max(1, math.ceil(total / row_tokens))
    members: list[list[int]] = [[] for _ in range(rows)]
    before = 0
    for index, length in zip(order, lengths, strict=True):
        members[min(before * rows // max(total, 1), rows - 1)].append(index)
        before += length
    return (_row(place, window, [(index, requests[index].suffix) for index in row]) for row in members if row)


def _row(place: int, window: Window, members: Sequence[tuple[int, Sequence[int]]]) -> _Row:
    """A row of requests, given by their indices and suffixes in alphabetical order."""
    empty = sum(not suffix for _, suffix in members)
    suffixes = [suffix for _, suffix in members[empty:]]
    shared = share(suffixes, segment(empty), len(window.prefix))
    return _Row(place, [index for index, _ in members], shared.stems, [NOTHING] * empty + shared.rests)


def segment(run: int) -> int:
    """The segment of a row's prompt."""
    return PREFIX + 1 + run
