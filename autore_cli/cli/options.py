"""The options that commands share, each declared once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from autore_cli.model.weights import Weights
from autore_cli.stages import PARADIGMS

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

Paradigm = Annotated[
    str | None,
    typer.Option(
        "--paradigm",
        metavar="|".join(PARADIGMS),
        help="The stages, and what each is given. Without it, the bundle's own.",
        rich_help_panel=MODEL,
    ),
]

BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Passages at work at once: more are faster and take more memory; auto suits the device.",
        rich_help_panel=MODEL,
    ),
]

Dtype = Annotated[
    Weights,
    typer.Option(
        "--dtype",
        help="How weights are held: in 4 bit (nf4), or unpacked, which is faster and takes more memory. "
        "bf16 is the fastest where the processor has units for it, and the least exact.",
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

TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        metavar="",
        help="Run the Python files that come with the base. They may do anything that you may.",
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

LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(
        "--log-format",
        help="How messages are written to stderr: as lines for people, or each as a JSON object on a line.",
        rich_help_panel=MESSAGES,
    ),
]

Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        metavar="",
        envvar="AUTORE_DEBUG",
        help="Write details, timings, and the traceback of an error, to stderr.",
        rich_help_panel=MESSAGES,
    ),
]
