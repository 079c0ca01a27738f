"""A stage's own F1: its answers to examples that were held out, given what the annotators gave.

Items are right if their names are those of the example, letter by letter, so the figure is lower than that of
`autore score`, which knows all names of an entity; it is there to compare one step of training with another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from peft import PeftModel

from autore_cli.documents import candidate_spans
from autore_cli.examples import Example
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model.bundle import Bundle
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.generator import TransformersGenerator
from autore_cli.schema import Schema
from autore_cli.stages import YES, Stage

_LIKELY = 0.5


@dataclass(slots=True)
class Tally:
    """Items found, of them right ones, and items that are to be found."""

    found: int = 0
    right: int = 0
    wanted: int = 0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 1 if there was nothing to find and nothing was found."""
        return 2 * self.right / (self.found + self.wanted) if self.found + self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class _Field:
    """What a part of an item can be."""

    names: list[str]
    trie: Trie


class Evaluation:
    """Measures an adapter that is being trained.

    Args:
        bundle: says how each stage finds its items: by listing or by choosing, and among which names.
        encoder: the bundle's.
        examples: held-out ones of each stage. Of those that list and those that choose, a stage needs one kind.
        schema: the relations that can be listed.
    """

    def __init__(
        self, bundle: Bundle, encoder: TokenizerEncoder, examples: Mapping[Stage, Sequence[Example]], schema: Schema
    ) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self._relations = self._field([relation.name for relation in schema.relations])
        self._shapes = bundle.shapes()
        self._spans: dict[str, _Field] = {}
        self.examples = {stage: list(self._asked(stage, given)) for stage, given in examples.items()}

    def __bool__(self) -> bool:
        return any(self.examples.values())

    def measure(self, adapted: PeftModel, device: int = 0, devices: int = 1) -> Tally:
        """Counts the items of all its stages. The adapter stays the active one, and trainable.

        Args:
            adapted: the base with the adapter.
            device: which of the devices that share the examples this one is.
            devices: how many there are.
        """
        adapter = adapted.active_adapter
        generator = TransformersGenerator(adapted, self.encoder, self.bundle)
        tally = Tally()
        try:
            for stage, examples in self.examples.items():
                ask = self._choose if self._chooses(stage) else self._list
                ask(generator, stage, examples[device::devices], tally)
        finally:
            adapted.set_adapter(adapter)
        return tally

    def _chooses(self, stage: Stage) -> bool:
        return self.bundle.stages[stage.name].decoding.propose == "schema"

    def _asked(self, stage: Stage, examples: Sequence[Example]) -> Iterator[Example]:
        kind = "choose" if self._chooses(stage) else "list"
        return (example for example in examples if example.kind == kind)

    def _choose(
        self, generator: TransformersGenerator, stage: Stage, examples: Sequence[Example], tally: Tally
    ) -> None:
        threshold = self.bundle.stages[stage.name].decoding.threshold or _LIKELY
        chances = generator.choose(stage.name, [example.prompt.request(self.encoder) for example in examples])
        for example, chance in zip(examples, chances, strict=True):
            found, wanted = chance >= threshold, example.completion == YES
            tally.found += found
            tally.wanted += wanted
            tally.right += found and wanted

    def _list(self, generator: TransformersGenerator, stage: Stage, examples: Sequence[Example], tally: Tally) -> None:
        decoding = self.bundle.stages[stage.name].decoding
        joiner = generator.joiner if len(stage.yields) > 1 else None
        fields = [self._fields(stage, example.prompt.passage) for example in examples]
        grammars = [
            ListGrammar(
                tuple(field.trie for field in each), generator.separator, generator.end, joiner, decoding.max_items
            )
            for each in fields
        ]
        requests = [example.prompt.request(self.encoder) for example in examples]
        lists = generator.decode(stage.name, requests, grammars, decoding.end_bias)
        for example, of_example, listed in zip(examples, fields, lists, strict=True):
            found = {
                self.bundle.joiner.join(field.names[index] for field, index in zip(of_example, each.item, strict=True))
                for each in listed
            }
            wanted = set(filter(None, example.completion.split(self.bundle.separator)))
            tally.found += len(found)
            tally.wanted += len(wanted)
            tally.right += len(found & wanted)

    def _fields(self, stage: Stage, passage: str) -> list["_Field"]:
        if passage not in self._spans:
            spans = self._shapes.likely(passage) if self._shapes else candidate_spans(passage)
            self._spans[passage] = self._field(list(dict.fromkeys(passage[start:end] for start, end in spans)))
        return [self._relations if part == "relation" else self._spans[passage] for part in stage.yields]

    def _field(self, names: list[str]) -> "_Field":
        return _Field(names, Trie(self.encoder.encode_many(names)))
