"""Decoding where little is computed at once, as on a CPU: lists grow side by side in the rows that they were read in.

Rows that were read one after the other grow together, as a step costs the reading of all weights, however few tokens it
is about.
"""

from collections.abc import Sequence

from autore_cli.model.context import Context, joined
from autore_cli.model.decoding import ListDecoder, take_all, wanted_by

_Lists = Sequence[Sequence[ListDecoder]]
"""The lists of each row."""


class Rows:
    """Lists that grow side by side."""

    def __init__(self) -> None:
        self._most = 1
        self._waiting: list[tuple[Context, _Lists]] = []

    def begin(self, _adapter: str | None, _longest: int, rows: int) -> None:
        """To be called before any list is admitted: see `slots.Slots`, which is another way to do the same.

        Args:
            rows: that grow at once; a few more if as many are admitted at once.
        """
        self._most = rows
        self._waiting = []  # an error may have left some

    def admit(self, prompts: Context, rows: _Lists, end_bias: float) -> None:
        """Takes lists in; once there are enough, they grow to their ends.

        Args:
            prompts: what has been read.
            rows: the lists of each of its rows.
            end_bias: taken off the end token's logit, in nats.
        """
        self._waiting.append((prompts, rows))
        if sum(len(lists) for _, lists in self._waiting) >= self._most:
            self.finish(end_bias)

    def finish(self, end_bias: float) -> None:
        """Lets all lists grow to their ends."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            contexts, rows = zip(*waiting, strict=True)
            _complete(joined(contexts), [lists for each in rows for lists in each], end_bias)


def _complete(prompts: Context, rows: _Lists, end_bias: float) -> None:
    """Decodes the lists of each row to their ends."""
    while True:
        rows = [[one for one in lists if not one.done] for lists in rows]
        kept = [row for row, lists in enumerate(rows) if lists]
        if not kept:
            return
        if len(kept) <= len(rows) * 3 // 4:  # to leave rows out is to copy the others
            prompts, rows = prompts.select(kept), [rows[row] for row in kept]
        wanted = wanted_by([[one.allowed() for one in lists] for lists in rows])
        scores = prompts.read([[one.unread() for one in lists] for lists in rows], wanted)
        take_all(rows, scores, wanted, end_bias)
