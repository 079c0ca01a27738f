"""The options that commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

INPUT, MODEL, OUTPUT, MESSAGES = "Input", "Model", "Output", "Messages"


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="AUTORE_MODEL",
        metavar="BUNDLE",
        help="A bundle: its name, or its folder.",
        rich_help_panel=MODEL,
    ),
]

Schema = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="The relations that may come out, as TOML or JSON. Without it, the bundle's own.",
        rich_help_panel=MODEL,
    ),
]

BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Passages that the model reads at once, each with its prompts; auto is 8.",
        rich_help_panel=MODEL,
    ),
]

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the model runs: auto, cpu, cuda, cuda:1, ...",
        rich_help_panel=MODEL,
    ),
]

Force = Annotated[
    bool,
    typer.Option("--force", metavar="", help="Replace what is there already.", rich_help_panel=OUTPUT),
]

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="Write errors alone to stderr.", rich_help_panel=MESSAGES),
]

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        metavar="",
        envvar="AUTORE_DEBUG",
        help="Write details, and the traceback of an error, to stderr.",
        rich_help_panel=MESSAGES,
    ),
]
