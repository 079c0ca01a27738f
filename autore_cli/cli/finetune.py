"""`autore finetune`: training files in, adapters out."""

import inspect
import logging
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from autore_cli.cli import console, options
from autore_cli.errors import ConfigurationError
from autore_cli.model import bundle as bundles
from autore_cli.model.dataset import built_for
from autore_cli.model.settings import FinetuneSettings, help_of, resolve

if TYPE_CHECKING:
    from autore_cli.model.plan import Plan

SETTINGS = "Settings (each also a line of --config)"

_REPORTS = 20
"""How often an adapter's loss is told where no progress line shows it."""

_KINDS: Mapping[type, tuple[str, Any]] = {
    int: ("N", int),
    float: ("X", float),
    bool: ("true|false", Literal["true", "false"]),
    list: ("NAME,...", str),
    str: ("NAME", str),
}
"""By the kind of a setting: how its option shows what it takes, and the type of that."""

_First = TypeVar("_First")
_Second = TypeVar("_Second")

_logger = logging.getLogger(__name__)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each of `FinetuneSettings`, in place of its `**flags`; None is one not given."""
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    settings = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(each))
        for each in fields(FinetuneSettings)
    ]
    command.__signature__ = signature.replace(parameters=[*own, *settings])  # type: ignore[attr-defined]
    return command


def _option(setting: "Field[Any]") -> object:
    """A setting's option: help and default come from where the settings have theirs."""
    metavar, kind = _KINDS[setting.metadata["kind"]]
    default = "" if setting.default is None else rf" [dim]\[default: {str(setting.default).lower()}][/dim]"
    option = typer.Option(
        f"--{setting.name.replace('_', '-')}",
        metavar=metavar,
        help=help_of(setting.name) + default,
        show_default=False,
        rich_help_panel=SETTINGS,
    )
    return Annotated[kind | None, option]


@_with_settings
def finetune(
    model: options.Model = bundles.DEFAULT,
    stage: Annotated[
        Literal["all", "relation", "head", "fact"],
        typer.Option("--stage", help="Whose adapter to train.", rich_help_panel=options.MODEL),
    ] = "all",
    paradigm: options.Paradigm = None,
    shared_adapter: Annotated[
        bool,
        typer.Option("--shared-adapter", metavar="", help="One adapter for all stages.", rich_help_panel=options.MODEL),
    ] = False,
    trust_remote_code: options.TrustRemoteCode = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option("--device", help="Where it is trained.", rich_help_panel=options.MODEL),
    ] = "auto",
    data: Annotated[
        Path,
        typer.Option("--data", metavar="FOLDER", help="What build-data wrote.", rich_help_panel=options.INPUT),
    ] = Path("data"),
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings, as TOML.", rich_help_panel=options.INPUT),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The bundle that gets the adapters, made from --model if it isn't there. "
            "Without it --model itself, or NAME-tuned here if that is a packaged one.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", metavar="", help="Continue an interrupted run.", rich_help_panel=options.OUTPUT)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", metavar="", help="Check everything and show the plan.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log_format: options.LogFormat = "text",
    **flags: Any,
) -> None:
    """Train the adapters of a bundle's stages by QLoRA on its 4-bit base.

    An adapter is in PEFT's format, with a run.json that tells how it came about.
    Without --paradigm it is that of the training files.
    On N GPUs: torchrun --nproc-per-node=N -m autore_cli finetune ...
    """
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # one of torchrun's processes speaks for all
    console.configure(quiet=quiet, verbose=verbose, log_format=log_format)
    bundle = bundles.find(model)
    bundle = bundle.with_paradigm(paradigm or built_for(data) or bundle.paradigm)
    if shared_adapter:
        bundle = bundle.with_shared_adapter()
    stages = tuple(bundle.stages) if stage == "all" else (stage,)
    tables = _read_config(config), _values(flags)
    with console.status("loading", quiet=quiet) as status:
        from autore_cli.model.finetune import Job, check, prepare
        from autore_cli.model.finetune import finetune as train

        job = Job(bundle, stages, data, output or _own_folder(bundle), device, resume, trust_remote_code)
        settings, _ = _all_of(lambda: resolve(*tables), lambda: check(job))
        if dry_run:
            plans = [task.plan for task in prepare(job, settings)]
        else:
            try:
                train(job, settings, _Reporter(status))
            except KeyboardInterrupt:
                _logger.info("the same command with --resume goes on from what was saved")
                raise
    if dry_run and plans:
        console.table(("", *(plan.adapter for plan in plans)), _plan_rows(plans))


