"""`autore build-data`: annotated documents in, training files out."""

import logging
import random
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from autore_cli import schema as schemas
from autore_cli.cli import console, options, output
from autore_cli.documents import read_docred
from autore_cli.errors import InputError
from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.model import bundle as bundles
from autore_cli.model.dataset import STAGE_FILES
from autore_cli.model.derived import SCHEMA_FILE, schema_of
from autore_cli.records import AnnotatedDocument
from autore_cli.runs.setup import prompts
from autore_cli.schema import Schema
from autore_cli.stages import NO, paradigm

EXAMPLES = "Examples"

_DEFAULTS = ExampleSettings()
_SHOWN = 5

_logger = logging.getLogger(__name__)


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

    Writes a file for each stage (relation.jsonl, head.jsonl and fact.jsonl) and the schema (schema.json).
    The same documents and the same seed give the same data.
    """
    console.configure(quiet=quiet, verbose=verbose)
    bundle = bundles.find(model)
    relations = schemas.load(schema) if schema else schema_of(bundle)
    settings = ExampleSettings(orders, aliases, negative_relations, negative_heads, choose, wrong_candidates)
    maker = ExampleMaker(paradigm(bundle.paradigm), prompts(bundle), relations, settings)
    statistics = Statistics()
    names = [STAGE_FILES[stage] for stage in bundle.stages]
    with console.status("reading", quiet=quiet) as status:
        documents = _read(paths, relations)
        with _training_files(folder, [*names, SCHEMA_FILE], force=force) as files:
            files[SCHEMA_FILE].write([_entries(relations)])
            for document in documents:
                rng = random.Random(f"{seed}:{document.document.id}")  # noqa: S311 - no secret
                examples = list(maker.make(document, rng))
                for stage in bundle.stages:
                    file = files[STAGE_FILES[stage]]
                    file.write(example.record() for example in examples if example.stage == stage)
                statistics.add(examples)
                status.update(f"{statistics.documents:,} documents")
    if not quiet:
        console.table(COLUMNS, statistics.rows())


def _read(paths: Sequence[Path], schema: Schema) -> list[AnnotatedDocument]:
    """The documents of all files. Warns of facts that the schema has no relation for.

    Raises:
        InputError: a file or a record that can't be used, an id that was there before, or nothing to learn from.
    """
    documents: dict[str, AnnotatedDocument] = {}
    for document in chain.from_iterable(map(read_docred, paths)):
        id_ = document.document.id
        if id_ in documents:
            message = f"the id {reprlib.repr(id_)} is taken by an earlier document"
            raise InputError(message, where=document.document.place)
        documents[id_] = document
    where = ", ".join(map(str, paths))
    if not documents:
        raise InputError("no documents", where=where, hint="give a list of annotated documents in DocRED's format")
    facts = Counter(fact.relation_id for document in documents.values() for fact in document.facts)
    outside = [relation for relation in facts if relation not in schema.by_id]
    shown = ", ".join(outside[:_SHOWN]) + (", ..." if len(outside) > _SHOWN else "")
    if len(outside) == len(facts):
        hint = f"give a --schema with the documents' relations: {shown}" if facts else "facts stand under 'labels'"
        raise InputError("no fact of the schema's relations in any document", where=where, hint=hint)
    if outside:
        count = sum(facts[relation] for relation in outside)
        _logger.warning("facts of relations that the schema does not have, left out: %d, of %s", count, shown)
    return list(documents.values())


def _entries(schema: Schema) -> list[dict[str, Any]]:
    """The relations as a schema file has them."""
    return [{key: value for key, value in asdict(relation).items() if value} for relation in schema]


@contextmanager
def _training_files(folder: Path, names: Sequence[str], *, force: bool) -> Iterator[dict[str, output.JsonLines]]:
    """The files of these names, which they take when they are complete."""
    finished = {name: folder / name for name in names}
    with output.named(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for path in finished.values():
        output.check(path, force=force)
    drafts = {name: folder / f".{name}" for name in names}
    try:
        with ExitStack() as stack:
            yield {name: stack.enter_context(output.json_lines(path, force=True)) for name, path in drafts.items()}
        with output.named(str(folder)):
            for name, path in drafts.items():
                path.replace(finished[name])
    finally:
        for path in drafts.values():
            path.unlink(missing_ok=True)
