"""What a model has read: rows of packed tokens, and their key-value cache."""

import copy
from collections.abc import Iterator, Sequence
from inspect import signature

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autore_cli.model import cache
from autore_cli.model.cache import GrowingCache, next_places, vectors
from autore_cli.model.logits import logits_at
from autore_cli.model.packing import PADDING, PREFIX, Layout, Run, attention_mask, layout, stacked

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
        self._options = signature(model.forward).parameters.keys() & {"wanted", "relative", "real"}
        self._lengths = [0] * rows
        self._cache = GrowingCache()
        self._seen = Layout(nothing, nothing, nothing, nothing)

    def read(
        self,
        rows: Sequence[Sequence[Run]],
        wanted: Tensor | None = None,
        stems: Sequence[Sequence[Run]] | None = None,
    ) -> Tensor:
        """Reads further runs in each row.

        Args:
            rows: the runs.
            wanted: the tokens whose logits are needed behind each run, `[rows, runs, wanted]`, filled up with -1; None
                is all of them.
            stems: runs of each row that come before these, and whose logits nobody needs.

        Returns:
            The logits behind each run, `[rows, runs, wanted or vocabulary]`, of which only the differences count; rows
            with fewer runs are filled up with anything.
        """
        device = self._model.device
        before = stems or [()] * len(rows)
        runs = [[*first, *own] for first, own in zip(before, rows, strict=True)]
        more = [sum(len(run.tokens) for run in row) for row in runs]
        new = layout(runs, pad_token=0).map(lambda each: each.to(device))
        where = self._cache.next = next_places(self._lengths, more, device)
        keys = self._seen.with_next(new, where)
        wanted = None if wanted is None else wanted.to(device)
        options = {"wanted": wanted, "relative": True, "real": new.segments != PADDING}
        with logits_at(self._model, _last_tokens(rows, before).to(device)):
            logits: Tensor = self._model(
                input_ids=new.tokens,
                attention_mask=attention_mask(new, keys, self._model.dtype, prefix_lm=self._prefix_lm),
                position_ids=new.positions,
                past_key_values=self._cache,
                use_cache=True,
                **self._token_types(new),
                **{name: options[name] for name in self._options},
            ).logits
        self._seen = keys
        self._lengths = [length + tokens for length, tokens in zip(self._lengths, more, strict=True)]
        return logits if wanted is None or "wanted" in self._options else logits.gather(-1, wanted.clamp(min=0))

    def layers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The keys and values of each layer, `[rows, heads, tokens, size]`."""
        for layer in self._cache.layers:
            yield layer.keys, layer.values

    def caches(self, rows: Sequence[int], segments: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """The keys and values of single prompts: in each layer `[prompts, heads, tokens, size]`.

        A prompt's tokens stand one after the other, its prefix and its stems first; what is behind a shorter one's last
        is anything.

        Args:
            rows: each prompt's row.
            segments: and its segment.
        """
        device = self._model.device
        row, segment = torch.tensor(rows, device=device), torch.tensor(segments, device=device)
        own = (self._seen.segments[row] <= segment[:, None]) & (segment[:, None] < self._seen.until[row])
        order = own.byte().argsort(dim=1, descending=True, stable=True)[:, : int(own.sum(1).max())]
        for layer in self.layers():
            _, heads, length, _ = layer[0].shape
            place = vectors(row, order, heads, length)
            keys, values = (
                states.reshape(-1, states.shape[-1]).index_select(0, place).view(len(rows), heads, -1, states.shape[-1])
                for states in layer
            )
            yield keys, values

    def select(self, rows: Sequence[int]) -> "Context":
        """A context of some of the rows, or of a row several times. Neither sees what the other reads from now on."""
        index = torch.tensor(rows, device=self._seen.tokens.device)
        selected = copy.copy(self)
        selected._cache = self._cache.select(index)
        selected._seen = self._seen.map(lambda each: each[index])
        selected._lengths = [self._lengths[row] for row in rows]
        return selected

    def _token_types(self, new: Layout) -> dict[str, Tensor]:
        at_start = self._seen.tokens.shape[1] == 0
        return {"token_type_ids": (new.segments == PREFIX).long()} if self._prefix_lm and at_start else {}


def is_prefix_lm(model: PreTrainedModel) -> bool:
    """Whether the model reads its prefix in both directions."""
    return bool(getattr(model.config, "prefix_lm", False))


def joined(contexts: Sequence[Context]) -> Context:
    """A context of the rows of several that have read as much: prefixes, or prompts too."""
    together = copy.copy(contexts[0])
    together._cache = cache.joined([each._cache for each in contexts])
    together._seen = stacked([each._seen for each in contexts])
    together._lengths = [length for each in contexts for length in each._lengths]
    return together


def _last_tokens(rows: Sequence[Sequence[Run]], before: Sequence[Sequence[Run]]) -> Tensor:
    """Where the last token of each run stands in its row behind what comes before, `[rows, runs]`."""
    ends = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for row, first, runs in zip(ends, before, rows, strict=True):
        start = sum(len(stem.tokens) for stem in first)
        row[: len(runs)] = torch.tensor([len(run.tokens) for run in runs], dtype=torch.long).cumsum(0) + start - 1
    return ends
