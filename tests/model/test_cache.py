"""Rows that grow, each from its own end, against rows of their own."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autore_cli.model.cache import GrowingCache, joined, next_places

HEADS, SIZE = 2, 3
growths = st.lists(st.lists(st.integers(0, 200), min_size=3, max_size=3).filter(any), min_size=1, max_size=5)


def grow(cache: GrowingCache, rows: list[Tensor], more: list[int]) -> list[Tensor]:
    """Lets rows grow by so many tokens each, in the cache as beside it."""
    new = torch.randn(len(rows), HEADS, max(more), SIZE)
    where = cache.next = next_places([row.shape[1] for row in rows], more, torch.device("cpu"))
    keys, values = cache.update(new, -new, 0)
    assert keys.shape[2] == where.length == cache.get_seq_length()
    grown = [torch.cat([row, tokens[:, :count]], dim=1) for row, tokens, count in zip(rows, new, more, strict=True)]
    for index, row in enumerate(grown):
        assert torch.equal(keys[index, :, : row.shape[1]], row)
        assert torch.equal(values[index, :, : row.shape[1]], -row)
    return grown


@given(growths, st.lists(st.integers(0, 2), min_size=1, max_size=4), growths)
def test_rows_keep_what_was_put_into_them(first: list[list[int]], kept: list[int], second: list[list[int]]) -> None:
    cache, rows = GrowingCache(), [torch.zeros(HEADS, 0, SIZE)] * 3
    for more in first:
        rows = grow(cache, rows, more)
    selected, some = cache.select(torch.tensor(kept)), [rows[row] for row in kept]
    both, all_rows = joined([cache, selected]), [*rows, *some]
    for more in second:
        rows = grow(cache, rows, more)
        all_rows = grow(both, all_rows, [more[row] for row in (0, 1, 2, *kept)])
    if any(second[0][row] for row in kept):
        grow(selected, some, [second[0][row] for row in kept])
