"""Decoding for a GPU: each list grows in a slot of its own, all by a token a step, and one that ends makes room.

What a prompt's tokens left in the cache is copied from where it was read (`Context`), that of its prefix with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from autore_cli.model.context import Context
from autore_cli.model.decoding import ListDecoder, take, wanted_by
from autore_cli.model.step import Step

SHARE_OF_MEMORY = 0.6
"""How much of a GPU's free memory the slots may take: prompts have to be read beside them."""

_EXTENT = 64
"""A slot's length is a multiple of it, so that it seldom has to change."""


@dataclass(slots=True)
class _Growing:
    """A list in its slot, and how many of its unread tokens have been read by now."""

    list: ListDecoder
    read: int = 0

    def next_token(self) -> tuple[int, int]:
        """The token to be read next, and its position."""
        unread = self.list.unread()
        return unread.tokens[self.read], unread.position + self.read


class Slots:
    """Lists that grow side by side (`decoding.Growth`).

    Args:
        model: a causal LM whose cache holds keys and values by position.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._most = 1
        self._step: Step | None = None
        self._slots: list[_Growing | None] = []
        self._adapter: str | None = None
        self._length = 0

    def begin(self, adapter: str | None, longest: int, most: int, /) -> None:
        """See `Growth.begin`. There are at most `most` slots, and fewer if memory is scarce."""
        if most < self._most:
            self.release()
        self._most = most
        self._adapter = adapter
        self._length = _extent(longest + _EXTENT // 2)
        self._slots = [None] * len(self._slots)  # an error may have left some lists

    def admit(self, prompts: Context, rows: Sequence[Sequence[ListDecoder]], end_bias: float) -> None:
        """See `Growth.admit`."""
        waiting = [(row, one) for row, lists in enumerate(rows) for one in lists if not one.done]
        while waiting:
            step = self._step_for(prompts)
            free = [slot for slot, one in enumerate(self._slots) if one is None]
            if len(free) < min(len(waiting), (len(self._slots) + 1) // 2):
                self._grow(step, end_bias)
                continue
            entering, waiting = waiting[: len(free)], waiting[len(free) :]
            slots = free[: len(entering)]
            step.fill(
                slots, prompts.caches([row for row, _ in entering], [one.unread().segment for _, one in entering])
            )
            for slot, (_, one) in zip(slots, entering, strict=True):
                self._slots[slot] = _Growing(one)

    def finish(self, end_bias: float) -> None:
        """See `Growth.finish`."""
        while self._step and any(self._slots):
            self._grow(self._step, end_bias)

    def release(self) -> None:
        """See `Growth.release`."""
        self._step, self._slots = None, []

    def _grow(self, step: Step, end_bias: float) -> None:
        """Reads the next token of each list, and lets those go on that have no other to be read first."""
        rows = self._close_ranks(step)
        inputs = [one.next_token() if one else (0, 0) for one in self._slots[:rows]]  # an empty slot reads, too
        tokens, positions = zip(*inputs, strict=True)
        if max(positions) >= step.length:
            step = self._step = step.lengthened(_extent(max(positions) + 1))
        logits = step(tokens, positions, self._adapter)
        ready = []
        for slot, one in enumerate(self._slots[:rows]):
            if one:
                one.read += 1
                if one.read == len(one.list.unread().tokens):
                    ready.append((slot, one))
        if not ready:
            return
        # The host looks up what may come next while the GPU is at the step.
        wanted = wanted_by([[one.list.allowed()] for _, one in ready])[:, 0].to(logits.device)
        scores = logits[torch.tensor([slot for slot, _ in ready], device=logits.device)]
        take(scores.gather(-1, wanted.clamp(min=0)), wanted, [one.list for _, one in ready], end_bias)
        for slot, one in ready:
            one.read = 0
            if one.list.done:
                self._slots[slot] = None

    def _close_ranks(self, step: Step) -> int:
        """Moves lists to the front if a part of the rows would do, and returns how many rows do.

        Few numbers are possible, as a step is captured for each.
        """
        active = [slot for slot, one in enumerate(self._slots) if one]
        rows = next(rows for rows in (step.rows // 16, step.rows // 4, step.rows) if rows >= len(active))
        sources = [slot for slot in active if slot >= rows]
        targets = [slot for slot in range(rows) if not self._slots[slot]][: len(sources)]
        if sources:
            step.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self._slots[target], self._slots[source] = self._slots[source], None
        return rows

    def _step_for(self, prompts: Context) -> Step:
        """A step whose rows are as long as the lists need, and as many as there is memory for."""
        step = self._step
        if step and (any(self._slots) or self._length <= step.length <= 2 * self._length):
            return step
        self._step = step = None  # which frees its memory
        layers = list(prompts.layers())
        a_row = self._length * sum(states[0, :, :1].nbytes for layer in layers for states in layer)
        affordable = SHARE_OF_MEMORY * _free_memory(self._model.device) / a_row
        rows = max(1, int(min(self._most, affordable)))
        self._step = Step(self._model, layers, rows, self._length)
        self._slots = [None] * rows
        return self._step


def _extent(length: int) -> int:
    return -(-length // _EXTENT) * _EXTENT


def _free_memory(device: torch.device) -> float:
    """Bytes that a GPU has left, counting what torch holds without need."""
    if device.type != "cuda":
        return float("inf")
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    allowed = torch.cuda.get_per_process_memory_fraction(device) * total
    return min(free + torch.cuda.memory_reserved(device), allowed) - allocated
