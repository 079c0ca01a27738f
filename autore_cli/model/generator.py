"""The Generator over transformers: shared prefixes, packed prompts, constrained greedy decoding.

Requests with the same prefix form a window. Of a batch of windows, a part at a time is read (`reading`): the prefixes
in one forward, then the prompts of each side by side in its rows. Lists then grow together, those of the whole batch,
until all have ended (`rows`, `slots`). What comes out is what each prompt alone would give.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from autore_cli.errors import BundleError, LackOfMemoryError
from autore_cli.generation import Encoder, Listed, Request
from autore_cli.grammar import ListGrammar
from autore_cli.model.adapters import MergedAdapters, base_of, use_adapter
from autore_cli.model.bundle import Bundle
from autore_cli.model.context import is_prefix_lm
from autore_cli.model.decoding import Growth, ListDecoder, take_all
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.reading import Reading, Wanted, read, windows
from autore_cli.model.rows import Rows
from autore_cli.model.slots import Slots

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once.

    Attributes:
        batch_size: passages that are at work at once.
        row_tokens: tokens of prompts that share a row; a prefix with more of them has several rows.
        readings: forwards in which they are read, one part of them after the other.
        slots: for each passage, lists that grow at once, each in a slot of its own (see `slots`); or 0, then those that
            are behind the same prefix grow side by side in its row (see `rows`), as they do in any case in a prefix LM.
    """

    batch_size: int
    row_tokens: int
    readings: int = 1
    slots: int = 0


ON_CPU = Pace(batch_size=16, row_tokens=256, readings=4)
"""A CPU wants to read rows that are alike, and in them little that is hidden from each other: it computes that, too."""
ON_GPU = Pace(batch_size=64, row_tokens=512, readings=8, slots=2)
"""A GPU wants much to do at once."""

_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN's, which plans anew for every length, and here lengths are seldom the same."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "could not create a primitive")
"""How torch and oneDNN say it on a CPU."""


