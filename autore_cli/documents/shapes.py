"""Which stretches of a text look like names: a logistic regression on the shapes of their words and of those around.

Where a name begins and ends shows in capitals, digits and small words, of which a model that reads pieces of words
sees little. The weights belong to a bundle: they are learned from the same documents as its model.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from autore_cli.documents.english import FUNCTION_WORDS
from autore_cli.documents.words import candidate_spans, words
from autore_cli.errors import ConfigurationError
from autore_cli.records import Span

_KEPT = frozenset({*",.;:'\"()-–—&/$%", "'s", "’s", "of", "the", "and", "in", "de", "to", "at", "a"})
_LOWEST = -30.0  # log odds, beyond which all is the same
_UNKNOWN = 0.5
_MANY = 7
_SHORT = 3


@dataclass(frozen=True, slots=True)
class NameShapes:
    """A trained regression.

    Attributes:
        bias: its intercept.
        weights: by feature; see `features`.
        least: stretches that are less likely to be a name than this are none.
    """

    bias: float
    weights: Mapping[str, float]
    least: float = 0.0

    def likely(self, text: str) -> dict[Span, float]:
        """The candidate spans of a text that are likely enough, in order, each with its probability to be a name.

        In a text without capitals, be it for its script or for its writer, shapes tell nothing: all are equally likely.
        """
        if text == text.lower():
            return dict.fromkeys(candidate_spans(text), _UNKNOWN)
        chances = ((span, self._chance(found)) for span, found in features(text))
        return {span: chance for span, chance in chances if chance >= self.least}

    def _chance(self, found: Sequence[str]) -> float:
        odds = self.bias + sum(self.weights.get(feature, 0.0) for feature in found)
        return 1 / (1 + math.exp(-max(odds, _LOWEST)))


def load(path: Path, least: float) -> NameShapes:
    """Reads a regression: a JSON object with `bias`, and `weights` by feature.

    Raises:
        ConfigurationError: the file holds something else.
    """
    try:
        content = orjson.loads(path.read_bytes())
        return NameShapes(float(content["bias"]), {str(k): float(v) for k, v in content["weights"].items()}, least)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError("holds no weights of name shapes", where=str(path)) from error


def features(text: str) -> Iterator[tuple[Span, list[str]]]:
    """The candidate spans of a text, each with the names of its features.

    They are the shapes of the first and the last word, of the word before and the word after, of both pairs at the
    edges, of the words within, of a short span as a whole, and the number of words.
    """
    spans = words(text)
    shapes = ["<", *(_shape(text[start:end]) for start, end in spans), ">"]
    starts = {start: place for place, (start, _) in enumerate(spans, 1)}
    ends = {end: place for place, (_, end) in enumerate(spans, 1)}
    for start, end in candidate_spans(text):
        if start not in starts or end not in ends:  # what is one word in the text can be two in its sentences
            continue
        first, last = starts[start], ends[end]
        count = last - first + 1
        found = [
            f"before {shapes[first - 1]}",
            f"first {shapes[first]}",
            f"last {shapes[last]}",
            f"after {shapes[last + 1]}",
            f"start {shapes[first - 1]} {shapes[first]}",
            f"end {shapes[last]} {shapes[last + 1]}",
            f"words {min(count, _MANY)}",
            *(f"within {shape}" for shape in sorted(set(shapes[first + 1 : last]))),
        ]
        if count <= _SHORT:
            found.append(f"whole {' '.join(shapes[first : last + 1])}")
        yield (start, end), found


def _shape(word: str) -> str:
    """`Xx`, `XX`, `xx`, `9`, `9999` (a year), `fn` (a function word) or `?`; a few words stand for themselves."""
    lower = word.lower()
    if lower in _KEPT:
        return lower
    if word in FUNCTION_WORDS:
        return "fn"
    if word[0].isdigit():
        return "9999" if len(word) == len("9999") and word.isdigit() else "9"
    if word.isupper() and len(word) > 1:
        return "XX"
    if word[0].isupper():
        return "Xx"
    return "xx" if word[0].isalpha() else "?"
