"""Logits at chosen positions only, for any causal LM: at every position of a packed row they would be too many."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def logits_at(model: nn.Module, positions: Tensor) -> Iterator[None]:
    """Inside, `model` computes its logits at `positions` only.

    Args:
        model: a causal LM, with adapters or without.
        positions: `[rows, kept]`, indices into the sequence of each row. The logits become `[rows, kept, vocabulary]`.
    """

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = arguments
        return (hidden.gather(1, positions[:, :, None].expand(-1, -1, hidden.shape[-1])), *rest)

    handle = model.get_output_embeddings().register_forward_pre_hook(keep)  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()
