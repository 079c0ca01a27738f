"""Packing: one passage and all its prompts in one row, each prompt seeing the passage and itself.

    segment   0 0 0 0 0  1 1 1 1  2 2 2  -1 -1
    position  0 1 2 3 4  5 6 7 8  5 6 7   0  0

A query sees a key of the prefix (segment 0) or of its own prompt that does not stand after it; positions restart behind
the prefix for every prompt. So the packed row computes what each prompt would alone, and the prefix only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -1
PREFIX = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of packed tokens, each tensor `[rows, length]`, padded on the right.

    Attributes:
        tokens: token ids.
        segments: `PADDING`, `PREFIX`, or the number of the prompt from 1.
        positions: position ids.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor


def layout(rows: Sequence[Sequence[tuple[int, int, Sequence[int]]]], pad_token: int) -> Layout:
    """Lays out rows of runs. A run is (segment, position of its first token, token ids)."""
    length = max(sum(len(tokens) for _, _, tokens in row) for row in rows)
    tokens = torch.full((len(rows), length), pad_token)
    segments = torch.full((len(rows), length), PADDING)
    positions = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        flat = [token for _, _, run in row for token in run]
        tokens[index, : len(flat)] = torch.tensor(flat, dtype=torch.long)
        at = 0
        for segment, position, run in row:
            segments[index, at : at + len(run)] = segment
            positions[index, at : at + len(run)] = torch.arange(position, position + len(run))
            at += len(run)
    return Layout(tokens, segments, positions)


def attention_mask(queries: Layout, keys: Layout, dtype: torch.dtype, *, prefix_lm: bool) -> Tensor:
    """What each query may see, as an additive mask `[rows, 1, queries, keys]`: 0, or `dtype`'s lowest value.

    Args:
        queries: the tokens that are being computed.
        keys: all tokens, cached ones first.
        dtype: that of the model's activations.
        prefix_lm: the prefix sees itself in both directions.
    """
    query, key = queries.segments[:, :, None], keys.segments[:, None, :]
    seen = (keys.positions[:, None, :] <= queries.positions[:, :, None]) & ((key == PREFIX) | (key == query))
    if prefix_lm:
        seen = seen | ((key == PREFIX) & (query == PREFIX))
    seen = seen & (key != PADDING)
    seen = seen | (query == PADDING)  # a query that sees nothing would be NaN
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)[:, None]
