"""The `autore` command. A subcommand's module is imported when it is called, so that the others don't cost a thing."""

import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from autore_cli.cli import console, output
from autore_cli.versions import version

COMMANDS = {
    "extract": "Extract triples from documents.",
    "build-data": "Make training data from annotated documents.",
    "finetune": "Train adapters on it.",
    "score": "Compare triples with what is right.",
    "doctor": "Tell what is installed and whether it works.",
}
"""The subcommands: `build-data` is the function `build_data` of `autore_cli.cli.build_data`."""

HELP = {"help_option_names": ["--help", "-h"]}


class Subcommands(TyperGroup):
    """Knows the subcommands by name, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The subcommand that the arguments name, and the arguments that are left for it."""
        name, _, rest = super().resolve_command(ctx, args)
        function = str(name).replace("-", "_")
        subcommand = typer.Typer(add_completion=False, context_settings=HELP)
        subcommand.command(name)(getattr(import_module(f"autore_cli.cli.{function}"), function))
        return name, get_command(subcommand), rest


app = typer.Typer(cls=Subcommands, add_completion=False, context_settings=HELP)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.write(f"autore {version('autore')}\n".encode())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def autore(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", metavar="", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Documents in, (head, relation, tail) triples out."""
    if context.invoked_subcommand is None:
        context.get_help()


for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(lambda: None)


def main() -> None:
    """Runs the command line, and exits."""
    command, arguments = get_command(app), sys.argv[1:]

    def invoke() -> None:
        with command.make_context("autore", arguments) as context:
            command.invoke(context)

    console.run(invoke, as_json=_ask_for_json(arguments))


def _ask_for_json(arguments: Sequence[str]) -> bool:
    """Whether they hold `--log-format json`: what is wrong with the others is found before options are read."""
    return "--log-format=json" in arguments or ("--log-format", "json") in pairwise(arguments)
