"""Where it is lost: why facts were missed and predictions are wrong, and how good each stage is by itself."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from autore_cli.scoring.alignment import Claim, End
from autore_cli.scoring.figures import Figures, figures
from autore_cli.scoring.gold import GoldDocument
from autore_cli.scoring.metrics import Outcome

Miss = Literal["relation", "head", "tail"]
"""The first stage that did not find a missed fact.

relation: the document has no prediction with this relation. head: it has, but none with this head. tail: it has some
with this relation and head, but none with this tail (or the one that fits found another fact that shares the names).
"""

Error = Literal["relation", "swapped", "boundary", "entity", "fact", "document"]
"""What is wrong with a wrong prediction; the first that applies, in the order: document, boundary, entity, relation,
swapped, fact.

relation: the gold has another relation between these two entities. swapped: it has this one, from tail to head.
boundary: head or tail is no gold entity, but overlaps a mention of one. entity: head or tail is no gold entity, nor
near one: not annotated. fact: both are entities, and nothing is annotated between them. document: the gold does not
have the document.
"""

Stage = Literal["relation", "head", "tail"]


@dataclass(frozen=True, slots=True)
class Losses:
    """How many gold facts were missed, and how many predictions are wrong, by cause."""

    missed: dict[str, int]
    wrong: dict[str, int]


@dataclass(frozen=True, slots=True)
class StageFigures:
    """A stage's figures where what it was given is right.

    Attributes:
        figures: over the items that the stage lists (relations, heads or tails).
        inputs: how many of the right inputs the predictions show.
        possible: how many right inputs there are.
    """

    figures: Figures
    inputs: int
    possible: int


def losses(outcomes: Iterable[Outcome]) -> Losses:
    """Counts the causes over all documents."""
    missed: Counter[str] = Counter(dict.fromkeys(get_args(Miss), 0))
    wrong: Counter[str] = Counter(dict.fromkeys(get_args(Error), 0))
    for outcome in outcomes:
        missed.update(misses(outcome))
        wrong.update(error(outcome.document, claim) for claim in outcome.wrong)
    return Losses(dict(missed), dict(wrong))


def misses(outcome: Outcome) -> list[Miss]:
    """The cause of each missed fact of one document, in the order of `outcome.missed`."""
    heads: dict[str, set[int]] = {}
    for claim in (*(claim for claim, _ in outcome.right), *outcome.wrong):
        heads.setdefault(claim.relation_id, set()).update(_entities(outcome.document, claim.head))
    return [
        "relation" if relation not in heads else "head" if head not in heads[relation] else "tail"
        for head, relation, _ in outcome.missed
    ]


def error(document: GoldDocument, claim: Claim) -> Error:
    """What is wrong with a wrong prediction."""
    if not document.annotated:
        return "document"
    ends = [(end, _entities(document, end)) for end in (claim.head, claim.tail)]
    strangers = [end for end, entities in ends if not entities]
    if strangers:
        return "boundary" if all(_overlaps(end, document) for end in strangers) else "entity"
    (_, heads), (_, tails) = ends
    if any(document.relations.get((head, tail)) for head in heads for tail in tails):
        return "relation"
    if any(claim.relation_id in document.relations.get((tail, head), ()) for head in heads for tail in tails):
        return "swapped"
    return "fact"


def stages(outcomes: Iterable[Outcome]) -> dict[Stage, StageFigures]:
    """Each stage's figures given right input, as far as triples show it.

    The relation stage lists a document's relations; the head stage the heads of a document and relation; the tail stage
    the tails of a document, relation and head. Head and tail stage are judged on the inputs that are right (the gold
    has them) and that predictions show they were given; what they would have listed for an input that never reached
    them, or for which they listed nothing, triples don't tell. Ends are compared as entities.

    Args:
        outcomes: the outcomes by entity.
    """
    gold: set[_Path] = set()
    claimed: set[_Path] = set()
    documents = []
    for outcome in outcomes:
        if outcome.document.annotated:
            id_ = outcome.document.id
            documents.append(id_)
            gold.update((id_, relation, head, tail) for head, relation, tail in outcome.document.facts)
            claims = (*(claim for claim, _ in outcome.right), *outcome.wrong)
            claimed.update((id_, claim.relation_id, claim.head.key, claim.tail.key) for claim in claims)
    return {
        "relation": _stage(gold, claimed, 1, [(id_,) for id_ in documents]),
        "head": _stage(gold, claimed, 2),
        "tail": _stage(gold, claimed, 3),
    }


_Path = tuple[int | str, ...]
"""Document, relation, head, tail: a stage's input is the beginning of one, its item what follows."""


def _stage(gold: set[_Path], claimed: set[_Path], length: int, inputs: Collection[_Path] | None = None) -> StageFigures:
    """Figures of the stage whose inputs have `length` parts. `inputs`: the right ones, if the gold facts don't tell."""
    possible = {path[:length] for path in gold} if inputs is None else set(inputs)
    listed = {path[: length + 1] for path in claimed if path[:length] in possible}
    shown = {item[:length] for item in listed} if inputs is None else possible
    wanted = {path[: length + 1] for path in gold if path[:length] in shown}
    return StageFigures(figures(len(listed & wanted), len(listed), len(wanted)), len(shown), len(possible))


def _entities(document: GoldDocument, end: End) -> Collection[int]:
    """The gold entities that an end may be: the one that its document gives it, and all of its name."""
    named = document.aliases.get(end.name, ())
    return named if end.entity is None else {end.entity, *named}


def _overlaps(end: End, document: GoldDocument) -> bool:
    return any(
        start < mention_end and mention_start < stop
        for start, stop in end.spans
        for mention_start, mention_end in document.mentioned_at
    )
