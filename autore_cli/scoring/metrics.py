"""The two ways to decide which predictions are right: by alias (AutoRE's metric), and by entity (strict)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from autore_cli.scoring.alignment import Claim, Triple
from autore_cli.scoring.figures import Counts
from autore_cli.scoring.gold import FactKey, GoldDocument
from autore_cli.scoring.matching import Matching


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document's predictions under one metric.

    Attributes:
        document: the gold document.
        right: the right predictions, each with the fact that it found; by falling score.
        wrong: the wrong ones; by falling score.
        repeats: how many were neither: they say again what another one says.
        missed: the facts that none found.
    """

    document: GoldDocument
    right: tuple[tuple[Claim, FactKey], ...]
    wrong: tuple[Claim, ...]
    repeats: int
    missed: tuple[FactKey, ...]

    @property
    def counts(self) -> Counts:
        """Right, judged, gold."""
        return len(self.right), len(self.right) + len(self.wrong), len(self.document.facts)


def ranked(claims: Iterable[Claim]) -> list[Claim]:
    """One document's claims by falling score, those without one last; equal scores in the order of their words."""
    return sorted(claims, key=_rank)


def by_alias(document: GoldDocument, claims: Sequence[Claim]) -> Outcome:
    """AutoRE's metric: names decide.

    A prediction is right if it equals head alias, relation and tail alias of a gold fact, for any alias of the head
    and any of the tail. Each gold fact is found once; further predictions of a found one are neither right nor wrong;
    a wrong triple that is repeated word for word is wrong once. Where entities share a name, so that a prediction fits
    several facts, predictions and facts are paired so that as many as possible are found: the order of lines can't
    matter.

    Source: Xue et al. 2024, "AutoRE: Document-Level Relation Extraction with Large Language Models"
    (arXiv:2403.14888), by the definition. The code published with it departs from that: one prediction may find
    several gold facts at once, each counted as right; names that the text doesn't have are replaced by the most similar
    stretch of it (fuzzy matching), and triples whose head is their tail dropped, before anything is counted; documents
    without labels are left out, with whatever was predicted for them.

    Args:
        document: the gold document.
        claims: its predictions as `ranked` orders them.
    """
    facts_of_relation: dict[str, list[FactKey]] = {}
    for fact in document.facts:
        facts_of_relation.setdefault(fact[1], []).append(fact)
    matching: Matching[FactKey] = Matching()
    fitting: list[Claim] = []
    wrong: dict[tuple[str, str, str], Claim] = {}
    for claim in claims:
        heads = document.aliases.get(claim.head.name, ())
        tails = document.aliases.get(claim.tail.name, ())
        pairs = ((head, claim.relation_id, tail) for head in heads for tail in tails)
        facts = [fact for fact in pairs if fact in document.facts]
        if facts:
            fitting.append(claim)
            matching.add(facts)
        else:
            wrong.setdefault((claim.head.name, claim.relation_id, claim.tail.name), claim)
    right = sorted((claim, fact) for fact, claim in matching.owner.items())
    return _outcome(document, claims, [(fitting[claim], fact) for claim, fact in right], wrong.values())


def by_entity(document: GoldDocument, claims: Sequence[Claim]) -> Outcome:
    """The strict metric: entities decide.

    Aliases are merged before anything is counted: each head and tail is the gold entity it is aligned to, or, if none,
    its name. Repeats are removed. What remains is right if the gold has that fact, else wrong.

    Source: Yao et al. 2019, "DocRED: A Large-Scale Document-Level Relation Extraction Dataset" (arXiv:1906.06127);
    for predictions that give entity indices this is the official script's counting.

    Args:
        document: the gold document.
        claims: its predictions as `ranked` orders them.
    """
    distinct: dict[Triple, Claim] = {}
    for claim in claims:
        distinct.setdefault(claim.triple, claim)
    right: list[tuple[Claim, FactKey]] = []
    wrong: list[Claim] = []
    for claim in distinct.values():
        fact = claim.fact
        if fact in document.facts:
            right.append((claim, fact))
        else:
            wrong.append(claim)
    return _outcome(document, claims, right, wrong)


def _rank(claim: Claim) -> tuple[object, ...]:
    prediction = claim.prediction
    words = (claim.head.name, claim.relation_id, claim.tail.name)
    return (
        -claim.score,
        *words,
        prediction.head_spans,
        prediction.tail_spans,
        str(claim.head.key),
        str(claim.tail.key),
    )


def _outcome(
    document: GoldDocument,
    claims: Sequence[Claim],
    right: Sequence[tuple[Claim, FactKey]],
    wrong: Collection[Claim],
) -> Outcome:
    found = {fact for _, fact in right}
    missed = tuple(fact for fact in document.facts if fact not in found)
    return Outcome(document, tuple(right), tuple(wrong), len(claims) - len(right) - len(wrong), missed)
