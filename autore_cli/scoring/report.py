"""Everything that `autore score` says, as one record."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from autore_cli.schema import Schema
from autore_cli.scoring import evaluation
from autore_cli.scoring.confidence import Confidence, confidence
from autore_cli.scoring.evaluation import Evaluation, evaluate
from autore_cli.scoring.examples import Example, examples
from autore_cli.scoring.figures import Figures, Macro, figures, macro
from autore_cli.scoring.gold import GoldDocument, read_gold, training_facts
from autore_cli.scoring.losses import Losses, Stage, StageFigures, losses, stages
from autore_cli.scoring.official import Official, Script
from autore_cli.scoring.predictions import Prediction, read_predictions
from autore_cli.scoring.resampling import Difference, Interval, Row, compare, intervals, totals
from autore_cli.scoring.sources import Source
from autore_cli.scoring.tally import Tally, check, tally, warnings
from autore_cli.versions import version

Role = Literal["predictions", "gold", "train", "against"]


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of `score`.

    Attributes:
        resamples: rounds of the bootstrap and of the paired test; 0 does without, which the paired test can't.
        seed: makes both repeatable.
        examples: how many wrong predictions to show.
    """

    resamples: int = 1000
    seed: int = 0
    examples: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file that figures come from: its name, its SHA-256, and whether it is a JSON list or JSON lines."""

    name: str
    sha256: str
    format: Literal["json", "jsonl"]


@dataclass(frozen=True, slots=True)
class Averages:
    """A metric's micro and macro average."""

    micro: Figures
    macro: Macro


@dataclass(frozen=True, slots=True)
class Group:
    """The alias metric's figures of one group: a relation (named), a distance in sentences, a length in words."""

    key: str
    name: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Report:
    """All figures, in a form that goes into JSON as it is; figures are fractions in [0, 1].

    Attributes:
        autore: the version of this program.
        python: the version of Python.
        schema: the schema's name.
        options: the settings.
        files: the files by their role.
        counts: what was read.
        warnings: what is odd about it, a line each that begins with the file's name.
        alias: AutoRE's metric, the main figure (`metrics.by_alias`).
        entity: the strict metric (`metrics.by_entity`).
        official: the official Re-DocRED script's (`official`).
        intervals: 95 % intervals over documents, by `METRIC.FIGURE` (`alias.f1`); empty without resampling.
        groups: `relation`, `distance` and `length`, each group's alias figures.
        losses: why facts were missed and predictions are wrong, under the alias metric.
        stages: each stage given right input.
        confidence: what the scores are worth; None when predictions have none.
        against: the paired test against another system, by `METRIC.FIGURE`; None without one.
        examples: the most confident errors.
    """

    autore: str
    python: str
    schema: str
    options: Options
    files: dict[Role, File]
    counts: Tally
    warnings: tuple[str, ...]
    alias: Averages
    entity: Averages
    official: Official
    intervals: dict[str, Interval]
    groups: dict[str, tuple[Group, ...]]
    losses: Losses
    stages: dict[Stage, StageFigures]
    confidence: Confidence | None
    against: dict[str, Difference] | None
    examples: tuple[Example, ...]


