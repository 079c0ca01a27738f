"""The Generator over transformers: shared prefixes, packed prompts, constrained greedy decoding.

Requests with the same prefix form a window. A batch of windows is one forward over their prefixes; then the prompts of
each window stand side by side in its row (see `packing`) and are read in one forward, and every further forward reads
the next tokens of all lists that are still growing. What comes out is what each prompt alone would give.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from autore_cli.errors import BundleError, LackOfMemoryError
from autore_cli.generation import Encoder, Listed, Request
from autore_cli.grammar import ListGrammar
from autore_cli.model.adapters import MergedAdapters, base_of, use_adapter
from autore_cli.model.bundle import Bundle
from autore_cli.model.context import NOTHING, Context, Run, is_prefix_lm
from autore_cli.model.decoding import ListDecoder, complete, take_all, wanted_by
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.packing import PREFIX
from autore_cli.model.slots import Slots

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done at once.

    Attributes:
        batch_size: rows that are computed at once.
        row_tokens: tokens of prompts that share a row; a prefix with more of them has several rows.
        slots: how many lists grow at once, each in a slot of its own (see `slots`); or 0, then those that are behind
            the same prefix grow side by side in its row.
    """

    batch_size: int
    row_tokens: int
    slots: int = 0


ON_CPU = Pace(batch_size=4, row_tokens=256)
"""A CPU wants rows that are alike, and in them little that is hidden from each other, for it computes that, too."""
ON_GPU = Pace(batch_size=16, row_tokens=512, slots=128)
"""A GPU wants much to do at once."""

_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN's, which plans anew for every length, and here lengths are seldom the same."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "could not create a primitive")
"""How torch and oneDNN say it on a CPU."""

