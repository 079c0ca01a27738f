"""Packing: one passage and all its prompts in one row, each prompt seeing the passage and itself.

    segment   0 0 0 0 0  1 1 1 1  2 2 2  -1 -1
    position  0 1 2 3 4  5 6 7 8  5 6 7   0  0

A query sees a key of the prefix (segment 0) or of its own prompt that does not stand after it; positions restart behind
the prefix for every prompt. So the packed row computes what each prompt would alone, and the prefix only once.

What some prompts begin with alike can be read once as well, in a run that all of them see: it has the segment of the
first, and they are those up to its `until` (see `stems`).
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from autore_cli.model.cache import Places

PADDING = -1
PREFIX = 0

_ALL = 2**31
_FILLING = (0, PADDING, 0, PADDING + 1)
"""What a layout's tensors hold where nothing stands."""


class Run(NamedTuple):
    """Tokens that follow one another.

    Attributes:
        segment: the number of their prompt, from 1; `PREFIX`, which all prompts see; or `PADDING`, which nobody sees.
        position: of the first token.
        tokens: their ids.
        prompts: how many prompts see them: that of the segment and those behind it.
    """

    segment: int
    position: int
    tokens: Sequence[int]
    prompts: int = 1


class Layout(NamedTuple):
    """Rows of packed tokens, each tensor `[rows, length]`, padded on the right.

    Attributes:
        tokens: token ids.
        segments: `PADDING`, `PREFIX`, or the number of the (first) prompt from 1.
        positions: position ids.
        until: the first segment behind `segments` that does not see the token.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    until: Tensor

    @classmethod
    def of_prompts(cls, tokens: Tensor, segments: Tensor, positions: Tensor) -> "Layout":
        """Prompts that have nothing but the prefix in common."""
        return cls(tokens, segments, positions, torch.where(segments == PREFIX, _ALL, segments + 1))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Layout":
        """The layout after the same change to each of its tensors."""
        return Layout(*map(change, self))

    def lengthened(self, length: int) -> "Layout":
        """The layout with padding at the end of each row."""
        more = length - self.tokens.shape[1]
        return Layout(*(pad(each, (0, more), value=filling) for each, filling in zip(self, _FILLING, strict=True)))

    def with_next(self, new: "Layout", where: Places) -> "Layout":
        """The layout with the next tokens of each row at their places."""
        pairs = zip(self.lengthened(where.end), new, strict=True)
        return Layout(*(old.scatter(1, where.places, more)[:, : where.length] for old, more in pairs))


def layout(rows: Sequence[Sequence[Run]], pad_token: int) -> Layout:
    """Lays out rows of runs."""
    lengths = np.array([sum(len(run.tokens) for run in row) for row in rows])
    taken = np.arange(lengths.max()) < lengths[:, None]
    runs = [run for row in rows for run in row]
    own = np.array([len(run.tokens) for run in runs], dtype=np.int64)
    firsts = np.array([run.position for run in runs], dtype=np.int64) - (own.cumsum() - own)
    segments = np.array([run.segment for run in runs], dtype=np.int64)
    untils = np.array([_ALL if run.segment == PREFIX else run.segment + run.prompts for run in runs], dtype=np.int64)
    flat = (
        np.fromiter(chain.from_iterable(run.tokens for run in runs), np.int64),
        segments.repeat(own),
        np.arange(own.sum()) + firsts.repeat(own),
        untils.repeat(own),
    )
    filled = [np.full(taken.shape, filling) for filling in (pad_token, *_FILLING[1:])]
    for each, values in zip(filled, flat, strict=True):
        each[taken] = values
    return Layout(*map(torch.from_numpy, filled))


def attention_mask(queries: Layout, keys: Layout, dtype: torch.dtype, *, prefix_lm: bool) -> Tensor:
    """What each query may see, as an additive mask `[rows, 1, queries, keys]`: 0, or `dtype`'s lowest value.

    Args:
        queries: the tokens that are being computed.
        keys: all tokens, cached ones first.
        dtype: that of the model's activations.
        prefix_lm: the prefix sees itself in both directions.
    """
    query, key = queries.segments[:, :, None], keys.segments[:, None, :]
    before = keys.positions[:, None, :] <= queries.positions[:, :, None]
    if prefix_lm:
        before = before | ((key == PREFIX) & (query == PREFIX))
    seen = before & (key <= query) & (query < keys.until[:, None, :])
    seen = seen | (query == PADDING)  # a query that sees nothing would be NaN
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def stacked(layouts: Sequence[Layout]) -> Layout:
    """The rows of several layouts in one."""
    length = max(each.tokens.shape[1] for each in layouts)
    return Layout(*map(torch.cat, zip(*(each.lengthened(length) for each in layouts), strict=True)))
