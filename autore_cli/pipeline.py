"""The way from documents to triples: the stages of a paradigm, each asked for all windows of a batch at once.

Knows no model library: it sees a `Generator`.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from time import monotonic
from typing import NamedTuple

from autore_cli.calibration import Calibration
from autore_cli.documents import candidate_spans, default_overlap, windows
from autore_cli.documents.shapes import NameShapes
from autore_cli.errors import ConfigurationError
from autore_cli.generation import Encoder, Generator, Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.records import Document, Span, Triple, Window
from autore_cli.schema import Schema
from autore_cli.stages import Decoding, Part, Prompts, Stage, StageName, Template

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Passage:
    """A window with what its prompts share: the names that may be heads and tails, and where they stand."""

    document: int
    window: Window
    encoder: Encoder = field(compare=False, repr=False)
    shapes: NameShapes | None = field(compare=False, repr=False)

    @cached_property
    def _likely(self) -> Mapping[Span, float]:
        """The candidate spans of the window, each with the probability that it is a name, as far as that is known."""
        text = self.window.text
        return self.shapes.likely(text) if self.shapes else dict.fromkeys(candidate_spans(text), 1.0)

    @cached_property
    def spans(self) -> Mapping[str, list[Span]]:
        """The window's candidate names, each with its spans in the document."""
        text, start = self.window.text, self.window.start
        spans: dict[str, list[Span]] = defaultdict(list)
        for begin, end in self._likely:
            spans[text[begin:end]].append((start + begin, start + end))
        return spans

    @cached_property
    def names(self) -> list[str]:
        return list(self.spans)

    @cached_property
    def likelihoods(self) -> Mapping[str, float]:
        """How likely each name is one where it looks most like one."""
        text = self.window.text
        return {text[slice(*span)]: chance for span, chance in sorted(self._likely.items(), key=itemgetter(1))}

    @cached_property
    def trie(self) -> Trie:
        """The names by their tokens, under their indices."""
        return Trie(self.encoder.encode_many(self.names))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A triple in the making.

    Attributes:
        passage: where it was found.
        parts: what was found so far.
        probabilities: one for each decision of the model that led here, in the order of the stages; within a stage
            first that of listing it, then that of choosing it, as far as the stage does either.
        relations: all relations of the passage, for a stage that is asked with all of them.
    """

    passage: _Passage
    parts: Mapping[Part, str] = field(default_factory=dict)
    probabilities: tuple[float, ...] = ()
    relations: tuple[str, ...] = ()

    def extended(self, parts: Mapping[Part, str], *probabilities: float) -> "Candidate":
        """The candidate with more parts, and the probabilities of finding them."""
        return replace(self, parts={**self.parts, **parts}, probabilities=(*self.probabilities, *probabilities))


class Extraction(NamedTuple):
    """What was found in a document, and how many windows it was read in."""

    triples: list[Triple]
    windows: int


class Pipeline:
    """Extracts triples from documents.

    Args:
        generator: answers the prompts.
        stages: the paradigm.
        prompts: its templates.
        decoding: how each stage finds its items.
        schema: the relations that may come out.
        calibration: how their scores are made, and how high one must be.
        shapes: tells which stretches of a text look like names; None is all that might be one.
        overlap: tokens that neighbouring windows of a long document share; None is the default.
    """

    def __init__(
        self,
        generator: Generator,
        stages: Sequence[Stage],
        prompts: Prompts,
        decoding: Mapping[StageName, Decoding],
        schema: Schema,
        calibration: Calibration | None = None,
        shapes: NameShapes | None = None,
        overlap: int | None = None,
    ) -> None:
        self.generator = generator
        self.stages = stages
        self.prompts = prompts
        self.decoding = decoding
        self.schema = schema
        self.calibration = calibration or Calibration()
        self.shapes = shapes
        self.overlap = default_overlap(generator.max_passage) if overlap is None else overlap
        self._relations = {relation.name: relation for relation in schema.relations}
        self._relation_trie = Trie(generator.encoder.encode_many(list(self._relations)))

    def extract(self, documents: Sequence[Document]) -> list[Extraction]:
        """The triples of each document, in the order of `documents`; within one by first mention of head and tail."""
        passages = self._passages(documents)
        windows = Counter(passage.document for passage in passages)
        return [
            Extraction(self._triples(document, candidates), windows[index])
            for index, (document, candidates) in enumerate(
                zip(documents, self._found(passages, len(documents)), strict=True)
            )
        ]

    def candidates(self, documents: Sequence[Document]) -> list[list[Candidate]]:
        """What the stages found in each document, before scores decide: a candidate a window and triple."""
        return self._found(self._passages(documents), len(documents))

    def evidence(self, candidate: Candidate) -> tuple[float, ...]:
        """The probabilities that a candidate's score is made of.

        They are those of the model's decisions and, with name shapes, those of its head and its tail to be names.
        """
        if not self.shapes:
            return candidate.probabilities
        likelihoods, parts = candidate.passage.likelihoods, candidate.parts
        return (*candidate.probabilities, likelihoods[parts["head"]], likelihoods[parts["tail"]])

    def _found(self, passages: Sequence[_Passage], documents: int) -> list[list[Candidate]]:
        candidates = [Candidate(passage) for passage in passages]
        seconds = []
        for stage in self.stages:
            start = monotonic()
            candidates = self._run(stage, candidates)
            seconds.append(f"{stage.name} {monotonic() - start:.2f} s")
        _logger.debug("documents: %d, windows: %d, %s", documents, len(passages), ", ".join(seconds))
        found: list[list[Candidate]] = [[] for _ in range(documents)]
        for candidate in candidates:
            if candidate.parts["head"] != candidate.parts["tail"]:
                found[candidate.passage.document].append(candidate)
        return found

    def _passages(self, documents: Sequence[Document]) -> list[_Passage]:
        def offsets(text: str) -> Sequence[Span]:
            return self.generator.encoder.encode(text).offsets

        return [
            _Passage(index, window, self.generator.encoder, self.shapes)
            for index, document in enumerate(documents)
            for window in windows(document, offsets, self.generator.max_passage, self.overlap)
        ]

    def _run(self, stage: Stage, candidates: Sequence[Candidate]) -> list[Candidate]:
        if stage.all_relations:
            candidates = _with_all_relations(candidates)
        decoding = self.decoding[stage.name]
        if decoding.propose == "schema":
            candidates = [
                candidate.extended({"relation": name}) for candidate in candidates for name in self._relations
            ]
        elif decoding.propose == "names":
            candidates = self._all_names(stage, candidates, decoding)
        else:
            candidates = self._list(stage, candidates, decoding)
        return candidates if decoding.threshold is None else self._choose(stage, candidates, decoding.threshold)

    def _list(self, stage: Stage, candidates: Sequence[Candidate], decoding: Decoding) -> list[Candidate]:
        """Extends every candidate by each item that the model lists for it."""
        template = self.prompts.stages[stage.name].list
        items = self._listed(stage, template, candidates, stage.yields, decoding)
        return [
            candidate.extended(parts, probability)
            for candidate, own in zip(candidates, items, strict=True)
            for parts, probability in own
        ]

    def _all_names(self, stage: Stage, candidates: Sequence[Candidate], decoding: Decoding) -> list[Candidate]:
        """Extends every candidate by each name that the model lists for its passage, asked once a passage."""
        if self.prompts.names is None:
            raise ConfigurationError(f"the {stage.name} stage proposes names, and no prompt asks for them")
        passages = list({id(each.passage): Candidate(each.passage) for each in candidates}.values())
        items = self._listed(stage, self.prompts.names, passages, stage.yields, decoding)
        names = {id(each.passage): own for each, own in zip(passages, items, strict=True)}
        return [
            candidate.extended(parts, probability)
            for candidate in candidates
            for parts, probability in names[id(candidate.passage)]
            if not set(parts.values()) & set(candidate.parts.values())
        ]

    def _listed(
        self,
        stage: Stage,
        template: Template,
        candidates: Sequence[Candidate],
        yields: Sequence[Part],
        decoding: Decoding,
    ) -> list[list[tuple[dict[Part, str], float]]]:
        """What the model lists for each candidate: the parts of each item, and its probability."""
        grammars = [
            ListGrammar(
                tuple(self._relation_trie if part == "relation" else each.passage.trie for part in yields),
                self.generator.separator,
                self.generator.end,
                self.generator.joiner if len(yields) > 1 else None,
                decoding.max_items,
            )
            for each in candidates
        ]
        requests = self._requests(template, candidates)
        lists = self.generator.decode(stage.name, requests, grammars, decoding.end_bias)
        relations = list(self._relations)
        return [
            [
                (
                    {
                        part: relations[index] if part == "relation" else candidate.passage.names[index]
                        for part, index in zip(yields, listed.item, strict=True)
                    },
                    listed.probability,
                )
                for listed in items
            ]
            for candidate, items in zip(candidates, lists, strict=True)
        ]

    def _choose(self, stage: Stage, candidates: Sequence[Candidate], threshold: float) -> list[Candidate]:
        """The candidates to which the model says yes."""
        requests = self._requests(self.prompts.stages[stage.name].choose, candidates)
        chances = self.generator.choose(stage.name, requests)
        return [
            candidate.extended({}, chance)
            for candidate, chance in zip(candidates, chances, strict=True)
            if chance >= threshold
        ]

    def _requests(self, template: Template, candidates: Sequence[Candidate]) -> list[Request]:
        return [
            template.render(candidate.passage.window.text, self._values(candidate)).request(self.generator.encoder)
            for candidate in candidates
        ]

    def _values(self, candidate: Candidate) -> dict[str, str]:
        """What stands at the template's places."""
        values: dict[str, str] = dict(candidate.parts.items())
        if "relation" in candidate.parts:
            values["description"] = self._relations[candidate.parts["relation"]].description
        if candidate.relations:
            values["relations"] = self.prompts.separator.join(candidate.relations)
        return values

    def _triples(self, document: Document, candidates: Iterable[Candidate]) -> list[Triple]:
        """Scores what was found, and merges what the windows gave: spans united, the best score kept."""
        merged: dict[tuple[str, str, str], Triple] = {}
        for candidate in candidates:
            score = self.calibration.score(self.evidence(candidate))
            if score < self.calibration.threshold:
                continue
            head, tail = candidate.parts["head"], candidate.parts["tail"]
            relation = self._relations[candidate.parts["relation"]]
            before = merged.get((head, relation.id, tail))
            merged[head, relation.id, tail] = Triple(
                doc=document.id,
                head=head,
                relation=relation.name,
                relation_id=relation.id,
                tail=tail,
                head_spans=_united(before.head_spans if before else (), candidate.passage.spans[head]),
                tail_spans=_united(before.tail_spans if before else (), candidate.passage.spans[tail]),
                score=max(score, before.score if before else 0.0),
            )
        return sorted(merged.values(), key=lambda triple: (triple.head_spans, triple.tail_spans, triple.relation_id))


def _united(first: Iterable[Span], second: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(sorted({*first, *second}))


def _with_all_relations(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate a passage, which knows all the relations that were found in it."""
    relations: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        relations[id(candidate.passage)].append(candidate)
    return [
        Candidate(each[0].passage, relations=tuple(candidate.parts["relation"] for candidate in each))
        for each in relations.values()
    ]
