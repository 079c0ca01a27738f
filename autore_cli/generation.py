"""What the pipeline asks of a model, and what it gets back: the contract between `pipeline` and `model`.

Token ids only: a prompt is a *prefix* (which ends with the passage) and a *suffix* (the instruction). Requests with
equal prefixes share the prefix's computation; nothing else depends on which requests stand side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autore_cli.grammar import ListGrammar
from autore_cli.records import Span


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text's token ids, and for each its span of the text in code points."""

    ids: list[int]
    offsets: list[Span]


class Encoder(Protocol):
    """A tokenizer, seen from outside the model."""

    def encode(self, text: str) -> Encoding:
        """Tokenises `text` as plain text: special tokens written in it are not special."""
        ...

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, as `encode` gives them."""
        ...

    def encode_template(self, text: str) -> list[int]:
        """Tokenises a piece of a prompt template, in which special tokens are special."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt. `passage` is the token range of the prefix that holds the passage."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    passage: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """One item of a decoded list: its index in each of the grammar's fields, and its probability in (0, 1]."""

    item: tuple[int, ...]
    probability: float


class Generator(Protocol):
    """A base model with its adapters.

    Attributes:
        encoder: the tokenizer.
        max_passage: how many tokens of passage a prompt can hold.
        separator: the token between the items of a list.
        joiner: the token between the parts of an item that is more than a name.
        end: the token that ends a list.
    """

    encoder: Encoder
    max_passage: int
    separator: int
    joiner: int
    end: int

    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float = 0.0
    ) -> list[list[Listed]]:
        """Greedily lists items under each request's grammar. Same order and length as `requests`.

        Args:
            stage: whose adapter is put on the base.
            requests: the prompts.
            grammars: one for each request.
            end_bias: taken off the end token's logit, in nats: above 0 the lists grow longer.
        """
        ...

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """P(yes) against no after each request, in (0, 1). Same order and length as `requests`."""
        ...
