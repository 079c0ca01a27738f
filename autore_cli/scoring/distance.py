"""How far apart a fact's head and tail stand, in sentences, and how long a document is, in words."""

from autore_cli.scoring.alignment import Claim
from autore_cli.scoring.gold import FactKey, GoldDocument

UNKNOWN = "unknown"
DISTANCES = ("0", "1", "2", "3-4", "5+", UNKNOWN)
LENGTHS = ("1-99", "100-149", "150-199", "200-299", "300+", UNKNOWN)


def of_claim(claim: Claim) -> int | None:
    """The fewest sentences between a mention of the head and one of the tail; 0: they share one; None: unknown."""
    return _between(claim.head.sentences, claim.tail.sentences)


def of_fact(document: GoldDocument, fact: FactKey) -> int | None:
    """The same for a gold fact."""
    head, _, tail = fact
    return _between(document.entities[head].sentences, document.entities[tail].sentences)


def distance_group(distance: int | None) -> str:
    """The member of DISTANCES that a distance belongs to."""
    if distance is None:
        return UNKNOWN
    return DISTANCES[distance] if distance < 3 else "3-4" if distance < 5 else "5+"


def length_group(document: GoldDocument) -> str:
    """The member of LENGTHS that a document belongs to, by the words of its text."""
    if document.text is None:
        return UNKNOWN
    words = len(document.text.split())
    limits = (100, 150, 200, 300)
    return LENGTHS[sum(words >= limit for limit in limits)]


def _between(heads: frozenset[int], tails: frozenset[int]) -> int | None:
    if not heads.isdisjoint(tails):
        return 0
    return min((abs(head - tail) for head in heads for tail in tails), default=None)
