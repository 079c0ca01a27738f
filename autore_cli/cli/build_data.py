"""`autore build-data`: annotated documents in, training files out."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from autore_cli.cli import choices, console, options, output
from autore_cli.documents import read_docred
from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.model import bundle as bundles
from autore_cli.model.dataset import STAGE_FILES
from autore_cli.stages import NO, StageName, paradigm

EXAMPLES = "Examples"

_DEFAULTS = ExampleSettings()


@dataclass(slots=True)
class Statistics:
    """What has been made so far, by stage and kind. A negative is an empty list, or a no."""

    documents: int = 0
    examples: Counter[tuple[str, str]] = field(default_factory=Counter)
    negatives: Counter[tuple[str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, examples: Iterable[Example]) -> None:
        """Counts a document's examples."""
        self.documents += 1
        for example in examples:
            key = example.stage, example.kind
            self.examples[key] += 1
            self.negatives[key] += example.completion in ("", NO)
            self.characters[key] += len(example.prompt.text)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The rows of a table with the columns `COLUMNS`."""
        for key, count in self.examples.items():
            yield *key, f"{count:,}", f"{self.negatives[key]:,}", f"{self.characters[key] / count:,.0f}"


COLUMNS = "stage", "kind", "examples", "negative", "characters a prompt"


def build_data(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILES", help="Annotated documents: files in DocRED's format.", show_default=False),
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where the training files go.",
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ],
    force: options.Force = False,
    model: options.Model = bundles.DEFAULT,
    schema: options.Schema = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of all that is drawn.", rich_help_panel=EXAMPLES)
    ] = 0,
    orders: Annotated[
        int,
        typer.Option(
            "--orders", min=1, metavar="N", help="Orders in which a list is taught.", rich_help_panel=EXAMPLES
        ),
    ] = _DEFAULTS.orders,
    aliases: Annotated[
        bool, typer.Option(metavar="", help="Ask for a head by each of its names.", rich_help_panel=EXAMPLES)
    ] = _DEFAULTS.aliases,
    choose: Annotated[
        bool, typer.Option(metavar="", help="Make yes/no examples as well as lists.", rich_help_panel=EXAMPLES)
    ] = _DEFAULTS.choose,
    negative_relations: Annotated[
        int,
        typer.Option(
            "--negative-relations",
            metavar="N",
            min=0,
            help="Relations without facts to ask for, a document.",
            rich_help_panel=EXAMPLES,
        ),
    ] = _DEFAULTS.negative_relations,
    negative_heads: Annotated[
        int,
        typer.Option(
            "--negative-heads",
            metavar="N",
            min=0,
            help="Heads without facts to ask for, a relation.",
            rich_help_panel=EXAMPLES,
        ),
    ] = _DEFAULTS.negative_heads,
    wrong_candidates: Annotated[
        int,
        typer.Option(
            "--wrong-candidates",
            metavar="N",
            min=0,
            help="Candidates to be refused, a right one.",
            rich_help_panel=EXAMPLES,
        ),
    ] = _DEFAULTS.wrong_candidates,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make training data for every stage of a bundle from annotated documents.

    Writes a file for each stage: relation.jsonl, head.jsonl and fact.jsonl.
    The same documents and the same seed give the same data.
    """
    console.configure(quiet=quiet, verbose=verbose)
    bundle = bundles.find(model)
    relations = choices.schema(schema, bundle)
    settings = ExampleSettings(orders, aliases, negative_relations, negative_heads, choose, wrong_candidates)
    statistics = Statistics()
    maker = ExampleMaker(paradigm(bundle.paradigm), choices.prompts(bundle), relations, settings)
    statistics = Statistics()
    with (
        console.status("reading", quiet=quiet) as status,
        _training_files(folder, list(bundle.stages), force=force) as files,
    ):
        for document in chain.from_iterable(map(read_docred, paths)):
            rng = random.Random(f"{seed}:{document.document.id}")  # noqa: S311 - no secret
            examples = list(maker.make(document, rng))
            for stage, file in files.items():
                file.write(example.record() for example in examples if example.stage == stage)
            statistics.add(examples)
            status.update(f"{statistics.documents:,} documents")
    if not quiet:
        console.table(COLUMNS, statistics.rows())


@contextmanager
def _training_files(
    folder: Path, stages: Sequence[StageName], *, force: bool
) -> Iterator[dict[StageName, output.JsonLines]]:
    """The stages' files, which take their names when they are complete."""
    finished = {stage: folder / STAGE_FILES[stage] for stage in stages}
    with output.named(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for path in finished.values():
        output.check(path, force=force)
    drafts = {stage: path.with_name(f".{path.name}") for stage, path in finished.items()}
    try:
        with ExitStack() as stack:
            yield {stage: stack.enter_context(output.json_lines(path, force=True)) for stage, path in drafts.items()}
        with output.named(str(folder)):
            for stage, path in drafts.items():
                path.replace(finished[stage])
    finally:
        for path in drafts.values():
            path.unlink(missing_ok=True)
