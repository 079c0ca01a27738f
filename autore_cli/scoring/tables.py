"""A report as tables of text: the form that terminal and Markdown share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from autore_cli.scoring.figures import Figures, Macro
from autore_cli.scoring.official import Ignoring
from autore_cli.scoring.report import Averages, Report
from autore_cli.scoring.resampling import Interval


class By(StrEnum):
    """What the figures can be broken down by: the keys of `Report.groups`."""

    RELATION = "relation"
    DISTANCE = "distance"
    LENGTH = "length"


Row = tuple[str, ...]

NONE = "–"
"""What stands where there is no figure."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under a title, which may be empty."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        texts: how many of the first columns hold words; the others hold numbers.
        shares: whether the last column is a share of its section, in per cent.
    """

    title: str
    columns: Row
    sections: tuple[Section, ...]
    texts: int = 1
    shares: bool = False


FIGURES = ("P", "R", "F1", "95 % of F1", "right", "judged", "gold")

MISSES = {"relation": "relation not found", "head": "head not found", "tail": "tail not found"}
"""What `losses.Miss` is called."""

ERRORS = {
    "relation": "wrong relation",
    "swapped": "head and tail swapped",
    "boundary": "boundary: overlaps a gold mention",
    "entity": "not annotated: head or tail",
    "fact": "not annotated: fact between them",
    "document": "document not in the gold",
}
"""What `losses.Error` is called."""

GROUPS: dict[By, str] = {
    By.RELATION: "By relation",
    By.DISTANCE: "By sentences between head and tail",
    By.LENGTH: "By words in the document",
}

COMPARED = {
    "alias.precision": "by alias: P",
    "alias.recall": "by alias: R",
    "alias.f1": "by alias: F1",
    "entity.f1": "by entity: F1",
    "official.ign.f1": "Ign F1",
    "official.evidence.f1": "evidence F1",
    "official.frequent.f1": "frequent relations: F1",
    "official.long_tail.f1": "long-tail relations: F1",
    "official.intra.f1": "intra-sentence: F1",
    "official.inter.f1": "inter-sentence: F1",
}
"""The figures that `against` shows."""


def tables(report: Report, *, by: tuple[By, ...] = (), stages: bool = False) -> Iterator[Table]:
    """The tables of a report: the figures and where it is lost; more where asked for or where there is something."""
    yield _scores(report)
    if report.against is not None:
        yield _against(report)
    yield _losses(report)
    if stages:
        yield _stages(report)
    if report.confidence is not None:
        yield _confidence(report)
    for group in by:
        yield _groups(report, group)


def headline(report: Report) -> str:
    """What was scored, in a line."""
    counts = report.counts
    aligned = percent(counts.aligned / counts.predictions, 1) if counts.predictions else NONE
    return (
        f"{counts.documents:,} documents, {counts.facts:,} gold facts, {counts.predictions:,} predictions: "
        f"{aligned} % aligned with gold entities, {counts.repeats:,} repeats"
    )


def source_lines(report: Report, digits: int = 64) -> list[str]:
    """What makes the figures citable: version, settings, and the files with the first `digits` of their hashes."""
    resampling = f", {report.options.resamples:,} resamples, seed {report.options.seed}"
    files = [f"{role} {file.name} (sha256 {file.sha256[:digits]})" for role, file in report.files.items()]
    return [f"autore {report.autore}, schema {report.schema}{resampling if report.options.resamples else ''}", *files]


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction as per cent, without the sign."""
    return f"{100 * fraction:.{digits}f}"


def _scores(report: Report) -> Table:
    official, between = report.official, report.intervals
    has_evidence = report.counts.with_evidence > 0
    script = (
        _row("F1", official.relation, between.get("entity.f1")),
        _ignoring(official.ign, between.get("official.ign.f1")),
        _row("evidence", official.evidence, between.get("official.evidence.f1")) if has_evidence else _none("evidence"),
        _row("frequent relations", official.frequent, between.get("official.frequent.f1")),
        _row("long-tail relations", official.long_tail, between.get("official.long_tail.f1")),
        _row("intra-sentence", official.intra, between.get("official.intra.f1")),
        _row("inter-sentence", official.inter, between.get("official.inter.f1")),
    )
    sections = (
        Section("By alias (AutoRE)", _averages(report.alias, between.get("alias.f1"))),
        Section("By entity (strict)", _averages(report.entity, between.get("entity.f1"))),
        Section("Re-DocRED's script", script),
    )
    return Table("Scores", ("", *FIGURES), sections)


