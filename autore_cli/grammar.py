"""A list grammar over token ids, for constrained decoding: items from tries, a separator, the end.

    list = end | item (separator item)* end
    item = entry of field 0, joiner, entry of field 1, ...

No item comes twice and no walk meets a dead end: whatever `Cursor.allowed` offers can be completed. Names stand in a
`Trie`, shared by all the cursors that list from it; a cursor holds only what its own items have used up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

ROOT = 0
NO_ENTRY = -1


class Trie:
    """Token sequences and their indices. Immutable once built, so that many cursors can share it.

    Equal sequences count as one, under the first one's index; an empty sequence has an index but is never produced.
    `len` is the number of distinct sequences that are not empty.

    Attributes:
        entries: the sequences, by index.
        children: for each node, the node that each token leads to. Node 0 is the root.
        terminal: for each node, the index of the entry that ends there, or -1.
        counts: for each node, how many distinct entries end there or below.
    """

    __slots__ = ("_pruned", "_vocabulary", "children", "counts", "entries", "terminal")

    def __init__(self, entries: Sequence[Sequence[int]]) -> None:
        self.entries = tuple(map(tuple, entries))
        self.children: list[dict[int, int]] = [{}]
        self.terminal = [NO_ENTRY]
        self.counts = [0]
        self._pruned: dict[frozenset[int], Trie] = {}
        indices: dict[tuple[int, ...], int] = {}
        for index, entry in enumerate(self.entries):
            if entry and indices.setdefault(entry, index) == index:
                self._insert(entry, index)
        self._vocabulary = frozenset[int]().union(*indices)

    def __len__(self) -> int:
        return self.counts[ROOT]

    def without(self, tokens: frozenset[int]) -> "Trie":
        """The trie of the entries that hold none of `tokens`, under the same indices.

        It is this trie itself when no entry does, else a second one, built once for equal `tokens`.
        """
        if self._vocabulary.isdisjoint(tokens):
            return self
        if tokens not in self._pruned:
            self._pruned[tokens] = Trie([entry if tokens.isdisjoint(entry) else () for entry in self.entries])
        return self._pruned[tokens]

    def path(self, index: int) -> list[int]:
        """The nodes from the root to the end of an entry, both included."""
        nodes = [ROOT]
        for token in self.entries[index]:
            nodes.append(self.children[nodes[-1]][token])
        return nodes

    def _insert(self, entry: tuple[int, ...], index: int) -> None:
        children, counts = self.children, self.counts
        node = ROOT
        counts[ROOT] += 1
        for token in entry:
            child = children[node].get(token)
            if child is None:
                child = children[node][token] = len(children)
                children.append({})
                counts.append(0)
                self.terminal.append(NO_ENTRY)
            node = child
            counts[node] += 1
        self.terminal[node] = index


@dataclass(frozen=True, slots=True)
class ListGrammar:
    """A list of distinct items: item (separator item)* end, or just end.

    An item is one entry of each field's trie in turn, with `joiner` between the fields: one field makes a list of
    names, three a list of triples. Entries that hold the separator, the end or the joiner can't be told from the
    list around them, so they are left out (`fields` keeps the tries without them) and what was decoded parses in one
    way only.

    Raises:
        ValueError: no fields, several fields without a joiner, control ids that are not distinct, or `max_items`
            below 0.
    """

    fields: tuple[Trie, ...]
    separator: int
    end: int
    joiner: int | None = None
    max_items: int = 64

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("a list grammar needs a field")
        if self.joiner is None and len(self.fields) > 1:
            raise ValueError("an item of several fields needs a joiner")
        if len({self.separator, self.end, self.joiner}) < 3:
            raise ValueError("separator, end and joiner must differ")
        if self.max_items < 0:
            raise ValueError(f"max_items must be 0 or more, not {self.max_items}")
        controls = frozenset(token for token in (self.separator, self.end, self.joiner) if token is not None)
        object.__setattr__(self, "fields", tuple(trie.without(controls) for trie in self.fields))

    def start(self) -> "Cursor":
        """A cursor before the first token of a list."""
        return Cursor(self)


class Cursor:
    """Where one decoded list stands.

    Attributes:
        items: the finished items so far, each the entry's index in every field.
        done: whether the end was taken.
    """

    __slots__ = ("_grammar", "_left", "_limit", "_node", "_prefix", "done", "items")

    def __init__(self, grammar: ListGrammar) -> None:
        self.items: list[tuple[int, ...]] = []
        self.done = False
        self._grammar = grammar
        self._limit = min(grammar.max_items, prod(map(len, grammar.fields)))
        self._prefix: tuple[int, ...] = ()  # the finished fields of the current item
        self._node = ROOT  # in the trie of the current field
        # By the finished fields before it, how many unlisted items a node still leads to; a node that is not there
        # has lost none. A whole item, once listed, stands here as a prefix whose root leads nowhere.
        self._left: dict[tuple[int, ...], dict[int, int]] = {}

    def allowed(self) -> Sequence[int]:
        """The token ids that may come next: names' tokens in order of their entries, then the control ids.

        Never empty until `done`. Takes time in proportion to the children of one trie node.
        """
        left = self._left.get(self._prefix, {})
        return [token for token, node in self._children().items() if left.get(node, 1)] + self._controls()

    def advance(self, token: int) -> bool:
        """Takes a token, in constant time but for the tokens of an item that it completes.

        Returns:
            Whether the token completed an item: it was a separator, or the end right after an item.

        Raises:
            ValueError: the token is not one of `allowed`.
        """
        child = self._children().get(token, ROOT)
        if child != ROOT and self._left.get(self._prefix, {}).get(child, 1):
            self._node = child
            return False
        if token not in self._controls():
            raise ValueError(f"token {token} is not allowed here")
        self.done = token == self._grammar.end
        if self._node == ROOT:
            return False
        self._prefix = self._finished()
        self._node = ROOT
        if token == self._grammar.joiner:
            return False
        self._record(self._prefix)
        self._prefix = ()
        return True

    def _children(self) -> Mapping[int, int]:
        if self.done or not self._limit:
            return {}
        return self._grammar.fields[len(self._prefix)].children[self._node]

    def _controls(self) -> list[int]:
        grammar = self._grammar
        if self.done:
            return []
        if self._node == ROOT:
            return [] if self._prefix or self.items else [grammar.end]
        finished = self._finished()
        if finished[-1] == NO_ENTRY or not self._left.get(finished, {}).get(ROOT, 1):
            return []
        if grammar.joiner is not None and len(finished) < len(grammar.fields):
            return [grammar.joiner]
        return [grammar.separator, grammar.end] if len(self.items) + 1 < self._limit else [grammar.end]

    def _finished(self) -> tuple[int, ...]:
        return (*self._prefix, self._grammar.fields[len(self._prefix)].terminal[self._node])

    def _record(self, item: tuple[int, ...]) -> None:
        fields = self._grammar.fields
        for depth, (trie, entry) in enumerate(zip(fields, item, strict=True)):
            completions = prod(map(len, fields[depth + 1 :]))
            left = self._left.setdefault(item[:depth], {})
            for node in trie.path(entry):
                left[node] = left.get(node, trie.counts[node] * completions) - 1
        self._left[item] = {ROOT: 0}
        self.items.append(item)
