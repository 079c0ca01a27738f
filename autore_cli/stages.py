"""The stages of extraction, and the prompts by which a model is asked and taught them.

A stage is *given* some parts of a triple and *yields* others; a paradigm (AutoRE, arXiv 2403.14888, section 3) is a
list of stages. Extraction and training render prompts through the same `Stage`, so that the two can't drift apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autore_cli.errors import ConfigurationError
from autore_cli.generation import Encoder, Request

StageName = Literal["relation", "head", "fact"]
Part = Literal["relation", "head", "tail"]
YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a paradigm: from the passage and what is `given`, it finds what it `yields`.

    `all_relations`: it is asked once, with all the relations found so far, and not once for each of them.
    """

    name: StageName
    given: tuple[Part, ...]
    yields: tuple[Part, ...]
    all_relations: bool = False


_RELATION = Stage("relation", (), ("relation",))
_TRIPLE: tuple[Part, ...] = ("head", "relation", "tail")

PARADIGMS: Mapping[str, tuple[Stage, ...]] = {
    "D-F": (Stage("fact", (), _TRIPLE),),
    "D-RS-F": (_RELATION, Stage("fact", (), _TRIPLE, all_relations=True)),
    "D-R-F": (_RELATION, Stage("fact", ("relation",), ("head", "tail"))),
    "RHF": (_RELATION, Stage("head", ("relation",), ("head",)), Stage("fact", ("relation", "head"), ("tail",))),
}


def paradigm(name: str) -> tuple[Stage, ...]:
    """The stages of a paradigm. Raises ConfigurationError for a name that is not one of `PARADIGMS`."""
    try:
        return PARADIGMS[name]
    except KeyError:
        raise ConfigurationError(f"unknown paradigm '{name}'", hint=f"one of {', '.join(PARADIGMS)}") from None


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt. `plain` text comes from documents and schemas: special tokens in it stay text."""

    text: str
    plain: bool

    def encode(self, encoder: Encoder) -> list[int]:
        """The piece's token ids."""
        return encoder.encode(self.text).ids if self.plain else encoder.encode_template(self.text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt: what stands before the passage, the passage, and what stands after it."""

    before: tuple[Piece, ...]
    passage: str
    after: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole prompt."""
        return "".join(piece.text for piece in (*self.before, Piece(self.passage, True), *self.after))

    def request(self, encoder: Encoder) -> Request:
        """The prompt's token ids. The pieces are tokenised apart and concatenated."""
        before = [token for piece in self.before for token in piece.encode(encoder)]
        passage = encoder.encode(self.passage).ids
        suffix = tuple(token for piece in self.after for token in piece.encode(encoder))
        return Request((*before, *passage), suffix, (len(before), len(before) + len(passage)))


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with places: `{passage}` (once), `{relation}`, `{description}`, `{relations}`, `{head}`, `{tail}`."""

    text: str

    def __post_init__(self) -> None:
        if self.text.count("{passage}") != 1:
            raise ConfigurationError(f"a prompt template needs {{passage}} exactly once: {self.text!r}")

    def render(self, passage: str, values: Mapping[str, str]) -> Prompt:
        """Raises ConfigurationError if the template names a place that has no value."""
        before, after = self.text.split("{passage}")
        return Prompt(_pieces(before, values), passage, _pieces(after, values))


def _pieces(text: str, values: Mapping[str, str]) -> tuple[Piece, ...]:
    pieces = []
    for part in re.split(r"(\{\w+\})", text):
        if re.fullmatch(r"\{\w+\}", part):
            if part[1:-1] not in values:
                raise ConfigurationError(f"nothing to put in the prompt's place {part}", where=repr(text))
            pieces.append(Piece(values[part[1:-1]], plain=True))
        elif part:
            pieces.append(Piece(part, plain=False))
    return tuple(pieces)


@dataclass(frozen=True, slots=True)
class StagePrompts:
    """How one stage is asked: to `list` its items, and to `choose` whether one candidate is an item (yes or no)."""

    list: Template
    choose: Template


@dataclass(frozen=True, slots=True)
class Prompts:
    """All templates of a bundle, and how a list is written.

    Attributes:
        stages: the templates of each stage.
        separator: stands between the items of a list.
        joiner: stands between the parts of an item that is more than a name (a triple).
        names: asks for all names of the passage, which stages with `Decoding.propose` of `names` then choose from.
    """

    stages: Mapping[StageName, StagePrompts]
    separator: str = "\n"
    joiner: str = " | "
    names: Template | None = None

    def completion(self, items: Sequence[Sequence[str]]) -> str:
        """A list of items as a model writes it. No item is the empty text."""
        return self.separator.join(self.joiner.join(item) for item in items)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a stage finds its items.

    Attributes:
        propose: where candidates come from: the model `list`s them for what is given; they are all relations of the
            `schema`; or all `names` of the passage, which the model lists once.
        threshold: keep the candidates with P(yes) of at least this; None keeps them all, unasked.
        end_bias: taken off the end token's logit while listing, in nats: above 0 the lists grow longer.
        max_items: a list ends after so many items.
    """

    propose: Literal["list", "schema", "names"] = "list"
    threshold: float | None = None
    end_bias: float = 0.0
    max_items: int = 64


_FACT_LIST: Mapping[tuple[Part, ...], str] = {
    ("head", "relation", "tail"): "List the facts, each as head | relation | tail.",
    ("head", "tail"): "List the facts of the relation {relation}, each as head | tail.\nRelation: {description}",
    ("tail",): "List the tails of the relation {relation} for the head {head}.\nRelation: {description}",
}


def default_prompts(stages: Sequence[Stage], opening: str, closing: str) -> Prompts:
    """Prompts in plain English, passage first, for bases with a chat template.

    Args:
        stages: the paradigm.
        opening: what the chat template puts before the user's words, such as `<s>[INST] `.
        closing: what it puts after them, such as ` [/INST]`.
    """

    def template(instruction: str) -> Template:
        return Template(f"{opening}Passage: {{passage}}\n\n{instruction}{closing}")

    prompts: dict[StageName, StagePrompts] = {}
    for stage in stages:
        if stage.name == "relation":
            ask = "List the relations that the passage expresses."
            check = "Does the passage express the relation {relation}? Answer yes or no.\nRelation: {description}"
        elif stage.name == "head":
            ask = "List the heads of the relation {relation}.\nRelation: {description}"
            check = "Is {head} a head of the relation {relation}? Answer yes or no.\nRelation: {description}"
        else:
            ask = _FACT_LIST[stage.yields]
            if stage.all_relations:
                ask += "\nRelations: {relations}"
            check = "Is this a fact: {head} | {relation} | {tail}? Answer yes or no.\nRelation: {description}"
        prompts[stage.name] = StagePrompts(template(ask), template(check))
    return Prompts(prompts)
