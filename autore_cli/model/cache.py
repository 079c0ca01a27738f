"""The keys and values of rows that grow, each from its own end: one that grows less than others takes no more room."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache

_ROOM = 128
"""Tokens that there is room for when full rows have to be copied: to whom a few are added, more will be."""


class Places(NamedTuple):
    """Where the next tokens of each row go.

    Attributes:
        places: `[rows, tokens]`. Rows that get fewer tokens than others are filled up behind them with anything, which
            the next tokens overwrite.
        end: the first place behind all of these.
        length: how long rows are then, without what they are filled up with.
    """

    places: Tensor
    end: int
    length: int


def next_places(lengths: Sequence[int], more: Sequence[int], device: torch.device) -> Places:
    """Where the next tokens go, of rows of these lengths that get so many more."""
    width = max(more)
    places = torch.tensor(lengths)[:, None] + torch.arange(width)
    return Places(places.to(device), max(lengths) + width, max(map(sum, zip(lengths, more, strict=True))))


def vectors(rows: Tensor, places: Tensor, heads: int, length: int) -> Tensor:
    """Where tokens stand in `[rows, heads, length, size]` if that is taken for a list of vectors.

    To read and write whole vectors is several times as fast as by several indices.

    Args:
        rows: `[n]`.
        places: the tokens' places in these rows, `[n, tokens]`.
        heads: how many there are.
        length: of a row.

    Returns:
        `[n * heads * tokens]`.
    """
    head = torch.arange(heads, device=places.device)[:, None]
    return ((rows[:, None, None] * heads + head) * length + places[:, None]).flatten()


class Layer:
    """Keys and values of one layer, `[rows, heads, tokens, size]`.

    Args:
        keys: the keys; there may be room behind them.
        values: the values, likewise.
        length: how many tokens there are.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        self._stored = (keys.contiguous(), values.contiguous())
        self.length = length

    @property
    def keys(self) -> Tensor:
        """The keys."""
        return self._stored[0][:, :, : self.length]

    @property
    def values(self) -> Tensor:
        """The values."""
        return self._stored[1][:, :, : self.length]

    def put(self, keys: Tensor, values: Tensor, where: Places) -> None:
        """Writes the next tokens of each row."""
        if where.end > self._stored[0].shape[2]:
            length = where.end + (_ROOM if keys.shape[2] < _ROOM else 0)
            self._stored = (_stacked([self.keys], length), _stacked([self.values], length))
        rows = torch.arange(len(keys), device=keys.device)
        _, heads, length, _ = self._stored[0].shape
        place = vectors(rows, where.places, heads, length)
        for stored, new in zip(self._stored, (keys, values), strict=True):
            size = stored.shape[-1]
            stored.view(-1, size).index_copy_(0, place, new.reshape(-1, size))
        self.length = where.length

    def select(self, rows: Tensor) -> "Layer":
        """A layer of some rows, or of a row several times."""
        keys, values = (stored[rows] for stored in self._stored)
        return Layer(keys, values, self.length)


class GrowingCache(Cache):
    """A cache of rows that grow.

    Args:
        layers: what it begins with.

    Attributes:
        next: where the next tokens go; to be set before they are read.
    """

    def __init__(self, layers: Sequence[Layer] = ()) -> None:
        super().__init__(layers=[])
        self.layers: list[Any] = list(layers)
        self.next: Places | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes the next tokens of each row to a layer, and returns all that it holds."""
        if layer_idx == len(self.layers):
            self.layers.append(Layer(key_states, value_states, key_states.shape[2]))
        else:
            assert self.next  # noqa: S101 - for the type
            self.layers[layer_idx].put(key_states, value_states, self.next)
        return self.layers[layer_idx].keys, self.layers[layer_idx].values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the longest row."""
        return int(self.layers[layer_idx].length) if self.layers else 0

    def select(self, rows: Tensor) -> "GrowingCache":
        """A cache of some rows, or of a row several times."""
        return GrowingCache([layer.select(rows) for layer in self.layers])


def joined(caches: Sequence[GrowingCache]) -> GrowingCache:
    """The rows of several caches in one, with room for half as many tokens again. Shorter ones end with zeros."""
    layers = []
    for same in zip(*(each.layers for each in caches), strict=True):
        length = max(layer.length for layer in same)
        keys = _stacked([layer.keys for layer in same], length * 3 // 2)
        values = _stacked([layer.values for layer in same], length * 3 // 2)
        layers.append(Layer(keys, values, length))
    return GrowingCache(layers)


def _stacked(states: Sequence[Tensor], length: int) -> Tensor:
    """All rows in one tensor, each filled up with zeros to a length."""
    _, heads, _, size = states[0].shape
    together = states[0].new_zeros(sum(map(len, states)), heads, length, size)
    first = 0
    for each in states:
        together[first : first + len(each), :, : each.shape[2]] = each
        first += len(each)
    return together
