"""The records that travel through the house. All offsets are Unicode code points."""

from dataclasses import dataclass, field

Span = tuple[int, int]
"""`[start, end)` in code points of the document's text."""


@dataclass(frozen=True, slots=True)
class Document:
    """What the user handed in. `place` (`docs.jsonl:3`, `docs.json: record 3`) is for messages."""

    id: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """The part `[start, end)` of a document that one prompt holds."""

    document: Document
    start: int
    end: int

    @property
    def text(self) -> str:
        """The window's stretch of the text."""
        return self.document.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Entity:
    """An annotated entity: its mentions in order of the text, and its type (`PER`, `LOC`, ...)."""

    mentions: tuple[Span, ...]
    type: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """An annotated fact. `head` and `tail` index the document's entities, `evidence` its sentences."""

    head: int
    relation_id: str
    tail: int
    evidence: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotatedDocument:
    """A document with its sentences, entities and facts: training data, or gold to score against.

    `relation_ids` are the relations that were annotated at all; None means every relation of the schema, so that
    a fact's absence says that it does not hold.
    """

    document: Document
    sentences: tuple[Span, ...]
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    relation_ids: frozenset[str] | None = None

    def names(self, entity: int) -> list[str]:
        """The entity's distinct surface forms, in order of first mention."""
        text = self.document.text
        return list(dict.fromkeys(text[start:end] for start, end in self.entities[entity].mentions))


@dataclass(frozen=True, slots=True)
class Triple:
    """A fact read from a document. `text[start:end]` is the head (the tail) for each of its spans; score in (0, 1]."""

    doc: str
    head: str
    relation: str
    relation_id: str
    tail: str
    head_spans: tuple[Span, ...] = field(default=())
    tail_spans: tuple[Span, ...] = field(default=())
    score: float = 1.0
