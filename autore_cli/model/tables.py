"""Reading a TOML table with types, so that all its problems can be reported at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T", str, int, float, list[Any], dict[str, Any])

_NAMES = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


class Table:
    """A TOML table that is being checked.

    Attributes:
        content: the table as tomllib read it.
        problems: what is wrong so far, here and in all tables of the same file.
    """

    def __init__(self, content: Mapping[str, Any], place: str = "", problems: list[str] | None = None) -> None:
        self.content = content
        self.problems: list[str] = [] if problems is None else problems
        self._place = place
        self._known: set[str] = set()

    def complain(self, key: str, problem: str) -> None:
        """Notes a problem with a key."""
        self.problems.append(f"{self._name(key)} {problem}")

    def get(
        self,
        key: str,
        kind: type[_T],
        default: _T | None = None,
        *,
        what: str = "",
        valid: Callable[[_T], bool] = lambda _: True,
    ) -> _T:
        """The value of `key`, which must be of the type `kind` and `valid`.

        Without a default the key is required. After a problem, what comes back is a default of the type.

        Args:
            key: the key.
            kind: str, int, float (whole numbers too), list or dict.
            default: stands in for a missing key.
            what: what a valid value is, for the message.
            valid: whether a value can be used.
        """
        value = self.optional(key, kind, what=what, valid=valid)
        if value is not None:
            return value
        if default is None and key not in self.content:
            self.complain(key, "is missing")
        return kind() if default is None else default

    def optional(
        self, key: str, kind: type[_T], *, what: str = "", valid: Callable[[_T], bool] = lambda _: True
    ) -> _T | None:
        """As `get`, but None for a missing key and after a problem."""
        self._known.add(key)
        if key not in self.content:
            return None
        value = self.content[key]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is kind and valid(value):
            return value
        self.complain(key, f"must be {what or _NAMES[kind]}, not {value!r}")
        return None

    def table(self, key: str, default: dict[str, Any] | None = None) -> "Table":
        """The table under `key`, with the same list of problems. Call `close` on it too."""
        return Table(self.get(key, dict, default), self._name(key), self.problems)

    def close(self) -> None:
        """Complains of keys that nobody asked for."""
        for key in self.content:
            if key not in self._known:
                self.complain(key, "is not a key of this format")

    def _name(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key
