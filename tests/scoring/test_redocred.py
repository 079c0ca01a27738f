"""On Re-DocRED itself, where AUTORE_DATA says where it lies."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autore_cli import schema
from autore_cli.documents import read_docred
from autore_cli.scoring import Options, Report, Source, read, score
from tests.scoring.helpers import lines

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif("AUTORE_DATA" not in os.environ, reason="AUTORE_DATA is not set"),
]


def gold() -> Path:
    return Path(os.environ["AUTORE_DATA"], "redocred", "test_revised_even.json")


def results() -> Source:
    """The gold as official results."""
    rows = [
        {
            "title": record["title"],
            "h_idx": label["h"],
            "t_idx": label["t"],
            "r": label["r"],
            "evidence": label["evidence"],
        }
        for record in json.loads(gold().read_bytes())
        for label in record["labels"]
    ]
    return Source("results.json", json.dumps(rows).encode())


def tokenised() -> Source:
    """The gold as triples of DocRED's own names, without spans."""
    return lines(
        {
            "doc": record["title"],
            "head": record["vertexSet"][label["h"]][-1]["name"],
            "relation_id": label["r"],
            "tail": record["vertexSet"][label["t"]][-1]["name"],
        }
        for record in json.loads(gold().read_bytes())
        for label in record["labels"]
    )


def natural() -> Source:
    """The gold as triples read from natural text, with spans."""
    return lines(
        {
            "doc": document.document.id,
            "head": document.names(fact.head)[0],
            "relation_id": fact.relation_id,
            "tail": document.names(fact.tail)[0],
            "head_spans": document.entities[fact.head].mentions[:1],
            "tail_spans": document.entities[fact.tail].mentions[:1],
        }
        for document in read_docred(gold())
        for fact in document.facts
    )


def of(source: Source) -> Report:
    return score({"predictions": source, "gold": read(gold())}, schema.default(), Options(resamples=0))


@pytest.mark.parametrize("source", [results, tokenised, natural])
def test_the_gold_is_perfect_by_alias_however_it_is_written(source: Callable[[], Source]) -> None:
    report = of(source())
    assert report.alias.micro.f1 == 1
    assert report.counts.aligned == report.counts.predictions == 8699
    assert not report.warnings


@pytest.mark.parametrize("source", [results, natural])
def test_the_gold_is_perfect_by_entity_where_indices_or_spans_tell(source: Callable[[], Source]) -> None:
    assert of(source()).entity.micro.f1 == 1


def test_the_official_evidence_figure_never_reaches_1() -> None:
    evidence = of(results()).official.evidence
    assert evidence.precision == 1
    assert evidence.recall == evidence.gold / (evidence.gold + 1)
