"""Strategies for input of every shape: what a reader may meet, well-formed or not."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

THOROUGHNESS = int(os.environ.get("AUTORE_FUZZ", "1"))
"""How many times as many examples as the tests have: `make fuzz` sets it."""


def examples(number: int) -> settings:
    """Settings for so many examples in the tests, however large and slow."""
    return settings(
        max_examples=number * THOROUGHNESS, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )


SENTENCES = [
    "Mara Lindqvist was born in Fjellhavn.",
    "Her husband Tomas Reval wrote The Quiet Harbour there.",
    "Émile 🦜 met Zoë in Łódź.",
    "研究者は東京大学で働いた。",
    "وُلدت مريم في القاهرة.",
    "Dr. O'Neil paid $5 to Yahoo! Inc. for C++ (1,000 copies).",
    "e\u0301\u200d\ufe0f\u202e reversed",
    "a;b|c; ; | -",
]
SPECIAL = [
    "</s>",
    "<s>[INST]",
    "[/INST]",
    "<|user|>",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "[PAD]",
    "<unk>",
    "<0x00>",
    "{passage}",
]
ODD = [
    "\0",
    "\r",
    "\r\n",
    "\x0b",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ufffd",
    "\U0010ffff",
    "\u0300",
    " ",
    "\t",
    ".",
]

_long = st.builds(
    lambda unit, count: unit * count,
    st.sampled_from(["x", "é", "字", "🦜", "a b ", ". ", "(", '"', "'s ", "\0", "\n"]),
    st.integers(1, 4000),
)
texts = st.lists(
    st.sampled_from(SENTENCES) | st.sampled_from(SPECIAL) | st.sampled_from(ODD) | st.text(max_size=20) | _long,
    max_size=8,
).map(" ".join) | st.text(max_size=3)
"""Any text of Unicode: sentences, what looks like a token, control characters, very long words, next to nothing."""

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "text", "title", "sents", "vertexSet", "labels", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
"""JSON of every shape."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of JSON, and the text that a reader should find there; None when it can't be used."""

    data: bytes
    text: str | None


def _dumped(value: object) -> bytes:
    """JSON with lone surrogates and NaN as they are, which not every parser takes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _well_formed(text: str, escaped: bool, more: Any, crlf: bool) -> Line:
    data = json.dumps({"text": text, "more": more}, ensure_ascii=escaped).encode() + b"\r" * crlf
    return Line(data, text if text.strip() else None)


_readable_values = st.none() | st.integers(-5, 5) | st.lists(st.text(max_size=3), max_size=3)
well_formed_lines = st.builds(_well_formed, texts, st.booleans(), _readable_values, st.booleans())
"""Lines with a text. One of white space alone can't be used."""

nesting = st.builds(
    lambda unit, depth: unit * depth, st.sampled_from([b"[", b'{"a":', b'[{"text":']), st.integers(1, 5000)
)
surrogates = st.sampled_from([b'{"text": "\\ud800"}', b'{"text": "\xed\xa0\x80"}', b'{"text": "\\udfff\\ud800 x"}'])
binary = st.binary(max_size=80)
broken_lines = st.builds(
    Line,
    st.sampled_from([b'{"text": "x"', b"[]", b"{}", b'{"text": null}', b'{"id": [], "text": "x"}', b"\0", b"\xff"])
    | nesting
    | surrogates,
    st.none(),
)
"""Lines that can't be used."""

records = st.fixed_dictionaries(
    {
        "title": st.text(max_size=5),
        "sents": st.lists(
            st.lists(st.sampled_from([*SENTENCES[2].split(), '"', "'", ",", "", " "]), max_size=30), max_size=3
        ),
    }
)
"""Documents in DocRED's form."""

_pieces = (
    binary
    | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | values.map(_dumped)
    | well_formed_lines.map(lambda line: line.data + b"\n")
    | st.lists(records, max_size=3).map(_dumped)
    | nesting
    | surrogates
    | st.sampled_from(
        [b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"[", b"]", b'{"text": "', b"  \n"]
    )
)


def _joined(pieces: Sequence[bytes], encoding: str | None) -> bytes:
    data = b"".join(pieces)
    return data.decode(errors="replace").encode(encoding) if encoding else data


inputs = st.builds(_joined, st.lists(_pieces, max_size=6), st.sampled_from([None, None, None, "utf-16", "utf-32"]))
"""Bytes of all these kinds, one after another."""
