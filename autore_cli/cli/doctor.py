"""`autore doctor`: what is installed, and whether it works, to be pasted into a bug report."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from autore_cli.cli import console, options, output
from autore_cli.errors import BundleError
from autore_cli.files import as_text
from autore_cli.model import bundle as bundles
from autore_cli.model.machine import Finding, libraries, system
from autore_cli.runs.selftest import self_test
from autore_cli.runs.setup import Setup
from autore_cli.versions import version

Sections = dict[str, list[Finding]]


def doctor(
    model: options.Model = bundles.DEFAULT,
    device: options.Device = "auto",
    json: Annotated[
        bool, typer.Option("--json", metavar="", help="Write the report as JSON.", rich_help_panel=options.OUTPUT)
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log_format: options.LogFormat = "text",
) -> None:
    """Tell what is installed and whether it works, for a bug report.

    The report goes to stdout: versions, devices and whether 4-bit layers compute
    on them, whether the packaged bundles are whole, and what the model finds in a
    sentence. The exit code is 4 if something doesn't work. No network is used.
    """
    console.configure(quiet=quiet, verbose=verbose, log_format=log_format)
    with console.status("looking around", quiet=quiet) as status:
        sections: Sections = {}
        for name, check in _checks(model, device).items():
            status.update(name)
            sections[name] = list(_guarded(check))
    output.write(_json(sections) if json else _text(sections))
    wrong = [f"{name} ({each.name})" for name, findings in sections.items() for each in findings if each.wrong]
    if wrong:
        raise BundleError(f"not all is well: {', '.join(wrong)}", hint="the report says what is wrong")


def _checks(model: str, device: str) -> dict[str, Callable[[], Iterable[Finding]]]:
    """What is looked at. The model libraries are imported only then, since they may be what is broken."""

    def devices() -> Iterator[Finding]:
        from autore_cli.model import check

        return check.devices()

    def packaged() -> Iterator[Finding]:
        from autore_cli.model import check

        return check.packaged()

    def hub() -> Iterator[Finding]:
        from autore_cli.model import check

        return check.hub()

    return {
        "system": system,
        "libraries": libraries,
        "devices": devices,
        "bundles": packaged,
        "hub": hub,
        f"self-test of {model} on {device}": lambda: self_test(Setup(model), device),
    }


def _guarded(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds; what keeps it from going on, whatever that is, is its last finding."""
    try:
        yield from check()
    except Exception as error:
        yield Finding("error", f"{type(error).__name__}: {error}", wrong=True)


def _text(sections: Sections) -> bytes:
    """The report for people: a line a finding, its name and value in columns."""
    width = max(len(finding.name) for findings in sections.values() for finding in findings)
    lines = [f"autore {version('autore')}"]
    for name, findings in sections.items():
        lines += ["", name]
        for finding in findings:
            first, *rest = finding.value.splitlines() or [""]
            lines.append(f"{'!' if finding.wrong else ' '} {finding.name:{width}}  {first}")
            lines += [f"{'':{width + 4}}{line}" for line in rest]
    return "\n".join([*lines, ""]).encode(errors="backslashreplace")


def _json(sections: Sections) -> bytes:
    """The report for programs."""
    report = {name: [asdict(finding) for finding in findings] for name, findings in sections.items()}
    return as_text({"autore": version("autore"), **report})
