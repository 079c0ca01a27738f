"""The annotated corpora that the default bundle learns from, as `AnnotatedDocument`s."""

import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from autore_cli.documents import read_docred, render, sentences
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact, Span

_PRONOUNS = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "him",
        "her",
        "them",
        "his",
        "hers",
        "its",
        "their",
        "theirs",
        "who",
        "whom",
        "whose",
        "i",
        "we",
        "you",
        "my",
        "our",
    ]
)

KNOWLEDGENET_RELATIONS = {
    "CHILD_OF": ("P40", True),  # the property's head is the child, Wikidata's `child` goes the other way
    "DATE_FOUNDED": ("P571", False),
    "DATE_OF_BIRTH": ("P569", False),
    "DATE_OF_DEATH": ("P570", False),
    "EDUCATED_AT": ("P69", False),
    "FOUNDED_BY": ("P112", False),
    "HEADQUARTERS": ("P159", False),
    "NATIONALITY": ("P27", False),
    "PLACE_OF_BIRTH": ("P19", False),
    "PLACE_OF_RESIDENCE": ("P551", False),
    "POLITICAL_AFFILIATION": ("P102", False),
    "SPOUSE": ("P26", False),
    "SUBSIDIARY_OF": ("P749", False),
}
"""KnowledgeNet's properties with a counterpart among Re-DocRED's relations, and whether head and tail change places."""


def split_redocred(data: Path, held_out: int) -> tuple[list[AnnotatedDocument], list[AnnotatedDocument]]:
    """Re-DocRED's dev documents in a fixed order: those to train on, and the last ones, which are held out."""
    documents = list(read_docred(data / "redocred" / "dev_revised.json"))
    random.Random(13).shuffle(documents)
    cut = len(documents) - held_out
    return documents[:cut], documents[cut:]


def read_knowledgenet(path: Path) -> Iterator[AnnotatedDocument]:
    """KnowledgeNet (Mesquita et al. 2019): each annotated passage as a document of its own.

    Only the relations that were annotated in the passage count as known, and of these only those without a fact on a
    pronoun, which is no name.
    """
    for line in path.read_bytes().splitlines():
        record = orjson.loads(line)
        for number, passage in enumerate(record["passages"]):
            yield _passage(f"{record['id']}:{number}", passage)


def _passage(name: str, passage: dict[str, list[list[str]]]) -> AnnotatedDocument:
    text = str(passage["text"])
    known = {
        KNOWLEDGENET_RELATIONS[each][0] for each in map(str, passage["annotated"]) if each in KNOWLEDGENET_RELATIONS
    }
    entities: dict[str, int] = {}
    mentions: list[Entity] = []
    facts = []
    for head, label, tail in passage["facts"]:
        if label not in KNOWLEDGENET_RELATIONS:
            continue
        relation, turned = KNOWLEDGENET_RELATIONS[label]
        spans = [_occurrences(text, each) for each in (head, tail)]
        if head.lower() in _PRONOUNS or tail.lower() in _PRONOUNS or not all(spans):
            known.discard(relation)
            continue
        for each, occurrences in zip((head, tail), spans, strict=True):
            if each not in entities:
                entities[each] = len(mentions)
                mentions.append(Entity(tuple(occurrences)))
        ends = (entities[tail], entities[head]) if turned else (entities[head], entities[tail])
        facts.append(Fact(ends[0], relation, ends[1]))
    facts = [fact for fact in facts if fact.relation_id in known]
    spans_of = tuple(sentences(text))
    return AnnotatedDocument(Document(name, text), spans_of, tuple(mentions), tuple(facts), frozenset(known))


def _occurrences(text: str, name: str) -> list[Span]:
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def read_fewrel(path: Path, relations: Iterable[str]) -> Iterator[AnnotatedDocument]:
    """FewRel (Han et al. 2018): each sentence of one of `relations` as a document with one fact."""
    wanted = frozenset(relations)
    for relation, instances in orjson.loads(path.read_bytes()).items():
        if relation not in wanted:
            continue
        for number, instance in enumerate(instances):
            text, (row,) = render([instance["tokens"]])
            ends = [
                Entity(tuple((row[run[0]][0], row[run[-1]][1]) for run in instance[side][2])) for side in ("h", "t")
            ]
            document = Document(f"{relation}:{number}", text)
            fact = Fact(0, relation, 1)
            yield AnnotatedDocument(document, ((0, len(text)),), tuple(ends), (fact,), frozenset({relation}))
