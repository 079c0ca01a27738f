"""`autore build-data`: annotated documents in, training files out."""

import logging
import random
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from autore_cli import schema as schemas
from autore_cli import stages as paradigms
from autore_cli.cli import console, options, output
from autore_cli.documents import Cut, annotated_windows, read_docred
from autore_cli.errors import InputError, OutputError, sayable, writing
from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.generation import Encoder
from autore_cli.model import bundle as bundles
from autore_cli.model.bundle import Bundle
from autore_cli.model.dataset import BUILD_FILE, STAGE_FILES
from autore_cli.model.derived import SCHEMA_FILE, schema_of
from autore_cli.records import AnnotatedDocument
from autore_cli.schema import Schema
from autore_cli.stages import NO, Prompts

EXAMPLES = "Examples"

_DEFAULTS = ExampleSettings()
_SHOWN = 5

_logger = logging.getLogger(__name__)


Row = tuple[str | int, ...]


@dataclass(slots=True)
class Statistics:
    """What has been made so far, by stage and kind, and what was left out, by stage (or none) and reason.

    A negative is an empty list, or a no.
    """

    documents: int = 0
    windows: int = 0
    examples: Counter[tuple[str, str]] = field(default_factory=Counter)
    negatives: Counter[tuple[str, str]] = field(default_factory=Counter)
    characters: Counter[tuple[str, str]] = field(default_factory=Counter)
    longest: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, cut: Cut, examples: Iterable[Example]) -> None:
        """Counts a document's windows and examples."""
        self.documents += 1
        self.windows += len(cut.windows)
        self.left_out["", "documents without text"] += not cut.windows
        self.left_out["", "entities cut by the end of a window"] += cut.lost_entities
        self.left_out["", "facts whose ends share no window"] += cut.lost_facts
        for example in examples:
            key = example.stage, example.kind
            self.examples[key] += 1
            self.negatives[key] += example.completion in ("", NO)
            self.characters[key] += len(example.prompt.text)
            self.longest[key] = max(self.longest[key], len(example.prompt.text))

    def rows(self) -> Iterator[Row]:
        """The rows of a table with the columns `COLUMNS`."""
        for key, count in self.examples.items():
            yield *key, count, self.negatives[key], round(self.characters[key] / count), self.longest[key]

    def rows_left_out(self) -> Iterator[Row]:
        """The rows of a table with the columns `COLUMNS_LEFT_OUT`."""
        for (stage, reason), count in self.left_out.items():
            yield stage or "all", reason, count

    def record(self) -> dict[str, Any]:
        """All of it, as build.json has it."""
        return {
            "documents": self.documents,
            "windows": self.windows,
            "examples": [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()],
            "left_out": [dict(zip(COLUMNS_LEFT_OUT, row, strict=True)) for row in self.rows_left_out()],
        }


