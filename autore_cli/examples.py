"""Training examples out of annotated documents: what each stage is asked, and the right answer.

Lists as in AutoRE (arXiv 2403.14888, section 3.2): one example for each thing given (a relation; a relation and a head)
that the document has facts for. Beyond it: negatives, whose list is empty, and yes/no examples for choosing.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autore_cli.records import AnnotatedDocument, Fact
from autore_cli.schema import Schema
from autore_cli.stages import NO, YES, Part, Piece, Prompt, Prompts, Stage, StageName, Template

Key = tuple[str | int, ...]
"""What a stage is given, or one item of what it yields: relation ids and entity indices."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and its completion: a list's text (of items, or of all `names`), or `yes` or `no` to `choose`.

    `doc` is the document's id.
    """

    stage: StageName
    kind: Literal["list", "names", "choose"]
    doc: str
    prompt: Prompt
    completion: str

    def record(self) -> dict[str, Any]:
        """The example as a line of training data; `plain` are the ranges of the prompt that hold no special tokens."""
        plain, at = [], 0
        for piece in (*self.prompt.before, Piece(self.prompt.passage, True), *self.prompt.after):
            if piece.plain:
                plain.append([at, at + len(piece.text)])
            at += len(piece.text)
        start = sum(len(piece.text) for piece in self.prompt.before)
        return {
            "doc": self.doc,
            "kind": "choose" if self.kind == "choose" else "list",
            "prompt": self.prompt.text,
            "completion": self.completion,
            "passage": [start, start + len(self.prompt.passage)],
            "plain": plain,
        }


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """How many examples a document gives.

    Attributes:
        orders: a list of relations is repeated in this many orders, all but the first shuffled (the paper has up to 2).
        aliases: a head is asked for by each of its names, not by the first alone.
        negative_relations: relations without facts, a document, that are asked for (completion empty).
        negative_heads: heads without facts, a relation of the document, that are asked for (completion empty).
        choose: yes/no examples are made as well.
        wrong_candidates: candidates to be refused, a right one.
        max_examples: a document has no more than so many for a stage, drawn from all of them; None is no limit.
    """

    orders: int = 2
    aliases: bool = True
    negative_relations: int = 4
    negative_heads: int = 2
    choose: bool = True
    wrong_candidates: int = 3
    max_examples: int | None = None


class ExampleMaker:
    """Makes the examples of a paradigm's stages.

    Args:
        stages: the paradigm.
        prompts: its templates.
        schema: the relations to learn; facts of others are left out.
        settings: how many examples to make.
        frequencies: how often each relation id occurs in the corpus. Negative relations are drawn in proportion, since
            the common ones are those that a model takes to hold where they don't. Left out, all are alike.

    Attributes:
        left_out: what could have been made and was not, by stage and reason.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        prompts: Prompts,
        schema: Schema,
        settings: ExampleSettings | None = None,
        frequencies: Mapping[str, int] | None = None,
    ) -> None:
        self.stages = stages
        self.prompts = prompts
        self.schema = schema
        self.settings = settings or ExampleSettings()
        self.frequencies = frequencies
        self.left_out: Counter[tuple[StageName, str]] = Counter()
        self._relations = {relation.id: relation for relation in schema.relations}
        self._rank = {relation.id: rank for rank, relation in enumerate(schema.relations)}

    def make(self, document: AnnotatedDocument, rng: random.Random) -> Iterator[Example]:
        """The document's examples, stage by stage. The same `rng` state gives the same examples."""
        facts = [fact for fact in document.facts if fact.relation_id in self._relations]
        for stage in self.stages:
            examples = list(self._of_stage(stage, document, facts, rng))
            surplus = len(examples) - (self.settings.max_examples or len(examples))
            if surplus > 0:
                self.left_out[stage.name, "examples above the limit"] += surplus
                examples = [
                    examples[index] for index in sorted(rng.sample(range(len(examples)), len(examples) - surplus))
                ]
            yield from examples

    def _of_stage(
        self, stage: Stage, document: AnnotatedDocument, facts: Sequence[Fact], rng: random.Random
    ) -> Iterator[Example]:
        if self.prompts.names and stage.yields in (("head",), ("tail",)) and document.relation_ids is None:
            yield self._all_names(stage, document, self.prompts.names)
        contexts = self._contexts(stage, document, facts, rng)
        for given, own in contexts.items():
            yield from self._lists(stage, document, given, own, rng)
            if self.settings.choose and len(stage.yields) == 1:
                yield from self._choices(stage, document, given, own, rng)

    def annotated(self, document: AnnotatedDocument) -> list[str]:
        """The ids of the relations whose absence in the document means something."""
        return [each for each in self._relations if document.relation_ids is None or each in document.relation_ids]

    def _contexts(
        self, stage: Stage, document: AnnotatedDocument, facts: Sequence[Fact], rng: random.Random
    ) -> dict[Key, list[Fact]]:
        """What the stage is given, with the facts of each; the negatives have none."""
        contexts: dict[Key, list[Fact]] = defaultdict(list)
        if not stage.given:
            contexts[()] = list(facts)
        for fact in facts:
            contexts[_key(stage.given, fact)].append(fact)
        absent = [each for each in self.annotated(document) if all(fact.relation_id != each for fact in facts)]
        chosen = self._drawn(absent, rng)
        if stage.given == ("relation",):
            contexts.update({(relation,): [] for relation in chosen})
        elif stage.given == ("relation", "head"):
            for relation in dict.fromkeys(fact.relation_id for fact in facts):
                contexts.update({(relation, head): [] for head in self._idle(document, facts, relation, rng)})
            for relation in chosen:
                heads = self._idle(document, facts, relation, rng)[:1]
                contexts.update({(relation, head): [] for head in heads})
        return contexts

    def _drawn(self, absent: Sequence[str], rng: random.Random) -> list[str]:
        """Some of the absent relations, without repetition (Efraimidis and Spirakis 2006)."""
        weights = self.frequencies or {}
        ranked = sorted(absent, key=lambda relation: -(rng.random() ** (1 / (weights.get(relation, 0) + 1))))
        return ranked[: self.settings.negative_relations]

    def _idle(self, document: AnnotatedDocument, facts: Sequence[Fact], relation: str, rng: random.Random) -> list[int]:
        """Entities that might be heads of the relation by their type, but have no fact of it."""
        types = self._relations[relation].head_types
        busy = _names_of(document, (fact.head for fact in facts if fact.relation_id == relation))
        idle = [
            index
            for index, entity in enumerate(document.entities)
            if busy.isdisjoint(document.names(index)) and (not types or not entity.type or entity.type in types)
        ]
        return rng.sample(idle, min(self.settings.negative_heads, len(idle)))

    def _all_names(self, stage: Stage, document: AnnotatedDocument, template: Template) -> Example:
        first = sorted((entity.mentions[0], index) for index, entity in enumerate(document.entities))
        names = self._written(stage, document, [(index,) for _, index in first])
        prompt = template.render(document.document.text, {})
        return Example(stage.name, "names", document.document.id, prompt, self.prompts.completion(names))

    def _lists(
        self, stage: Stage, document: AnnotatedDocument, given: Key, facts: Sequence[Fact], rng: random.Random
    ) -> Iterator[Example]:
        items = sorted({_key(stage.yields, fact) for fact in facts}, key=lambda item: self._order(document, item))
        template = self.prompts.stages[stage.name].list
        orders = self.settings.orders if stage.name == "relation" and len(items) > 1 else 1
        names = self._written(stage, document, items)
        if items and not names:  # an empty list would say that there is none
            self.left_out[stage.name, "lists of such items alone"] += 1
            return
        for order in range(orders):
            shuffled = list(names)
            if order:
                rng.shuffle(shuffled)
            for values in self._values(stage, document, given, facts):
                prompt = template.render(document.document.text, values)
                yield Example(stage.name, "list", document.document.id, prompt, self.prompts.completion(shuffled))

    def _written(self, stage: Stage, document: AnnotatedDocument, items: Sequence[Key]) -> list[tuple[str, ...]]:
        """The items as a list has them: each once, by the first names that hold nothing that takes lists apart."""
        controls = [self.prompts.separator, *([self.prompts.joiner] if len(stage.yields) > 1 else [])]
        signs = [control.strip(" ") or control for control in controls]
        written: dict[tuple[str, ...], None] = {}
        for item in items:
            names = [
                next((name for name in self._all_of(document, part) if not any(sign in name for sign in signs)), None)
                for part in item
            ]
            whole = tuple(name for name in names if name is not None)
            if len(whole) == len(item):
                written[whole] = None
            else:
                self.left_out[stage.name, f"items with {' or '.join(map(repr, signs))} in their names"] += 1
        return list(written)

    def _choices(
        self, stage: Stage, document: AnnotatedDocument, given: Key, facts: Sequence[Fact], rng: random.Random
    ) -> Iterator[Example]:
        right = list(dict.fromkeys(_key(stage.yields, fact) for fact in facts))
        if stage.yields == ("relation",):
            wrong: list[Key] = [(relation,) for relation in self.annotated(document) if (relation,) not in right]
        else:
            wrong = self._wrong(stage, document, given, right, rng)
        values = self._values(stage, document, given, facts)[0]
        (part,) = stage.yields
        template = self.prompts.stages[stage.name].choose
        for answer, candidates in ((YES, right), (NO, wrong)):
            for candidate in candidates:
                (name,) = self._names(document, candidate)
                places = {**values, part: name, **self._described(candidate)}
                prompt = template.render(document.document.text, places)
                yield Example(stage.name, "choose", document.document.id, prompt, answer)

    def _wrong(
        self, stage: Stage, document: AnnotatedDocument, given: Key, right: Sequence[Key], rng: random.Random
    ) -> list[Key]:
        """Entities to be refused: mostly such as the relation's types allow, which are hard to tell from right ones."""
        relation = next(self._relations[part] for part in given if isinstance(part, str))
        types = relation.head_types if stage.yields == ("head",) else relation.tail_types
        known = _names_of(document, (part for key in (*right, given) for part in key if isinstance(part, int)))
        wrong = [i for i in range(len(document.entities)) if known.isdisjoint(document.names(i))]
        fitting = [i for i in wrong if not types or document.entities[i].type in types]
        others = [i for i in wrong if i not in fitting]
        count = max(1, len(right)) * self.settings.wrong_candidates
        chosen = rng.sample(fitting, min(count, len(fitting))) + rng.sample(others, min(1, len(others)))
        return [(index,) for index in chosen]

    def _values(
        self, stage: Stage, document: AnnotatedDocument, given: Key, facts: Sequence[Fact]
    ) -> list[dict[str, str]]:
        """What may stand at the template's places: one set, or one for each name of a head that has facts."""
        values = dict(zip(stage.given, self._names(document, given), strict=True)) | self._described(given)
        if stage.all_relations:
            present = sorted({fact.relation_id for fact in facts}, key=self._rank.__getitem__)
            values["relations"] = self.prompts.separator.join(self._relations[relation].name for relation in present)
        if "head" not in stage.given or not (self.settings.aliases and facts):
            return [values]
        (head,) = (part for part in given if isinstance(part, int))
        return [{**values, "head": name} for name in document.names(head)]

    def _described(self, key: Key) -> dict[str, str]:
        relations = [part for part in key if isinstance(part, str)]
        return {"description": self._relations[relations[0]].description} if relations else {}

    def _names(self, document: AnnotatedDocument, key: Key) -> list[str]:
        return [self._all_of(document, part)[0] for part in key]

    def _all_of(self, document: AnnotatedDocument, part: str | int) -> list[str]:
        return [self._relations[part].name] if isinstance(part, str) else document.names(part)

    def _order(self, document: AnnotatedDocument, key: Key) -> tuple[tuple[int, int], ...]:
        """Relations in the schema's order, entities by their first mention."""
        return tuple(
            (self._rank[part], 0) if isinstance(part, str) else document.entities[part].mentions[0] for part in key
        )


def _names_of(document: AnnotatedDocument, entities: Iterable[int]) -> set[str]:
    return {name for entity in entities for name in document.names(entity)}


def _key(parts: Sequence[Part], fact: Fact) -> Key:
    values: Mapping[Part, str | int] = {"relation": fact.relation_id, "head": fact.head, "tail": fact.tail}
    return tuple(values[part] for part in parts)
