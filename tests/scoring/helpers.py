"""What the tests of scoring share."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from autore_cli import schema
from autore_cli.records import Fact
from autore_cli.scoring import Options, Report, Role, Source, read, score
from autore_cli.scoring.alignment import Aligner, Claim
from autore_cli.scoring.gold import GoldDocument, GoldEntity, read_gold
from autore_cli.scoring.metrics import ranked
from autore_cli.scoring.predictions import Prediction

FIXTURES = Path(__file__).parent.parent / "fixtures" / "scoring"
GOLD = FIXTURES / "gold.json"

Triple = tuple[str, str, str]


def fixture_gold() -> dict[str, GoldDocument]:
    """The fixture's documents by id: `Old Light`, `Two Reeds`, `Silence` (without facts)."""
    return {document.id: document for document in read_gold(read(GOLD), schema.default())}


def lines(rows: Iterable[Mapping[str, object]], name: str = "rows.jsonl") -> Source:
    return Source(name, "".join(json.dumps(row) + "\n" for row in rows).encode())


def scored(
    predictions: Source | str,
    gold: Source | None = None,
    *,
    train: str | None = None,
    against: str | None = None,
    resamples: int = 0,
    examples: int = 0,
) -> Report:
    """Scores a fixture, or a source, against the fixture's gold or another."""
    sources: dict[Role, Source] = {
        "predictions": read(FIXTURES / predictions) if isinstance(predictions, str) else predictions,
        "gold": gold or read(GOLD),
    }
    if train:
        sources["train"] = read(FIXTURES / train)
    if against:
        sources["against"] = read(FIXTURES / against)
    return score(sources, schema.default(), Options(resamples, examples=examples))


def document(names: Iterable[Iterable[str]], facts: Iterable[tuple[int, str, int]], id_: str = "d") -> GoldDocument:
    """A document without text: an entity for each list of names."""
    entities = tuple(GoldEntity(aliases[0], aliases) for aliases in map(tuple, names))
    return GoldDocument(id_, entities, tuple(Fact(*fact) for fact in facts))


def claims(gold: GoldDocument, triples: Iterable[Triple], scores: Iterable[float] = ()) -> list[Claim]:
    """Claims by name, ranked."""
    aligner = Aligner(gold)
    given = list(scores)
    return ranked(
        aligner.align(Prediction(gold.id, *triple, score=given[i] if given else None))
        for i, triple in enumerate(triples)
    )