def score(sources: Mapping[Role, Source], schema: Schema, options: Options = Options()) -> Report:
    """Scores predictions against gold.

    Args:
        sources: `predictions` and `gold`; perhaps `train`, a DocRED file whose facts Ign F1 ignores, and `against`,
            another system's predictions.
        schema: the relations; names those that are given by name, and says which are long-tail.
        options: the settings.

    Raises:
        InputError: a file can't be used, or the figures would be of no worth: no predicted document is in the gold, or
            no predicted relation is known.
    """
    gold = read_gold(sources["gold"], schema)
    systems: tuple[Role, ...] = ("predictions", "against")
    predictions = {role: _predictions(sources[role], gold, schema) for role in systems if role in sources}
    documents = [*gold, *_strangers(gold, chain.from_iterable(predictions.values()))]
    evaluations = {role: evaluate(documents, of_role) for role, of_role in predictions.items()}
    tallies = {role: tally(documents, predictions[role], evaluations[role], schema) for role in predictions}
    ignore = training_facts(sources["train"]) if "train" in sources else None
    figures_of = _Figures(Script(frozenset(schema.by_id), ignore))
    rows = {role: figures_of.rows(of_role) for role, of_role in evaluations.items()}
    judged = evaluations["predictions"]
    relations = evaluation.by_relation(judged.alias)
    names = {relation.id: relation.name for relation in schema}
    resampling = (figures_of, options.resamples, options.seed)
    return Report(
        autore=version("autore") or "not installed",
        python=platform.python_version(),
        schema=schema.name,
        options=options,
        files={role: File(source.name, source.sha256, _format(source)) for role, source in sources.items()},
        counts=tallies["predictions"],
        warnings=tuple(f"{sources[role].name}: {line}" for role in tallies for line in warnings(tallies[role])),
        alias=Averages(evaluation.total(judged.alias), macro(relations.values())),
        entity=Averages(evaluation.total(judged.entity), macro(evaluation.by_relation(judged.entity).values())),
        official=figures_of.official(totals(rows["predictions"])),
        intervals=intervals(rows["predictions"], *resampling) if options.resamples else {},
        groups={
            "relation": _groups(relations, names),
            "distance": _groups(evaluation.by_distance(judged.alias)),
            "length": _groups(evaluation.by_length(judged.alias)),
        },
        losses=losses(judged.alias),
        stages=stages(judged.entity),
        confidence=confidence(judged.alias),
        against=compare(rows["predictions"], rows["against"], *resampling) if "against" in rows else None,
        examples=examples(judged.alias, options.examples, names),
    )


class _Figures:
    """The figures that get intervals and tests, as functions of counts added up over documents."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def rows(self, judged: Evaluation) -> list[Row]:
        """Each document's counts: three by alias, then the script's, which begin with the three by entity."""
        judgements = zip(judged.alias, judged.entity, judged.claims, strict=True)
        return [(*alias.counts, *self._script.row(entity, claims)) for alias, entity, claims in judgements]

    def official(self, sums: Sequence[int]) -> Official:
        return self._script.official(sums[3:])

    def __call__(self, sums: Sequence[int]) -> dict[str, float]:
        official = self.official(sums)
        parts = {
            "alias": figures(*sums[:3]),
            "entity": official.relation,
            "official.ign": official.ign,
            "official.evidence": official.evidence,
            "official.frequent": official.frequent,
            "official.long_tail": official.long_tail,
            "official.intra": official.intra,
            "official.inter": official.inter,
        }
        return {
            f"{name}.{figure}": getattr(part, figure)
            for name, part in parts.items()
            if part is not None
            for figure in ("precision", "recall", "f1")
        }


def _predictions(source: Source, gold: Sequence[GoldDocument], schema: Schema) -> list[Prediction]:
    predictions = read_predictions(source, {document.id: document for document in gold}, schema)
    check(source.name, gold, predictions, schema)
    return predictions


def _strangers(gold: Sequence[GoldDocument], predictions: Iterable[Prediction]) -> list[GoldDocument]:
    """Stand-ins for the documents that only predictions know."""
    ids = {prediction.doc for prediction in predictions}.difference(document.id for document in gold)
    return [GoldDocument(id_, annotated=False) for id_ in sorted(ids)]


def _groups(figures_of_key: Mapping[str, Figures], names: Mapping[str, str] | None = None) -> tuple[Group, ...]:
    return tuple(Group(key, (names or {}).get(key, key), row) for key, row in figures_of_key.items())


def _format(source: Source) -> Literal["json", "jsonl"]:
    return "json" if source.is_array else "jsonl"
