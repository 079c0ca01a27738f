"""What a model has read: rows of packed tokens, and their key-value cache."""

import copy
from collections.abc import Iterator, Sequence
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from autore_cli.model.logits import logits_at
from autore_cli.model.packing import PADDING, PREFIX, Layout, attention_mask, layout


class Run(NamedTuple):
    """Tokens that follow one another: their segment (see `packing`), the position of the first, and their ids."""

    segment: int
    position: int
    tokens: Sequence[int]


NOTHING = Run(PADDING, 0, [0])
"""Holds a run's place in a row."""


class Context:
    """Rows of tokens that a model has read. A prefix comes first, in one `read`; then prompts, in as many as it takes.

    Args:
        model: a causal LM. If its config says `prefix_lm`, a prefix sees itself in both directions, and its tokens are
            told from others by token type 1.
        rows: how many rows there are, all of them empty.
    """

    def __init__(self, model: PreTrainedModel, rows: int) -> None:
        nothing = torch.zeros((rows, 0), dtype=torch.long, device=model.device)
        self._model = model
        self._prefix_lm = is_prefix_lm(model)
        self._can_limit = "wanted" in signature(model.forward).parameters
        self._cache = DynamicCache()
        self._seen = Layout(nothing, nothing, nothing)

    def read(self, rows: Sequence[Sequence[Run]], wanted: Tensor | None = None) -> Tensor:
        """Reads further runs in each row.

        Args:
            rows: the runs.
            wanted: the tokens whose logits are needed behind each run, `[rows, runs, wanted]`; None is all of them.

        Returns:
            The logits behind each run, `[rows, runs, wanted or vocabulary]`; rows with fewer runs are filled up with
            anything.
        """
        device = self._model.device
        new = _to(layout(rows, pad_token=0), device)
        keys = _beside(self._seen, new)
        wanted = None if wanted is None else wanted.to(device).clamp(min=0)
        limited = {"wanted": wanted} if self._can_limit and wanted is not None else {}
        with logits_at(self._model, _last_tokens(rows).to(device)):
            logits: Tensor = self._model(
                input_ids=new.tokens,
                attention_mask=attention_mask(new, keys, self._model.dtype, prefix_lm=self._prefix_lm),
                position_ids=new.positions,
                past_key_values=self._cache,
                use_cache=True,
                **self._token_types(new),
                **limited,
            ).logits
        self._seen = keys
        return logits if wanted is None or limited else logits.gather(-1, wanted)

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The keys and values of each layer, `[rows, heads, tokens, size]`."""
        layers: list[Any] = self._cache.layers
        for layer in layers:
            yield layer.keys, layer.values

    def caches(self, rows: Sequence[int], segments: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The keys and values of single prompts: in each layer `[prompts, heads, tokens, size]`.

        A prompt's tokens stand one after the other, its prefix first; what is behind a shorter one's last is anything.

        Args:
            rows: each prompt's row.
            segments: and its segment.
        """
        device = self._model.device
        row, segment = torch.tensor(rows, device=device), torch.tensor(segments, device=device)
        seen = self._seen.segments[row]
        own = (seen == PREFIX) | (seen == segment[:, None])
        order = own.byte().argsort(dim=1, descending=True, stable=True)[:, : int(own.sum(1).max())]
        for keys, values in self.layers():
            # By whole vectors, which is several times as fast as by index.
            _, heads, length, size = keys.shape
            head = torch.arange(heads, device=device)[None, :, None]
            place = (row[:, None, None] * heads + head) * length + order[:, None]
            yield (
                keys.reshape(-1, size).index_select(0, place.flatten()).view(*place.shape, size),
                values.reshape(-1, size).index_select(0, place.flatten()).view(*place.shape, size),
            )

    def select(self, rows: Sequence[int]) -> "Context":
        """A context of some of the rows, or of a row several times. Neither sees what the other reads from now on."""
        index = torch.tensor(rows, device=self._seen.tokens.device)
        selected = copy.copy(self)
        selected._cache = copy.copy(self._cache)
        selected._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        selected._cache.batch_select_indices(index)
        selected._seen = Layout(self._seen.tokens[index], self._seen.segments[index], self._seen.positions[index])
        return selected

    def _token_types(self, new: Layout) -> dict[str, Tensor]:
        at_start = self._seen.tokens.shape[1] == 0
        return {"token_type_ids": (new.segments == PREFIX).long()} if self._prefix_lm and at_start else {}


def is_prefix_lm(model: PreTrainedModel) -> bool:
    """Whether the model reads its prefix in both directions."""
    return bool(getattr(model.config, "prefix_lm", False))


def _last_tokens(rows: Sequence[Sequence[Run]]) -> Tensor:
    """Where the last token of each run stands in its row, `[rows, runs]`."""
    ends = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for row, runs in zip(ends, rows, strict=True):
        row[: len(runs)] = torch.tensor([len(run.tokens) for run in runs]).cumsum(0) - 1
    return ends


def _beside(left: Layout, right: Layout) -> Layout:
    return Layout(
        torch.cat([left.tokens, right.tokens], dim=1),
        torch.cat([left.segments, right.segments], dim=1),
        torch.cat([left.positions, right.positions], dim=1),
    )


def _to(rows: Layout, device: torch.device) -> Layout:
    return Layout(rows.tokens.to(device), rows.segments.to(device), rows.positions.to(device))
