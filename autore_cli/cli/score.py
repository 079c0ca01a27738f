"""`autore score`: predictions and gold in, figures out."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from autore_cli import schema as schemas
from autore_cli import scoring
from autore_cli.cli import console, options, output, score_view
from autore_cli.errors import ConfigurationError, writing
from autore_cli.files import as_text
from autore_cli.scoring import plot as pictures
from autore_cli.scoring.markdown import markdown
from autore_cli.scoring.tables import By, tables

FIGURES = "Figures"

_logger = logging.getLogger(__name__)


def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Triples as JSON lines, or DocRED's official results (a JSON list); - is stdin.",
            show_default=False,
        ),
    ],
    gold: Annotated[
        Path,
        typer.Argument(
            metavar="GOLD", help="What is right: a DocRED file, or triples as JSON lines.", show_default=False
        ),
    ],
    train: Annotated[
        Path | None,
        typer.Option(
            "--train",
            metavar="FILE",
            help="The training data, a DocRED file, whose facts Ign F1 leaves out.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Another system's predictions, for a paired test.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(
            "--schema",
            metavar="FILE",
            help="The relations, as TOML or JSON. Without it, Re-DocRED's 96.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    by: Annotated[
        list[By] | None,
        typer.Option("--by", help="Break the figures down. Can be given again.", rich_help_panel=FIGURES),
    ] = None,
    stages: Annotated[
        bool,
        typer.Option(
            "--stages", metavar="", help="Show each stage's figures given right input.", rich_help_panel=FIGURES
        ),
    ] = False,
    examples: Annotated[
        int,
        typer.Option(
            "--examples",
            metavar="N",
            min=0,
            help="Show the N most confident errors with their sentences.",
            rich_help_panel=FIGURES,
        ),
    ] = 0,
    resamples: Annotated[
        int,
        typer.Option(
            "--resamples",
            metavar="N",
            min=0,
            help="Rounds of the bootstrap and the paired test; 0: neither.",
            rich_help_panel=FIGURES,
        ),
    ] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Makes both repeatable.", rich_help_panel=FIGURES)
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Write everything as JSON.", rich_help_panel=options.OUTPUT)
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", metavar="", help="Write Markdown tables.", rich_help_panel=options.OUTPUT)
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw what scores are worth, as .png, .svg or .pdf.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Score predicted triples against gold.

    Figures are per cent: P precision, R recall, F1, and the 95 % interval of F1
    over documents. The first, `by alias`, is AutoRE's: a prediction is right if
    its head and tail equal any names of the two entities of a gold fact of that
    relation. Each fact can be found once; repeats of a found one don't count.
    """
    console.configure(quiet=quiet, verbose=verbose, log_format=log_format)
    if as_json and as_markdown:
        raise ConfigurationError("--json and --markdown exclude each other")
    if against and not resamples:
        raise ConfigurationError("--against needs --resamples of at least 1")
    if plot:
        pictures.check(plot)
        output.check(plot, force=force)
    files: dict[scoring.Role, Path | None] = {
        "predictions": predictions,
        "gold": gold,
        "train": train,
        "against": against,
    }
    relations = schemas.load(schema) if schema else schemas.default()
    with console.status("scoring", quiet=quiet):
        sources = {role: scoring.read(path) for role, path in files.items() if path}
        report = scoring.score(sources, relations, scoring.Options(resamples, seed, examples))
    for warning in report.warnings:
        _logger.warning(warning)
    if plot:
        pictures.plot(report.confidence, plot)
    if as_json:
        _write(as_text(report))
    else:
        shown = tables(report, by=tuple(by or ()), stages=stages)
        _write((markdown(report, shown) if as_markdown else score_view.text(report, shown)).encode())


def _write(data: bytes) -> None:
    """Writes to stdout.

    Raises:
        OutputError: the disk is full or the like.
    """
    with writing("stdout"):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
