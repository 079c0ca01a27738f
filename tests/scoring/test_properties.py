"""What holds whatever is predicted, on documents whose entities share no names."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autore_cli.scoring import Report, Source
from tests.scoring.helpers import lines, scored

PATIENT = settings(deadline=None, max_examples=60)
"""A busy machine is no failure."""

Fact = tuple[int, int, str, int]
"""Document, head, relation, tail."""

Row = Mapping[str, Any]

ENTITIES = ("Ada Brook", "Brook"), ("Port Selma", "Selma"), ("Norland", "Norland"), ('" Old Light "', "Light")
ENDS = st.integers(0, len(ENTITIES) - 1)
FACTS = st.lists(
    st.tuples(st.integers(0, 2), ENDS, st.sampled_from(["P17", "P19", "P27"]), ENDS), unique=True, max_size=9
)
GOLD = FACTS.filter(bool)
PREDICTED = st.lists(
    st.fixed_dictionaries(
        {
            "doc": st.sampled_from(["d0", "d1", "d2"]),
            "head": st.sampled_from([*(name for names in ENTITIES for name in names), "Nobody"]),
            "relation_id": st.sampled_from(["P17", "P19", "P27", "P40"]),
            "tail": st.sampled_from([*(name for names in ENTITIES for name in names), "Old"]),
            "score": st.sampled_from([0.1, 0.5, 0.9]),
        }
    ),
    max_size=9,
)


def gold(facts: Sequence[Fact]) -> Source:
    """Three documents; each has a sentence with the entities' first names, then two others, then their second names."""
    sents = [" and ".join(names).split() for names in zip(*ENTITIES, strict=True)]
    sents[1:1] = [["Nothing", "."], ["Nothing", "more", "."]]
    vertex_set = [[mention(sents, 0, first), mention(sents, 3, second)] for first, second in ENTITIES]
    records = [
        {
            "title": f"d{number}",
            "sents": sents,
            "vertexSet": vertex_set,
            "labels": [{"h": h, "r": r, "t": t, "evidence": []} for d, h, r, t in facts if d == number],
        }
        for number in range(3)
    ]
    return Source("gold.json", json.dumps(records).encode())


def mention(sents: list[list[str]], number: int, name: str) -> dict[str, object]:
    tokens = name.split()
    starts = range(len(sents[number]))
    start = next(start for start in starts if sents[number][start : start + len(tokens)] == tokens)
    return {"name": name, "sent_id": number, "pos": [start, start + len(tokens)], "type": "MISC"}


def row(fact: Fact, alias: int = 0) -> Row:
    doc, head, relation, tail = fact
    names = ENTITIES[head][alias], ENTITIES[tail][alias]
    return {"doc": f"d{doc}", "head": names[0], "relation_id": relation, "tail": names[1], "score": 0.5}


def result(rows: Sequence[Row], facts: Sequence[Fact]) -> Report:
    source = lines(rows) if rows else Source("rows.json", b"[]")
    return scored(source, gold(facts), examples=5)


def figures(report: Report) -> dict[str, Any]:
    """All of a report but the files' hashes."""
    return asdict(report) | {"files": None}


def fractions(value: Any, name: str = "") -> Iterator[float]:
    """All precisions, recalls, F1s, average precisions and ECEs of a report."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from fractions(item, key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from fractions(item)
    elif name in ("precision", "recall", "f1", "average_precision", "ece") and value is not None:
        yield value


@PATIENT
@given(PREDICTED, GOLD)
def test_fractions_are_within_0_and_1_and_counts_add_up(rows: list[Row], facts: list[Fact]) -> None:
    report = result(rows, facts)
    found = list(fractions(report))
    assert len(found) > 20
    assert all(0 <= fraction <= 1 for fraction in found)
    alias = report.alias.micro
    assert alias.predicted + report.counts.repeats == len(rows)
    assert sum(report.losses.missed.values()) == alias.gold - alias.right
    assert sum(report.losses.wrong.values()) == alias.predicted - alias.right
    for groups in report.groups.values():
        assert sum(group.figures.right for group in groups) == alias.right
        assert sum(group.figures.predicted for group in groups) == alias.predicted
        assert sum(group.figures.gold for group in groups) == alias.gold


@PATIENT
@given(PREDICTED, GOLD, st.data())
def test_another_right_prediction_never_lowers_recall_or_precision(
    rows: list[Row], facts: list[Fact], data: st.DataObject
) -> None:
    more = row(data.draw(st.sampled_from(facts)), data.draw(st.integers(0, 1)))
    before, after = result(rows, facts), result([*rows, more], facts)
    for metric in ("alias", "entity"):
        first, second = getattr(before, metric).micro, getattr(after, metric).micro
        assert second.recall >= first.recall
        assert second.precision >= first.precision
        assert second.gold == first.gold


@PATIENT
@given(PREDICTED, GOLD, st.randoms())
def test_the_order_of_lines_is_irrelevant(rows: list[Row], facts: list[Fact], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert figures(result(shuffled, facts)) == figures(result(rows, facts))


@PATIENT
@given(FACTS, GOLD, st.data())
def test_the_choice_of_alias_is_irrelevant(claimed: list[Fact], facts: list[Fact], data: st.DataObject) -> None:
    first = result([row(fact) for fact in claimed], facts)
    second = result([row(fact, data.draw(st.integers(0, 1))) for fact in claimed], facts)
    assert figures(first) | {"examples": None} == figures(second) | {"examples": None}


@PATIENT
@given(PREDICTED, GOLD)
def test_white_space_in_names_is_irrelevant(rows: list[Row], facts: list[Fact]) -> None:
    squeezed = [
        {**row, "head": row["head"].replace(" ", ""), "tail": f" {row['tail'].replace(' ', '  ')}"} for row in rows
    ]
    assert figures(result(squeezed, facts)) | {"examples": None} == figures(result(rows, facts)) | {"examples": None}


@PATIENT
@given(GOLD, st.data())
def test_the_gold_itself_is_perfect(facts: list[Fact], data: st.DataObject) -> None:
    report = result([row(fact, data.draw(st.integers(0, 1))) for fact in facts], facts)
    assert report.alias.micro.f1 == report.entity.micro.f1 == report.alias.macro.f1 == 1
    assert all(of.figures.f1 == 1 and of.inputs == of.possible for of in report.stages.values())


@PATIENT
@given(PREDICTED, GOLD)
def test_keeping_what_the_best_threshold_keeps_gives_its_figures(rows: list[Row], facts: list[Fact]) -> None:
    confidence = result(rows, facts).confidence
    for point in confidence.curve if confidence else ():
        kept = result([row for row in rows if row["score"] >= point.threshold], facts).alias.micro
        assert (kept.precision, kept.recall, kept.f1) == (point.precision, point.recall, point.f1)