def _all_of(first: Callable[[], _First], second: Callable[[], _Second]) -> tuple[_First, _Second]:
    """The results of both.

    Raises:
        ConfigurationError: what one of them raised, or the problems of both at once.
    """
    try:
        result = first()
    except ConfigurationError as error:
        try:
            second()
        except ConfigurationError as other:
            raise ConfigurationError(f"{error.message}; {other.message}") from other
        raise
    return result, second()


def _own_folder(bundle: bundles.Bundle) -> Path:
    """Where the adapters of a bundle go: into it, but for a packaged one, which stays as it is."""
    packaged = bundle.folder.parent == bundles.bundles_folder()
    return Path(f"{bundle.name}-tuned") if packaged else bundle.folder


def _values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as a TOML table would have them."""
    kinds = {setting.name: setting.metadata["kind"] for setting in fields(FinetuneSettings)}
    return {name: None if value is None else _value(kinds[name], value) for name, value in flags.items()}


def _value(kind: type, flag: Any) -> Any:
    if kind is bool:
        return flag == "true"
    return flag.split(",") if kind is list else flag


def _read_config(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"can't be read: {error.strerror}", where=str(path)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"not valid TOML: {error}", where=str(path)) from error


def _plan_rows(plans: "Sequence[Plan]") -> Iterator[tuple[str, ...]]:
    """A row for each figure, with a column for each adapter."""
    figures: dict[str, Callable[[Plan], str]] = {
        "stages": lambda plan: ", ".join(plan.stages),
        "examples": lambda plan: f"{plan.examples:,}",
        "too long, left out": lambda plan: f"{plan.dropped:,}",
        "rows": lambda plan: f"{plan.rows:,}",
        "rows held out": lambda plan: f"{plan.held_out:,}",
        "tokens an epoch": lambda plan: f"{plan.tokens:,}",
        "of them learnt": lambda plan: f"{plan.targets:,}",
        "steps": lambda plan: f"{plan.steps:,}",
        "layers with LoRA": lambda plan: ", ".join(plan.target_modules),
        "parameters to train": lambda plan: f"{plan.trainable:,}",
        "memory, roughly": lambda plan: f"{plan.memory / 2**20:,.0f} MiB",
    }
    for name, figure in figures.items():
        yield name, *map(figure, plans)


class _Reporter:
    """Tells how training goes (`model.finetune.Observer`)."""

    def __init__(self, status: console.Status) -> None:
        self._status = status

    def planned(self, plan: "Plan") -> None:
        _logger.info(
            "%s: %s steps over %s examples (%s too long), %s parameters to train",
            plan.adapter,
            *(f"{figure:,}" for figure in (plan.steps, plan.examples, plan.dropped, plan.trainable)),
        )

    def stepped(self, plan: "Plan", step: int, loss: float, tokens_per_second: float) -> None:
        line = f"{plan.adapter}: step {step:,} of {plan.steps:,}, loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s"
        self._status.update(line)
        if not self._status.shown and step % max(1, plan.steps // _REPORTS) == 0:
            _logger.info(line)

    def evaluated(self, plan: "Plan", step: int, loss: float, f1: float | None) -> None:
        score = "" if f1 is None else f", F1 {100 * f1:.1f}"
        _logger.info("%s: step %d, held-out loss %.3f%s", plan.adapter, step, loss, score)

    def trained(self, plan: "Plan", folder: Path) -> None:
        _logger.info("%s: written to %s", plan.adapter, folder)
