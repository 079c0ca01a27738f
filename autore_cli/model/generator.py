"""The Generator over transformers: shared prefixes, packed prompts, constrained greedy decoding.

Requests with the same prefix form a window. A batch of windows is one forward over their prefixes; then the prompts of
each window stand side by side in its row (see `packing`) and are read in one forward, and every further forward reads
the next tokens of all lists that are still growing. What comes out is what each prompt alone would give.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, starmap
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autore_cli.errors import BundleError, ConfigurationError
from autore_cli.generation import Encoder, Listed, Request
from autore_cli.grammar import ListGrammar
from autore_cli.model.adapters import base_of, use_adapter
from autore_cli.model.bundle import Bundle
from autore_cli.model.context import NOTHING, Context, Run
from autore_cli.model.decoding import ListDecoder, complete
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.packing import PREFIX

if TYPE_CHECKING:
    from peft import PeftModel

logger = logging.getLogger(__name__)

BATCH_SIZE = 8
ROW_TOKENS = 1024

_Answer = TypeVar("_Answer")
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
        batch_size: rows that are computed at once. Halved, with a warning, when the device's memory doesn't suffice.
        row_tokens: tokens of prompts that share a row; a window with more of them takes several rows.
    """

    def __init__(
        self,
        model: "PeftModel | PreTrainedModel",
        encoder: TokenizerEncoder,
        bundle: Bundle,
        *,
        batch_size: int = BATCH_SIZE,
        row_tokens: int = ROW_TOKENS,
    ) -> None:
        self.encoder: Encoder = encoder
        self.max_passage = bundle.max_passage
        self.separator = encoder.token(bundle.separator)
        self.joiner = encoder.token(bundle.joiner)
        self.end = encoder.end
        self.batch_size = batch_size
        self._yes_and_no = [encoder.yes, encoder.no]
        self._row_tokens = row_tokens
        self._adapters = bundle.adapters
        self._adapted = model
        self._model = base_of(model)
        self._max_prefix, self._max_length = _limits(self._model)

    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float = 0.0
    ) -> list[list[Listed]]:
        """Lists items under each request's grammar: see `Generator.decode`. `ListDecoder` defines their probability.

        A list that outgrows the model's positions ends behind its last whole item.

        Raises:
            BundleError: a prompt doesn't fit the model.
            ConfigurationError: memory doesn't suffice for a single row.
        """

        def decode(prompts: Context, rows: _Rows, logits: Tensor) -> list[list[list[Listed]]]:
            lists = [
                [self._list(requests[index], grammars[index], run) for run, index in enumerate(row)] for row in rows
            ]
            complete(prompts, lists, logits, end_bias)
            return [[one.found for one in row] for row in lists]

        return self._answers(stage, requests, decode)

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """P(yes) against no after each request: see `Generator.choose`.

        Raises:
            BundleError: a prompt doesn't fit the model.
            ConfigurationError: memory doesn't suffice for a single row.
        """

        def choose(_: Context, rows: _Rows, logits: Tensor) -> list[list[float]]:
            chances: list[list[float]] = logits[..., self._yes_and_no].double().softmax(-1)[..., 0].tolist()
            return [chances_of_row[: len(row)] for row, chances_of_row in zip(rows, chances, strict=True)]

        return self._answers(stage, requests, choose)

    def _answers(
        self, stage: str, requests: Sequence[Request], answer: Callable[[Context, _Rows, Tensor], list[list[_Answer]]]
    ) -> list[_Answer]:
        """Reads all prompts with the stage's adapter, batch by batch.

        Args:
            stage: whose adapter.
            requests: the prompts.
            answer: finds the answer to each prompt of some rows, given their context and the logits behind each prompt.

        Returns:
            The answers, in the order of the requests.
        """
        self._check(requests)
        use_adapter(self._adapted, self._adapters[stage])
        answers: dict[int, _Answer] = {}
        windows = _windows(requests)
        while windows:
            batch = windows[: self.batch_size]
            try:
                with torch.inference_mode():
                    for prompts, rows, logits in self._read(batch, requests):
                        found = answer(prompts, rows, logits)
                        answers.update(zip(chain(*rows), chain(*found), strict=True))
            except RuntimeError as error:
                self._halve_batch(error)
            else:
                del windows[: len(batch)]
        return [answers[index] for index in range(len(requests))]

    def _halve_batch(self, error: RuntimeError) -> None:
        """Makes the best of a lack of memory; raises any other error again."""
        if not _is_out_of_memory(error):
            raise error
        if self.batch_size == 1:
            hint = "try a smaller model, or --device cpu"
            raise ConfigurationError("the memory doesn't suffice for a batch size of 1", hint=hint) from error
        self.batch_size //= 2
        logger.warning("out of memory: going on with a batch size of %d", self.batch_size)

    def _read(self, windows: Sequence[_Window], requests: Sequence[Request]) -> Iterator[tuple[Context, _Rows, Tensor]]:
        """Reads the prefixes of some windows at once, then their prompts, a few rows at a time."""
        prefixes = Context(self._model, rows=len(windows))
        behind_prefix = prefixes.read([[Run(PREFIX, 0, window.prefix)] for window in windows])
        packs = [(row, pack) for row, window in enumerate(windows) for pack in self._packs(window, requests)]
        for start in range(0, len(packs), self.batch_size):
            of_prefix, rows = zip(*packs[start : start + self.batch_size], strict=True)
            prompts = prefixes.select(of_prefix)
            logits = prompts.read([[_prompt(requests[index], run) for run, index in enumerate(row)] for row in rows])
            for place, row in enumerate(rows):
                bare = [run for run, index in enumerate(row) if not requests[index].suffix]
                logits[place, bare] = behind_prefix[of_prefix[place]]
            yield prompts, rows, logits

    def _packs(self, window: _Window, requests: Sequence[Request]) -> list[list[int]]:
        """Divides a window's requests into rows."""
        packs: list[list[int]] = []
        filled = math.inf
        for index in window.requests:
            filled += len(requests[index].suffix)
            if filled > self._row_tokens:
                packs.append([])
                filled = len(requests[index].suffix)
            packs[-1].append(index)
        return packs

    def _list(self, request: Request, grammar: ListGrammar, run: int) -> ListDecoder:
        position = len(request.prefix) + len(request.suffix)
        return ListDecoder(grammar, segment=_segment(run), position=position, limit=self._max_length)

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


def _windows(requests: Sequence[Request]) -> list[_Window]:
    """Groups requests by prefix; long ones first, so that a batch's rows are alike and memory runs short early."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.prefix, []).append(index)
    return sorted(starmap(_Window, groups.items()), key=lambda window: -len(window.prefix))


def _prompt(request: Request, run: int) -> Run:
    """What a row holds of a request: its suffix, or if that is empty something in its place."""
    return Run(_segment(run), len(request.prefix), request.suffix) if request.suffix else NOTHING


def _segment(run: int) -> int:
    """The segment of a row's prompt."""
    return PREFIX + 1 + run


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _limits(model: PreTrainedModel) -> tuple[float, float]:
    """How many tokens of prefix, and of prefix and prompt together, the model has positions for."""
    config = model.config
    limits = (getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window"))
    length = min((limit for limit in limits if limit), default=math.inf)
    return min(length, getattr(config, "max_prefix", length)), length
