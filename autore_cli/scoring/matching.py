"""Pairing predictions with gold facts, each of either at most once."""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

Right = TypeVar("Right", bound=Hashable)


class Matching(Generic[Right]):
    """A largest possible matching, grown by one left node at a time along augmenting paths (Berge 1957; Kuhn 1955).

    A left node that was matched stays matched, so after every `add` the matching is as large as any among the nodes
    added so far: with nodes added by falling score it is right for every threshold at once.

    Attributes:
        owner: the left node that each matched right node belongs to; left nodes count from 0 in order of `add`.
    """

    def __init__(self) -> None:
        self.owner: dict[Right, int] = {}
        self._options: list[Sequence[Right]] = []
        self._holding: dict[int, Right] = {}

    def add(self, options: Sequence[Right]) -> bool:
        """Adds a left node that may be matched with any of `options`; whether one could be freed for it."""
        left = len(self._options)
        self._options.append(options)
        reached_by: dict[Right, int] = {}
        queue = deque([left])
        while queue:
            current = queue.popleft()
            for right in self._options[current]:
                if right in reached_by:
                    continue
                reached_by[right] = current
                if right not in self.owner:
                    self._augment(right, reached_by, left)
                    return True
                queue.append(self.owner[right])
        return False

    def _augment(self, right: Right, reached_by: dict[Right, int], left: int) -> None:
        """Hands `right` and every right node on the path back to `left` to the left node that reached it."""
        while True:
            taker = reached_by[right]
            given_up = self._holding.get(taker)
            self.owner[right] = taker
            self._holding[taker] = right
            if taker == left or given_up is None:
                return
            right = given_up
