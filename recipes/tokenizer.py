"""The default bundle's tokenizer: that of all-MiniLM-L6-v2, which knows no capitals, made to tell them apart.

Every word piece that has letters gets a capitalised and an upper-case variant. A text is cut as before; the id of a
variant is that of its piece plus once or twice the size of the vocabulary (`CopyLMConfig.cases`).
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from recipes.start import CASES, minilm_folder

_CONTINUED = "##"
_SPECIAL = {name: f"[{name[:3].upper()}]" for name in ("cls_token", "sep_token", "pad_token", "unk_token")}


def load() -> PreTrainedTokenizerFast:
    """The tokenizer."""
    state = json.loads((minilm_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"] |= {"lowercase": False, "strip_accents": True}
    state |= {"truncation": None, "padding": None}
    pieces = state["model"]["vocab"]
    special = {token["content"] for token in state["added_tokens"]}
    for case, variant in zip(range(1, CASES), (_capitalised, str.upper), strict=True):
        new = {variant(piece): id_ + case * len(pieces) for piece, id_ in pieces.items() if piece not in special}
        state["model"]["vocab"] = new | state["model"]["vocab"]  # a piece without letters stays what it is
    return _tokenizer(state)


def save(folder: Path) -> None:
    """Writes it in transformers' format."""
    load().save_pretrained(str(folder))


def _tokenizer(state: dict[str, Any]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **_SPECIAL)  # type: ignore[no-untyped-call]


def _capitalised(piece: str) -> str:
    return piece if piece.startswith(_CONTINUED) else piece[:1].upper() + piece[1:]