def _losses(report: Report) -> Table:
    missed, wrong = report.losses.missed, report.losses.wrong
    sections = (
        Section(f"{sum(missed.values()):,} gold facts missed", _shares(missed, MISSES)),
        Section(f"{sum(wrong.values()):,} predictions wrong", _shares(wrong, ERRORS)),
    )
    return Table("Where it is lost, by alias", ("", "number", "%"), sections, shares=True)


def _stages(report: Report) -> Table:
    rows = tuple(
        (stage, *_cells(of.figures), f"{of.inputs:,}", f"{of.possible:,}") for stage, of in report.stages.items()
    )
    columns = ("", "P", "R", "F1", "right", "judged", "gold", "inputs", "of")
    return Table("Stages given right input", columns, (Section("", rows),))


def _confidence(report: Report) -> Table:
    assert report.confidence is not None  # noqa: S101 - the caller looked
    confidence = report.confidence
    best = confidence.best
    rows = (
        ("best threshold", f"{best.threshold:.4g}"),
        ("F1 there (P, R)", f"{percent(best.f1)} ({percent(best.precision)}, {percent(best.recall)})"),
        ("average precision", percent(confidence.average_precision)),
        ("calibration error (ECE)", NONE if confidence.ece is None else percent(confidence.ece)),
    )
    return Table("What the predictions' scores are worth", ("", ""), (Section("", rows),))


def _against(report: Report) -> Table:
    assert report.against is not None  # noqa: S101 - the caller looked
    rows = tuple(
        (
            name,
            percent(difference.ours),
            percent(difference.theirs),
            f"{100 * difference.difference:+.2f}",
            f"{100 * difference.interval.low:+.1f} to {100 * difference.interval.high:+.1f}",
            f"{difference.p:.3f}",
        )
        for key, name in COMPARED.items()
        if (difference := report.against.get(key)) and (difference.ours or difference.theirs)
    )
    title = f"Against {report.files['against'].name}"
    return Table(title, ("", "this", "that", "difference", "95 %", "p"), (Section("", rows),))


def _groups(report: Report, by: By) -> Table:
    names = 2 if by is By.RELATION else 1
    rows = tuple(((group.key, group.name)[:names]) + _cells(group.figures) for group in report.groups[by])
    columns = (*[""] * names, "P", "R", "F1", "right", "judged", "gold")
    return Table(GROUPS[by], columns, (Section("", rows),), texts=names)


def _averages(averages: Averages, interval: Interval | None) -> tuple[Row, Row]:
    return _row("micro", averages.micro, interval), _macro(averages.macro)


def _row(name: str, figures: Figures, interval: Interval | None) -> Row:
    cells = _cells(figures)
    return name, *cells[:3], _between(interval), *cells[3:]


def _macro(macro: Macro) -> Row:
    name = f"macro, {macro.relations} relations"
    return name, percent(macro.precision), percent(macro.recall), percent(macro.f1), "", "", "", ""


def _ignoring(ign: Ignoring | None, interval: Interval | None) -> Row:
    if ign is None:
        return _none("Ign F1")
    return "Ign F1", percent(ign.precision), percent(ign.recall), percent(ign.f1), _between(interval), "", "", ""


def _none(name: str) -> Row:
    return name, NONE, NONE, NONE, "", "", "", ""


def _cells(figures: Figures) -> Row:
    """Precision, recall, F1, and the counts."""
    fractions = (figures.precision, figures.recall, figures.f1)
    counts = (figures.right, figures.predicted, figures.gold)
    return (*map(percent, fractions), *(f"{count:,}" for count in counts))


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f"{percent(interval.low, 1)}–{percent(interval.high, 1)}"


def _shares(counts: Mapping[str, int], names: Mapping[str, str]) -> tuple[Row, ...]:
    """Each cause's number and its share of all."""
    total = sum(counts.values()) or 1
    return tuple((name, f"{counts[key]:,}", percent(counts[key] / total, 1)) for key, name in names.items())
