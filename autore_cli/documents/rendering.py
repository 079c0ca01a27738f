"""Tokens to natural text: `Paris , France .` becomes `Paris, France.`, with every token's place.

DocRED's tokens don't say where spaces stood, so the rules guess as a typographer would: closing marks touch the token
before them, opening marks the token after, hyphens and slashes both.
"""

import re
from collections.abc import Sequence

from autore_cli.records import Span

_CLOSING = re.compile(r"[,.;:!?…)\]}%”’′″]+[-—]?|['’](?:s|re|ve|ll|m|d|t)|n['’]t", re.IGNORECASE)
_OPENING = re.compile(r"[(\[{“‘¿¡]+|``|[A-Z]{0,3}[$£€¥]|°")
_NUMBER = re.compile(r"\d[\d.,']*")
_MONTH = re.compile(r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?")
_CONJUNCTION = re.compile(r"and|or|to", re.IGNORECASE)
_ELISION = re.compile(r".*(?:[sxz]|in)", re.IGNORECASE)
_QUOTES = ('"', "''", "'")

_Touch = tuple[bool, bool]
"""Whether a token touches the token before it, and the token after it."""

_APART, _BEFORE, _AFTER, _BOTH = (False, False), (True, False), (False, True), (True, True)


def render(sents: Sequence[Sequence[str]], *, natural: bool = True) -> tuple[str, list[list[Span]]]:
    """Writes tokenised sentences as one text.

    Args:
        sents: the tokens of each sentence.
        natural: False joins all tokens by single spaces, which is how DocRED's own names read.

    Returns:
        The text, its sentences joined by one space, and the span of every token: `text[start:end]` is the token. In
        natural text a token of white space alone has an empty span: its neighbours say whether there is a space.
    """
    pieces: list[str] = []
    spans: list[list[Span]] = []
    length = 0
    spacer = _Spacer()
    for tokens in sents:
        written = [token for token in tokens if token.strip()] if natural else tokens
        spaces = iter(spacer.spaces(written) if natural else [True] * len(written))
        row: list[Span] = []
        for token in tokens:
            if natural and not token.strip():
                row.append((length, length))
                continue
            space = " " if next(spaces) and pieces else ""
            start = length + len(space)
            length = start + len(token)
            pieces += (space, token)
            row.append((start, length))
        spans.append(row)
    return "".join(pieces), spans


class _Spacer:
    """Says before which tokens a space stands, sentence by sentence, for a quotation may run over several."""

    def __init__(self) -> None:
        self._open = dict.fromkeys(_QUOTES, False)

    def spaces(self, tokens: Sequence[str]) -> list[bool]:
        """Whether a space stands before each token of the next sentence."""
        left = {quote: tokens.count(quote) for quote in _QUOTES}
        for quote in _QUOTES:
            # A quotation left open in a sentence before goes on only if this one has a mark to close it.
            self._open[quote] = self._open[quote] and left[quote] % 2 == 1
        touches: list[_Touch] = []
        for i, token in enumerate(tokens):
            if token in left:
                left[token] -= 1
                touches.append(self._quote(tokens, i, left[token]))
            else:
                touches.append(_touch(tokens, i))
        return [i == 0 or not (touches[i][0] or touches[i - 1][1]) for i in range(len(tokens))]

    def _quote(self, tokens: Sequence[str], i: int, left: int) -> _Touch:
        """Pairs straight quotes; without a partner they are an apostrophe (`Jones'`) or inches (`12"`).

        Args:
            tokens: the sentence.
            i: where in it the quote stands.
            left: how many quotes of its kind come after it in the sentence.
        """
        quote = tokens[i]
        if self._open[quote]:
            self._open[quote] = False
            return _BEFORE
        single = quote == "'"
        unpaired = left % 2 == 0
        before = tokens[i - 1] if i else ""
        if unpaired and ((_ELISION if single else _NUMBER).fullmatch(before) or _all_closing(tokens, i + 1)):
            return _BEFORE
        self._open[quote] = left > 0 or not single
        return _AFTER


def _all_closing(tokens: Sequence[str], start: int) -> bool:
    return all(_CLOSING.fullmatch(tokens[i]) for i in range(start, len(tokens)))


def _touch(tokens: Sequence[str], i: int) -> _Touch:
    token = tokens[i]
    before, after = _neighbours(tokens, i)
    match token:
        case "/" | "—":
            return _BOTH
        case ":" if _are_numbers(before, after):
            return _BOTH
        case "#":
            return _AFTER if _NUMBER.fullmatch(after) else _BEFORE
        case "&":
            return _BOTH if len(before) == len(after) == 1 else _APART
        case "–" | "-" | "‐" | "‑" | "−":
            return _dash(tokens, i)
    return _CLOSING.fullmatch(token) is not None, _OPENING.fullmatch(token) is not None


def _dash(tokens: Sequence[str], i: int) -> _Touch:
    """A hyphen binds (`multi-ethnic`, `pre- and post-war`), an en dash makes ranges, and both part whole dates."""
    before, after = _neighbours(tokens, i)
    if not before or not after:
        return bool(before), bool(after)
    date_follows = any(_MONTH.fullmatch(token) for token in tokens[i + 1 : i + 3])
    if _CLOSING.fullmatch(before) or (date_follows and not before.isalpha()):
        return _APART
    if tokens[i] == "–":
        names = before[0].isupper() and after[0].isupper()
        return _BOTH if names or _are_numbers(before, after) else _APART
    return _BEFORE if _CONJUNCTION.fullmatch(after) else _BOTH


def _neighbours(tokens: Sequence[str], i: int) -> tuple[str, str]:
    return tokens[i - 1] if i else "", tokens[i + 1] if i + 1 < len(tokens) else ""


def _are_numbers(*tokens: str) -> bool:
    return all(_NUMBER.fullmatch(token) for token in tokens)
