"""Greedy decoding of many lists at once, each under its grammar."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from autore_cli.generation import Listed
from autore_cli.grammar import ListGrammar
from autore_cli.model.context import Context
from autore_cli.model.packing import Run

NOT_WANTED = -1


class Choice(NamedTuple):
    """The next token of a list.

    Attributes:
        token: its id.
        log_probability: among the tokens that the grammar allows.
        log_closing: that of the separator and the end together, which close an item.
    """

    token: int
    log_probability: float = 0.0
    log_closing: float = 0.0


class ListDecoder:
    """One list that is being decoded behind a prompt.

    The probability of an item is that of going on to it, of its tokens, and of closing it, all under the grammar:

        P(separator | the item before is closed) * P(token) * P(token | ...) * ... * P(separator or end | ...)

    where the first factor is left out for the first item: its first token competes with the end of an empty list.

    Args:
        grammar: what may be listed.
        segment: the prompt's.
        position: of the first token behind the prompt.
        limit: how many positions the model has. A list that outgrows them is cut off behind its last whole item.

    Attributes:
        found: the finished items.
        done: the list has ended.
    """

    __slots__ = (
        "_allowed",
        "_cursor",
        "_limit",
        "_log_probability",
        "_position",
        "_segment",
        "_unread",
        "done",
        "found",
        "grammar",
    )

    def __init__(self, grammar: ListGrammar, *, segment: int, position: int, limit: float) -> None:
        self.grammar = grammar
        self.found: list[Listed] = []
        self.done = False
        self._cursor = grammar.start()
        self._log_probability = 0.0  # of the current item so far
        self._segment = segment
        self._position = position
        self._limit = limit
        self._unread: list[int] = []
        self._allowed: Sequence[int] = ()
        self._take_forced()

    def allowed(self) -> Sequence[int]:
        """The token ids to choose from: at least two, or none when the list is done."""
        return self._allowed

    def unread(self) -> Run:
        """The tokens that the model has to read before the next choice."""
        return Run(self._segment, self._position, self._unread)

    def take(self, choice: Choice) -> None:
        """Goes on by a chosen token, and by those behind it that have no alternative."""
        self._position += len(self._unread)
        self._unread = []
        self._take(choice)
        self._take_forced()

    def _take_forced(self) -> None:
        while not self.done and len(allowed := self._cursor.allowed()) == 1:
            self._take(Choice(allowed[0]))
        self._allowed = () if self.done else allowed

    def _take(self, choice: Choice) -> None:
        self._unread.append(choice.token)
        if self._cursor.advance(choice.token):
            self.found.append(Listed(self._cursor.items[-1], math.exp(self._log_probability + choice.log_closing)))
            self._log_probability = choice.log_probability - choice.log_closing
        else:
            self._log_probability += choice.log_probability
        self.done = self._cursor.done or self._position + len(self._unread) > self._limit


class Growth(Protocol):
    """How lists grow once their prompts have been read: `rows.Rows` or `slots.Slots`."""

    def begin(self, adapter: str | None, longest: int, most: int, /) -> None:
        """To be called before any list is admitted.

        Args:
            adapter: the one that is active; None if the weights are the same whatever is.
            longest: the tokens of the longest prompt.
            most: how much grows at once: rows or slots.
        """
        ...

    def admit(self, prompts: Context, rows: Sequence[Sequence[ListDecoder]], end_bias: float) -> None:
        """Takes lists in, and lets those that are there grow if there is no room.

        Args:
            prompts: what has been read.
            rows: the lists of each of its rows.
            end_bias: taken off the end token's logit, in nats.
        """
        ...

    def finish(self, end_bias: float) -> None:
        """Lets all lists grow to their ends."""
        ...

    def release(self) -> None:
        """Gives up all lists, and the memory that they take."""
        ...


def take_all(rows: Sequence[Sequence[ListDecoder]], scores: Tensor, wanted: Tensor, end_bias: float) -> None:
    """As `take`, for lists side by side in rows: `scores` and `wanted` are `[rows, lists, wanted]`."""
    places = [(row, column) for row, lists in enumerate(rows) for column, one in enumerate(lists) if not one.done]
    if places:
        row, column = torch.tensor(places, device=scores.device).unbind(1)
        growing = [rows[row][column] for row, column in places]
        take(scores[row, column], wanted.to(scores.device)[row, column], growing, end_bias)


def wanted_by(rows: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """The token ids that each run of each row asks for, `[rows, runs, most]`, filled up with `NOT_WANTED`."""
    runs = max(map(len, rows))
    asked = list(chain.from_iterable([*row, *[()] * (runs - len(row))] for row in rows))
    lengths = np.array([len(ids) for ids in asked])
    table = np.full((len(asked), lengths.max()), NOT_WANTED)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(asked), np.int64)
    return torch.from_numpy(table).view(len(rows), runs, -1)


def take(scores: Tensor, wanted: Tensor, lists: Sequence[ListDecoder], end_bias: float) -> None:
    """Lets each list go on by its likeliest allowed token; of equally likely ones, by that which is named first.

    Args:
        scores: the logits of the allowed tokens, `[lists, wanted]`.
        wanted: which they are; `NOT_WANTED` where there are no more.
        lists: the lists, none of them done.
        end_bias: taken off the end token's logit, in nats.
    """
    controls = torch.tensor([(one.grammar.end, one.grammar.separator) for one in lists], device=scores.device)
    ends, separators = (wanted == control[:, None] for control in controls.unbind(1))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) - end_bias * ends
    log_probabilities = scores.masked_fill(wanted == NOT_WANTED, -math.inf).log_softmax(-1)
    log_closing = log_probabilities.masked_fill(~(ends | separators), -math.inf).logsumexp(-1).clamp(max=0)
    best = log_probabilities.argmax(-1, keepdim=True)
    found = torch.stack(  # one tensor, since every transfer from a GPU waits for it
        [wanted.gather(1, best)[:, 0], log_probabilities.gather(1, best)[:, 0], log_closing], dim=1
    ).tolist()
    for one, (token, log_probability, log_closing_) in zip(lists, found, strict=True):
        one.take(Choice(int(token), log_probability, log_closing_))