class TransformersGenerator:
    """A base model with its adapters (`generation.Generator`).

    Args:
        model: the base, or the base with adapters on it.
        encoder: its tokenizer.
        bundle: what they were loaded from; gives each stage's adapter, the size of passages, and how lists are written.
        pace: how much is done at once; None is what suits the device.
        share: reads a prefix once for all its requests.
        merge: adds an adapter to the base's weights while it is used (`MergedAdapters`).

    Attributes:
        batch_size: passages that are at work at once. Halved, with a warning, when the device's memory doesn't suffice.
        model: the base.
        use_adapter: makes an adapter active, by its name.
    """

    def __init__(
        self,
        model: "PeftModel | PreTrainedModel",
        encoder: TokenizerEncoder,
        bundle: Bundle,
        *,
        pace: Pace | None = None,
        share: bool = True,
        merge: bool = False,
    ) -> None:
        self.encoder: Encoder = encoder
        self.max_passage = bundle.max_passage
        self.separator = encoder.token(bundle.separator)
        self.joiner = encoder.token(bundle.joiner)
        self.end = encoder.end
        self.model = base_of(model)
        self.use_adapter = MergedAdapters(model).use if merge else partial(use_adapter, model)
        pace = pace or pace_of(self.model.device)
        self.batch_size = pace.batch_size
        self._pace = pace
        # A prefix LM keeps more in its cache than keys and values by position.
        self._growing: Growth = Slots(self.model) if pace.slots and not is_prefix_lm(self.model) else Rows()
        self._yes_and_no = [encoder.yes, encoder.no]
        self._adapters = bundle.adapters
        self._merge = merge
        self._share = share
        self._max_prefix, self._max_length = _limits(self.model)

    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float = 0.0
    ) -> list[list[Listed]]:
        """Lists items under each request's grammar: see `Generator.decode`. `ListDecoder` defines their probability.

        A list that outgrows the model's positions ends behind its last whole item.

        Raises:
            BundleError: a prompt doesn't fit the model.
            LackOfMemoryError: memory doesn't suffice for a single passage.
        """
        lists: dict[int, ListDecoder] = {}

        def wanted(index: int, segment: int) -> Sequence[int]:
            # A list begins when its prompt is read: and anew, when that has to be done again for want of memory.
            position = len(requests[index].prefix) + len(requests[index].suffix)
            lists[index] = ListDecoder(grammars[index], segment=segment, position=position, limit=self._max_length)
            return lists[index].allowed()

        def decode(readings: Iterable[Reading]) -> None:
            self._growing.begin(
                None if self._merge else self._adapters[stage],
                max(len(each.prefix) + len(each.suffix) for each in requests),
                self.batch_size * max(1, self._pace.slots),
            )
            for reading in readings:
                own = [[lists[index] for index in row] for row in reading.rows]
                take_all(own, reading.logits, reading.tokens, end_bias)
                self._growing.admit(reading.prompts, own, end_bias)
                del reading  # and what it holds, before others are read
            self._growing.finish(end_bias)

        self._ask(stage, requests, wanted, decode)
        return [lists[index].found for index in range(len(requests))]

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """P(yes) against no after each request: see `Generator.choose`.

        Raises:
            BundleError: a prompt doesn't fit the model.
            LackOfMemoryError: memory doesn't suffice for a single row.
        """
        chances: dict[int, float] = {}

        def choose(readings: Iterable[Reading]) -> None:
            for _, rows, _, logits in readings:
                for row, of_row in zip(rows, logits.double().softmax(-1)[..., 0].tolist(), strict=True):
                    chances.update(zip(row, of_row, strict=False))  # shorter rows are filled up

        self._ask(stage, requests, lambda *_: self._yes_and_no, choose)
        return [chances[index] for index in range(len(requests))]

    def _ask(
        self,
        stage: str,
        requests: Sequence[Request],
        wanted: Wanted,
        answer: Callable[[Iterable[Reading]], None],
    ) -> None:
        """Reads all prompts with the stage's adapter, batch by batch.

        Args:
            stage: whose adapter.
            requests: the prompts.
            wanted: the tokens whose logits are needed.
            answer: gets the readings of a batch; if memory runs short, again those of a smaller one.
        """
        self._check(requests)
        with _memory():
            self.use_adapter(self._adapters[stage])
        waiting = windows(requests, shared=self._share)
        while waiting:
            batch = waiting[: self.batch_size]
            rows = max(1, self.batch_size // self._pace.readings)
            try:
                with torch.inference_mode(), sdpa_kernel(_ATTENTION):
                    answer(read(self.model, batch, requests, wanted, rows=rows, row_tokens=self._pace.row_tokens))
            except RuntimeError as error:
                self._halve_batch(error)
            else:
                del waiting[: len(batch)]

    def _halve_batch(self, error: RuntimeError) -> None:
        """Makes the best of a lack of memory; raises any other error again."""
        if self.batch_size == 1 or not _is_out_of_memory(error):
            with _memory():
                raise error
        self._growing.release()
        self.batch_size //= 2
        logger.warning("out of memory: going on with a batch size of %d", self.batch_size)

    def _check(self, requests: Sequence[Request]) -> None:
        for request in requests:
            if not request.prefix:
                raise BundleError("a prompt is empty up to its passage's end", hint="begin the templates with a token")
            for what, limit, length in (
                ("the part of a prompt up to the passage's end", self._max_prefix, len(request.prefix)),
                ("a prompt", self._max_length, len(request.prefix) + len(request.suffix)),
            ):
                if length > limit:
                    raise BundleError(
                        f"{what} has {length} tokens, and the model reads {limit}",
                        hint="lower max_passage in bundle.toml",
                    )


def pace_of(device: torch.device) -> Pace:
    """What suits a device."""
    return ON_CPU if device.type == "cpu" else ON_GPU


@contextmanager
def _memory() -> Iterator[None]:
    """Turns torch's lack of memory into an error of ours."""
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        hint = "try a smaller model, or --device cpu"
        raise LackOfMemoryError("the memory doesn't suffice for a batch size of 1", hint=hint) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _limits(model: PreTrainedModel) -> tuple[float, float]:
    """How many tokens of prefix, and of prefix and prompt together, the model has positions for."""
    config = model.config
    limits = (getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window"))
    length = min((limit for limit in limits if limit), default=math.inf)
    return min(length, getattr(config, "max_prefix", length)), length
