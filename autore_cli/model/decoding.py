"""Greedy decoding of many lists at once, each under its grammar."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from autore_cli.generation import Listed
from autore_cli.grammar import ListGrammar
from autore_cli.model.context import Context, Run


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
        self._take_forced()

    def allowed(self) -> Sequence[int]:
        """The token ids to choose from, at least two."""
        return self._cursor.allowed()

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

    def _take(self, choice: Choice) -> None:
        self._unread.append(choice.token)
        if self._cursor.advance(choice.token):
            self.found.append(Listed(self._cursor.items[-1], math.exp(self._log_probability + choice.log_closing)))
            self._log_probability = choice.log_probability - choice.log_closing
        else:
            self._log_probability += choice.log_probability
        self.done = self._cursor.done or self._position + len(self._unread) > self._limit


def complete(prompts: Context, rows: Sequence[Sequence[ListDecoder]], logits: Tensor, end_bias: float = 0.0) -> None:
    """Decodes lists to their ends.

    Args:
        prompts: what has been read.
        rows: the lists of each of its rows.
        logits: behind each list's prompt, `[rows, lists, vocabulary]`.
        end_bias: taken off the end token's logit, in nats.
    """
    while places := _undone(rows):
        growing = [rows[row][column] for row, column in places]
        for decoder, choice in zip(growing, choose(logits, places, growing, end_bias), strict=True):
            decoder.take(choice)
        rows = [[decoder for decoder in lists if not decoder.done] for lists in rows]
        kept = [row for row, lists in enumerate(rows) if lists]
        if not kept:
            return
        if len(kept) < len(rows):
            prompts, rows = prompts.select(kept), [rows[row] for row in kept]
        logits = prompts.read([[decoder.unread() for decoder in lists] for lists in rows])


def choose(
    logits: Tensor, places: Sequence[tuple[int, int]], lists: Sequence[ListDecoder], end_bias: float
) -> list[Choice]:
    """The likeliest allowed token of each list; of equally likely ones, that which the grammar names first.

    Args:
        logits: `[rows, columns, vocabulary]`.
        places: each list's row and column.
        lists: the lists, none of them done.
        end_bias: taken off the end token's logit, in nats.
    """
    device = logits.device
    allowed = [decoder.allowed() for decoder in lists]
    lengths = torch.tensor([len(ids) for ids in allowed], device=device)
    # an entry for each allowed token of each list, which then go into a table of lists by tokens
    tokens = torch.tensor(list(chain.from_iterable(allowed)), device=device)
    owner = torch.arange(len(lists), device=device).repeat_interleave(lengths)
    column = torch.arange(len(tokens), device=device) - (lengths.cumsum(0) - lengths)[owner]

    def table(entries: Tensor, filling: float) -> Tensor:
        return entries.new_full((len(lists), int(lengths.max())), filling).index_put((owner, column), entries)

    ends = torch.tensor([decoder.grammar.end for decoder in lists], device=device)[owner]
    separators = torch.tensor([decoder.grammar.separator for decoder in lists], device=device)[owner]
    rows, columns = torch.tensor(places, device=device)[owner].unbind(1)
    scores = logits[rows, columns, tokens]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) - end_bias * (tokens == ends)
    log_probabilities = table(scores, -math.inf).log_softmax(-1)
    best = log_probabilities.argmax(-1, keepdim=True)
    closing = table((tokens == ends) | (tokens == separators), False)
    log_closing = log_probabilities.masked_fill(~closing, -math.inf).logsumexp(-1).clamp(max=0)
    chosen = table(tokens, 0).gather(1, best)
    return [
        Choice(*choice)
        for choice in zip(
            chosen[:, 0].tolist(), log_probabilities.gather(1, best)[:, 0].tolist(), log_closing.tolist(), strict=True
        )
    ]


def _undone(rows: Sequence[Sequence[ListDecoder]]) -> list[tuple[int, int]]:
    return [(row, column) for row, lists in enumerate(rows) for column, one in enumerate(lists) if not one.done]
