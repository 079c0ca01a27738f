"""How much is read, so that no input fills the memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from autore_cli.errors import InputError

MAX_CHARS = 1_000_000
"""Characters of a document: more than most novels have, and minutes of work for a small model."""

_BYTES_OF_CHARACTER = 4
_BYTES_OF_ESCAPE = 12  # JSON's way to write a character beyond the basic plane: \ud83e\udd9c
_BYTES_OF_FIELDS = 2**20  # for all that is in a line of JSON besides the text


@dataclass(frozen=True, slots=True)
class Limits:
    """`chars` of a document, and what follows from that for what it is written in."""

    chars: int

    @property
    def text(self) -> int:
        """Bytes of a plain text."""
        return self.chars * _BYTES_OF_CHARACTER

    @property
    def line(self) -> int:
        """Bytes of a line of JSON."""
        return self.chars * _BYTES_OF_ESCAPE + _BYTES_OF_FIELDS

    @property
    def docred(self) -> int:
        """Bytes of a DocRED file, which is read whole: seven times Re-DocRED's largest."""
        return 2**28

    def allow(self, sents: Sequence[Sequence[str]]) -> bool:
        """Whether tokens might make a text that isn't too long: each has a character or more, and touches the next."""
        return sum(len(token) + 1 for tokens in sents for token in tokens) <= 2 * self.chars

    def too_long(self, place: str) -> InputError:
        """The error that a text is."""
        return InputError(
            f"the text is longer than {self.chars:,} characters", where=place, hint="split it, or raise --max-chars"
        )
