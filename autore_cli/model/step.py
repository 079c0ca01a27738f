"""One more token in each of many rows, over a cache of a fixed shape: the step that a GPU can replay.

Every tensor of the step keeps its shape and its place, so that on a GPU it is captured as a CUDA graph, which takes the
thousands of launches of a step off the host. Elsewhere the same step runs as it is.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Cache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from autore_cli.model.cache import vectors

_EAGER_RUNS = 3
"""A step that runs more often is worth its capture, which takes as long as some runs."""


_GROUPED = "autore_grouped"


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """As transformers' `sdpa`, but for one query a row it does not copy keys and values for each head that shares them.

    The heads of a group stand side by side as queries of the one head whose keys and values they share. With many rows
    the copies (which older versions of transformers make whenever there is a mask) would take most of a step.

    Args:
        module: the attention layer.
        query: `[rows, heads, queries, size]`.
        key: `[rows, heads / group, keys, size]`, and `value` alike.
        value: see `key`.
        attention_mask: additive, `[rows, 1, queries, keys]`.
        options: what transformers hands over besides.

    Returns:
        `[rows, queries, heads, size]`, and no weights.
    """
    rows, heads, queries, size = query.shape
    if queries > 1 or heads == key.shape[1]:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    attended = scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], -1, size), key, value, attn_mask=attention_mask, scale=options.get("scaling")
    )
    return attended.reshape(rows, 1, heads, size), None


class RowCache(Cache):
    """Keys and values, a layer each `[rows, heads, length, size]`. A token's place in its row is its position.

    Args:
        layers: the shape and dtype of each layer's keys and values: tensors `[any, heads, any, size]`.
        rows: how many rows there are.
        length: of each row.
        positions: where the next tokens stand, `[rows]`.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], rows: int, length: int, positions: Tensor) -> None:
        super().__init__(layers=[])
        self.states = [
            (
                keys.new_zeros(rows, keys.shape[1], length, keys.shape[3]),
                values.new_zeros(rows, values.shape[1], length, values.shape[3]),
            )
            for keys, values in layers
        ]
        self._positions = positions
        self._rows = torch.arange(rows, device=positions.device)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Writes the next token of the first rows, and returns all that these rows hold."""
        rows = len(key_states)
        keys, values = (states[:rows] for states in self.states[layer_idx])
        keys[self._rows[:rows], :, self._positions[:rows]] = key_states[:, :, 0]
        values[self._rows[:rows], :, self._positions[:rows]] = value_states[:, :, 0]
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The length of a row."""
        return int(self.states[layer_idx][0].shape[2])


class Step:
    """Reads a token in each of some rows.

    Args:
        model: a causal LM whose cache holds keys and values by position.
        layers: its cache's layers, see `RowCache`.
        rows: how many rows there are.
        length: how long a row is.

    Attributes:
        rows: how many rows there are.
        length: how long a row is.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[tuple[Tensor, Tensor]], rows: int, length: int) -> None:
        self.rows, self.length = rows, length
        self._model = model
        self._inputs = torch.zeros((2, rows), dtype=torch.long, device=model.device)  # tokens, positions
        self._places = torch.arange(length, device=model.device)
        self._cache = RowCache(layers, rows, length, self._inputs[1])
        self._runs: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None
        if model.config._attn_implementation == "sdpa":
            AttentionInterface.register(_GROUPED, grouped_attention)
            model.set_attn_implementation(_GROUPED)

    def fill(self, rows: Sequence[int], layers: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Puts what has been read elsewhere into some rows: of each layer `[rows, heads, tokens, size]`."""
        row = torch.tensor(rows, device=self._model.device)
        for here, new in zip(self._cache.states, layers, strict=True):
            for states, read in zip(here, new, strict=True):
                _, heads, length, size = states.shape
                place = vectors(row, self._places[None, : read.shape[2]], heads, length)
                states.view(-1, size).index_copy_(0, place, read.reshape(-1, size))

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copies rows over others."""
        source, target = (torch.tensor(rows, device=self._model.device) for rows in (sources, targets))
        for layer in self._cache.states:
            for states in layer:
                states[target] = states[source]

    def lengthened(self, length: int) -> "Step":
        """The same with longer rows."""
        longer = Step(self._model, self._cache.states, self.rows, length)
        longer.fill(range(self.rows), self._cache.states)
        return longer

    def __call__(self, tokens: Sequence[int], positions: Sequence[int], adapter: Hashable) -> Tensor:
        """The logits behind the next token of each of the first rows, `[rows, vocabulary]`, until the next call.

        Args:
            tokens: these tokens.
            positions: and where they stand. What a row holds behind that is not seen.
            adapter: what is active in the model: a captured step goes with its weights.
        """
        rows = len(tokens)
        self._inputs[:, :rows].copy_(torch.tensor([tokens, positions]))
        if self._pool is None:
            return self._forward(rows)
        self._runs[rows, adapter] += 1
        if self._runs[rows, adapter] <= _EAGER_RUNS:
            return self._forward(rows)
        if (rows, adapter) not in self._graphs:
            self._graphs[rows, adapter] = self._captured(rows)
        graph, logits = self._graphs[rows, adapter]
        graph.replay()
        return logits

    def _forward(self, rows: int) -> Tensor:
        tokens, positions = self._inputs[:, :rows, None]
        unseen = self._places > positions
        mask = torch.zeros_like(unseen, dtype=self._model.dtype).masked_fill_(
            unseen, torch.finfo(self._model.dtype).min
        )
        logits: Tensor = self._model(
            input_ids=tokens,
            attention_mask=mask[:, None, None],
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits[:, -1]

    def _captured(self, rows: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """The step as a graph, with the logits that each replay writes anew. All graphs share their memory."""
        with torch.cuda.device(self._model.device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._forward(rows)  # what libraries set up at their first call can't be captured
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                logits = self._forward(rows)
        return graph, logits
