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
    """Lists that grow side by side (`decoding.Growth`)."""

    def __init__(self) -> None:
        self._most = 1
        self._waiting: list[tuple[Context, _Lists]] = []

    def begin(self, _adapter: str | None, _longest: int, most: int, /) -> None:
        """See `Growth.begin`. `most` are rows, each with all its lists."""
        self._most = most
        self.release()  # an error may have left some

    def admit(self, prompts: Context, rows: _Lists, end_bias: float) -> None:
        """See `Growth.admit`. Before there are too many, those that wait grow to their ends."""
        if self._waiting and sum(len(each) for _, each in self._waiting) + len(rows) > self._most:
            self.finish(end_bias)
        self._waiting.append((prompts, rows))

    def finish(self, end_bias: float) -> None:
        """See `Growth.finish`."""
        if not self._waiting:
            return
        rows = [lists for _, each in self._waiting for lists in each]
        prompts = joined([context for context, _ in self._waiting])
        self.release()
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

    def release(self) -> None:
        """See `Growth.release`."""
        self._waiting = []