COLUMNS = "stage", "kind", "examples", "negative", "characters a prompt", "at most"
COLUMNS_LEFT_OUT = "stage", "left out", "count"


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
    paradigm: options.Paradigm = None,
    schema: options.Schema = None,
    trust_remote_code: options.TrustRemoteCode = False,
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
        bool | None,
        typer.Option(
            "--choose/--no-choose",
            metavar="",
            help="Make yes/no examples as well as lists. Without it, for the stages that are asked so.",
            show_default=False,
            rich_help_panel=EXAMPLES,
        ),
    ] = None,
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
    max_examples: Annotated[
        int | None,
        typer.Option(
            "--max-examples",
            metavar="N",
            min=1,
            help="No more than so many, a document and stage.",
            show_default=False,
            rich_help_panel=EXAMPLES,
        ),
    ] = _DEFAULTS.max_examples,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Make training data for every stage of a bundle from annotated documents.

    Writes a file for each stage (relation.jsonl, head.jsonl and fact.jsonl),
    the schema (schema.json), and how it all came about (build.json). A document
    that is longer than the bundle's window is cut as in extraction. The same
    documents and the same seed give the same data.
    """
    console.configure(quiet=quiet, verbose=verbose, log_format=log_format)
    bundle = bundles.find(model)
    bundle = bundle.with_paradigm(paradigm or bundle.paradigm)
    relations = schemas.load(schema) if schema else schema_of(bundle)
    settings = ExampleSettings(
        orders,
        aliases,
        negative_relations,
        negative_heads,
        choose is not False,
        wrong_candidates,
        max_examples=max_examples,
    )
    statistics = Statistics()
    names = [STAGE_FILES[stage] for stage in bundle.stages]
    with console.status("reading", quiet=quiet) as status:
        documents = _read(paths, relations, statistics)
        encoder, prompts = _load(bundle, trust_remote_code=trust_remote_code)
        maker = ExampleMaker(paradigms.paradigm(bundle.paradigm), prompts, relations, settings)
        wanted = _wanted(bundle, choose)
        with _training_files(folder, [*names, SCHEMA_FILE, BUILD_FILE], force=force) as files:
            files[SCHEMA_FILE].write([_entries(relations)])
            for document in documents:
                cut = annotated_windows(document, lambda text: encoder.encode(text).offsets, bundle.max_passage)
                rng = random.Random(f"{seed}:{document.document.id}")  # noqa: S311 - no secret
                examples = [each for window in cut.windows for each in maker.make(window, rng) if wanted(each)]
                for stage in bundle.stages:
                    file = files[STAGE_FILES[stage]]
                    file.write(example.record() for example in examples if example.stage == stage)
                statistics.add(cut, examples)
                status.update(f"{statistics.documents:,} documents")
            statistics.left_out.update(maker.left_out)
            about = {
                "paradigm": bundle.paradigm,
                "bundle": bundle.name,
                "sources": {sayable(path.name): bundles.digest(path) for path in paths},
                "seed": seed,
                "settings": asdict(settings),
                **statistics.record(),
            }
            files[BUILD_FILE].write([about])
    if not quiet:
        console.table(COLUMNS, map(_shown, statistics.rows()))
        console.table(COLUMNS_LEFT_OUT, map(_shown, statistics.rows_left_out()))


def _shown(row: Row) -> tuple[str, ...]:
    return tuple(cell if isinstance(cell, str) else f"{cell:,}" for cell in row)


def _load(bundle: Bundle, *, trust_remote_code: bool) -> tuple[Encoder, Prompts]:
    """The bundle's tokenizer, which measures windows, and its prompts."""
    from autore_cli.model.encoder import load_encoder, prompts

    encoder = load_encoder(bundle, trust_remote_code=trust_remote_code)
    return encoder, prompts(bundle, encoder)


def _wanted(bundle: Bundle, choose: bool | None) -> Callable[[Example], bool]:
    """Which examples are asked for: of yes/no ones, where nothing is said, those of stages that are asked so."""
    asked = {
        name
        for name, stage in bundle.stages.items()
        if choose or stage.decoding.propose == "schema" or stage.decoding.threshold is not None
    }
    return lambda example: example.kind != "choose" or example.stage in asked


def _read(paths: Sequence[Path], schema: Schema, statistics: Statistics) -> list[AnnotatedDocument]:
    """The documents of all files. Warns of facts that the schema has no relation for, and counts them.

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
    count = statistics.left_out["", "facts of relations that the schema lacks"] = sum(map(facts.__getitem__, outside))
    if outside:
        _logger.warning("facts of relations that the schema does not have, left out: %d, of %s", count, shown)
    return list(documents.values())


def _entries(schema: Schema) -> list[dict[str, Any]]:
    """The relations as a schema file has them."""
    return [{key: value for key, value in asdict(relation).items() if value} for relation in schema]


@contextmanager
def _training_files(folder: Path, names: Sequence[str], *, force: bool) -> Iterator[dict[str, output.JsonLines]]:
    """The files of these names, which they take when they are complete."""
    finished = {name: folder / name for name in names}
    if folder.is_file():
        raise OutputError("is not a folder", where=str(folder))
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for path in finished.values():
        output.check(path, force=force)
    drafts = {name: folder / f".{name}" for name in names}
    try:
        with ExitStack() as stack:
            yield {name: stack.enter_context(output.json_lines(path, force=True)) for name, path in drafts.items()}
        with writing(str(folder)):
            for name, path in drafts.items():
                path.replace(finished[name])
    finally:
        for path in drafts.values():
            path.unlink(missing_ok=True)
