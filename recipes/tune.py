"""Tunes how a bundle decides: the weights of its calibration and the threshold of its scores, on held-out documents.

The stages run with loose settings, so that more is found than should come out; a logistic regression on the
probabilities of each candidate then tells how likely it is right, and the threshold is the one with the best F1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autore_cli import schema as schemas
from autore_cli.calibration import Calibration, log_odds
from autore_cli.model.bundle import Bundle
from autore_cli.model.load import load
from autore_cli.pipeline import Candidate, Pipeline
from autore_cli.records import AnnotatedDocument
from autore_cli.scoring.names import normalise
from autore_cli.stages import paradigm

BATCH = 16

Facts = dict[tuple[str, str, str], int]
"""(head name, relation id, tail name) -> the gold fact that it names."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate: its document, its evidence, and the gold fact that it names, or None."""

    document: int
    probabilities: tuple[float, ...]
    fact: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tuned calibration, with the precision, recall and F1 that it has where it was tuned."""

    calibration: Calibration
    precision: float
    recall: float
    f1: float


def tune(bundle: Bundle, documents: Sequence[AnnotatedDocument], device: str = "auto") -> Outcome:
    """The best calibration of the bundle on these documents."""
    pipeline = Pipeline(
        load(bundle, device=device),
        paradigm(bundle.paradigm),
        bundle.prompts(),
        {name: stage.decoding for name, stage in bundle.stages.items()},
        schemas.default(),
        shapes=bundle.shapes(),
    )
    plain = [annotated.document for annotated in documents]
    found = [
        each for start in range(0, len(plain), BATCH) for each in pipeline.candidates(plain[start : start + BATCH])
    ]
    rows = tried(documents, found, pipeline)
    return best(rows, fit(rows), gold=sum(len(annotated.facts) for annotated in documents))


def gold_facts(document: AnnotatedDocument) -> Facts:
    """Every name that every fact of the document has: all aliases of its head with all of its tail."""
    facts: Facts = {}
    for number, fact in enumerate(document.facts):
        for head in document.names(fact.head):
            for tail in document.names(fact.tail):
                facts.setdefault((normalise(head), fact.relation_id, normalise(tail)), number)
    return facts


def tried(
    documents: Sequence[AnnotatedDocument], found: Sequence[Sequence[Candidate]], pipeline: Pipeline
) -> list[Tried]:
    """What the pipeline found in each document, held against the gold facts."""
    ids = {relation.name: relation.id for relation in pipeline.schema}
    rows = []
    for index, (document, candidates) in enumerate(zip(documents, found, strict=True)):
        facts = gold_facts(document)
        for candidate in candidates:
            parts = candidate.parts
            key = (normalise(parts["head"]), ids[parts["relation"]], normalise(parts["tail"]))
            rows.append(Tried(index, pipeline.evidence(candidate), facts.get(key)))
    return rows


def fit(rows: Sequence[Tried], ridge: float = 1.0, steps: int = 25) -> Calibration:
    """A ridge logistic regression by Newton's method."""
    features = torch.tensor([[*map(log_odds, row.probabilities), 1.0] for row in rows], dtype=torch.float64)
    right = torch.tensor([float(row.fact is not None) for row in rows], dtype=torch.float64)
    weights = torch.zeros(features.shape[1], dtype=torch.float64)
    penalty = ridge * torch.eye(len(weights), dtype=torch.float64)
    for _ in range(steps):
        chance = torch.sigmoid(features @ weights)
        slope = features.T @ (chance - right) + penalty @ weights
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + penalty
        weights = weights - torch.linalg.solve(curvature, slope)
    return Calibration(weights[-1].item(), tuple(round(weight, 4) for weight in weights[:-1].tolist()))


def best(rows: Sequence[Tried], calibration: Calibration, gold: int) -> Outcome:
    """The threshold with the best micro F1 of `gold` facts. Repeats of a found fact don't count."""
    scored = sorted(((calibration.score(row.probabilities), row) for row in rows), key=lambda pair: -pair[0])
    seen: set[tuple[int, int]] = set()
    right, wrong, top = 0, 0, (0.0, 1.0, 0.0, 0.0)
    for score, row in scored:
        if row.fact is None:
            wrong += 1
        elif (row.document, row.fact) not in seen:
            seen.add((row.document, row.fact))
            right += 1
        f1 = 2 * right / (right + wrong + gold)
        if f1 > top[0]:
            top = (f1, score, right / (right + wrong), right / gold)
    f1, threshold, precision, recall = top
    tuned = Calibration(round(calibration.bias, 4), calibration.weights, round(threshold, 4))
    return Outcome(tuned, precision, recall, f1)
