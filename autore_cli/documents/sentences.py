"""Where sentences end, by rule: marks, abbreviations, initials, and what the next word looks like."""

import re

from autore_cli.documents.english import ABBREVIATIONS_ANYWHERE, ABBREVIATIONS_INSIDE, OPENERS
from autore_cli.records import Span

_STOPS = ".!?…؟۔։።፧।॥။‼⁇⁈⁉"
_END = re.compile(
    rf"""
      (?<![{_STOPS}])[{_STOPS}]++["'”’»)\]}}]*+(?=\s|\Z)
    | [。！？｡．]++[」』”’）》〉】]*+
    | \n[^\S\n]*+\n
    """,
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[^\s(\[{\"“‘—–-]*\Z")
_NEXT_WORD = re.compile(r"\s*+[\"'“‘«(\[{]*+(\w{0,20})")
_LONGEST_ABBREVIATION = 12


def sentences(text: str) -> list[Span]:
    """The sentences of a text, without the white space around them; together they hold all else.

    A blank line ends a sentence, a single line break doesn't.
    """
    ends = [match.end() for match in _END.finditer(text) if _ends_sentence(text, match)]
    return [
        trimmed
        for start, end in zip([0, *ends], [*ends, len(text)], strict=True)
        if (trimmed := trim(text, start, end)) is not None
    ]


def trim(text: str, start: int, end: int) -> Span | None:
    """The stretch without the white space at its ends; None when nothing is left."""
    piece = text[start:end]
    inner = piece.lstrip()
    if not inner:
        return None
    start += len(piece) - len(inner)
    return start, start + len(inner.rstrip())


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    if match[0][0] not in _STOPS:
        return True
    follows = _NEXT_WORD.match(text, match.end())
    following = follows[1] if follows else ""
    if following[:1].islower():
        return False
    if match[0] != ".":
        return True
    earliest = max(0, match.start() - _LONGEST_ABBREVIATION)
    last = _LAST_WORD.search(text, earliest, match.start())
    word = last[0] if last else ""
    if word.lower() in ABBREVIATIONS_INSIDE or (len(word) == 1 and word.isupper()):
        return False
    if word.lower() in ABBREVIATIONS_ANYWHERE or "." in word:
        return following.lower() in OPENERS
    return True