_Rows = Sequence[Sequence[int]]
"""The requests of each row, by their indices."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A prefix, and the indices of its requests."""

    prefix: tuple[int, ...]
    requests: list[int]


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
        batch_size: rows that are computed at once. Halved, with a warning, when the device's memory doesn't suffice.
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
        self._row_tokens = pace.row_tokens
        # A prefix LM keeps more in its cache than keys and values by position.
        self._slots = Slots(self.model, pace.slots) if pace.slots and not is_prefix_lm(self.model) else None
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
            LackOfMemoryError: memory doesn't suffice for a single row.
        """
        lists: dict[int, ListDecoder] = {}

        def wanted(index: int, segment: int) -> Sequence[int]:
            position = len(requests[index].prefix) + len(requests[index].suffix)
            lists[index] = ListDecoder(grammars[index], segment=segment, position=position, limit=self._max_length)
            return lists[index].allowed()

        def decode(prompts: Context, rows: _Rows, logits: Tensor, tokens: Tensor) -> None:
            own = [[lists[index] for index in row] for row in rows]
            take_all(own, logits, tokens, end_bias)
            (self._slots.admit if self._slots else complete)(prompts, own, end_bias)

        if self._slots:
            longest = max((len(each.prefix) + len(each.suffix) for each in requests), default=0)
            self._slots.begin(None if self._merge else self._adapters[stage], longest)
        self._ask(stage, requests, wanted, decode)
        if self._slots:
            with _memory():
                self._slots.finish(end_bias)
        return [lists[index].found for index in range(len(requests))]

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """P(yes) against no after each request: see `Generator.choose`.

        Raises:
            BundleError: a prompt doesn't fit the model.
            LackOfMemoryError: memory doesn't suffice for a single row.
        """
        chances: dict[int, float] = {}

        def choose(_: Context, rows: _Rows, logits: Tensor, __: Tensor) -> None:
            for row, of_row in zip(rows, logits.double().softmax(-1)[..., 0].tolist(), strict=True):
                chances.update(zip(row, of_row, strict=False))  # shorter rows are filled up

        self._ask(stage, requests, lambda *_: self._yes_and_no, choose)
        return [chances[index] for index in range(len(requests))]

    def _ask(
        self,
        stage: str,
        requests: Sequence[Request],
        wanted: Callable[[int, int], Sequence[int]],
        answer: Callable[[Context, _Rows, Tensor, Tensor], None],
    ) -> None:
        """Reads all prompts with the stage's adapter, batch by batch.

        Args:
            stage: whose adapter.
            requests: the prompts.
            wanted: the tokens whose logits a request asks for, by its index and its segment in its row.
            answer: gets rows that have been read: their context, their requests, and the logits of the wanted tokens
                behind each, with these tokens, `[rows, requests, wanted]`.
        """
        self._check(requests)
        with _memory():
            self.use_adapter(self._adapters[stage])
        windows = self._windows(requests)
        while windows:
            batch = windows[: self.batch_size]
            try:
                with torch.inference_mode(), sdpa_kernel(_ATTENTION):
                    for prompts, rows, tokens, logits in self._read(batch, requests, wanted):
                        answer(prompts, rows, logits, tokens)
            except RuntimeError as error:
                self._halve_batch(error)
            else:
                del windows[: len(batch)]

    def _halve_batch(self, error: RuntimeError) -> None:
        """Makes the best of a lack of memory; raises any other error again."""
        if self.batch_size == 1 or not _is_out_of_memory(error):
            with _memory():
                raise error
        self.batch_size //= 2
        logger.warning("out of memory: going on with a batch size of %d", self.batch_size)

    def _read(
        self, windows: Sequence[_Window], requests: Sequence[Request], wanted: Callable[[int, int], Sequence[int]]
    ) -> Iterator[tuple[Context, _Rows, Tensor, Tensor]]:
        """Reads the prefixes of some windows at once, then their prompts, a few rows at a time: see `_ask`."""
        prefixes = Context(self.model, rows=len(windows))
        behind_prefix = prefixes.read([[Run(PREFIX, 0, window.prefix)] for window in windows])
        packs = [(row, pack) for row, window in enumerate(windows) for pack in self._packs(window, requests)]
        packs.sort(key=lambda pack: -sum(len(requests[index].suffix) for index in pack[1]))
        for start in range(0, len(packs), self.batch_size):
            of_prefix, rows = zip(*packs[start : start + self.batch_size], strict=True)
            prompts = prefixes.select(of_prefix)
            tokens = wanted_by([[wanted(index, _segment(run)) for run, index in enumerate(row)] for row in rows])
            tokens = tokens.to(self.model.device)
            logits = prompts.read(
                [[_prompt(requests[index], run) for run, index in enumerate(row)] for row in rows], tokens
            )
            for place, row in enumerate(rows):
                for run in (run for run, index in enumerate(row) if not requests[index].suffix):
                    logits[place, run] = behind_prefix[of_prefix[place], 0, tokens[place, run].clamp(min=0)]
            yield prompts, rows, tokens, logits

    def _packs(self, window: _Window, requests: Sequence[Request]) -> list[list[int]]:
        """Divides a window's requests into rows of about the same length."""
        lengths = [len(requests[index].suffix) for index in window.requests]
        rows = max(1, math.ceil(sum(lengths) / self._row_tokens))
        packs: list[list[int]] = [[] for _ in range(rows)]
        before = 0
        for index, length in zip(window.requests, lengths, strict=True):
            packs[min(before * rows // max(sum(lengths), 1), rows - 1)].append(index)
            before += length
        return [pack for pack in packs if pack]

    def _windows(self, requests: Sequence[Request]) -> list[_Window]:
        """Groups requests by prefix; long ones first, so that a batch's rows are alike and memory runs short early."""
        groups: dict[Hashable, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.prefix if self._share else index, []).append(index)
        windows = [_Window(requests[group[0]].prefix, group) for group in groups.values()]
        return sorted(windows, key=lambda window: -len(window.prefix))

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


def _prompt(request: Request, run: int) -> Run:
    """What a row holds of a request: its suffix, or if that is empty something in its place."""
    return Run(_segment(run), len(request.prefix), request.suffix) if request.suffix else NOTHING


def _segment(run: int) -> int:
    """The segment of a row's prompt."""
    return PREFIX + 1 + run


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
