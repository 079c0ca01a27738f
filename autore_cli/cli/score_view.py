"""A score report on the terminal."""

import sys
from collections.abc import Iterable

from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from autore_cli.scoring.examples import Example
from autore_cli.scoring.report import Report
from autore_cli.scoring.tables import ERRORS, Table, headline, source_lines

BAR_WIDTH = 20

_QUIET_COLUMNS = {"95 % of F1", "95 %", "right", "judged", "gold", "number", "inputs", "of"}


def text(report: Report, tables: Iterable[Table]) -> str:
    """The tables, examples and sources, as wide as the terminal, in colour if it has any."""
    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        console.print(Text(headline(report)))
        for table in tables:
            console.print()
            console.print(Text(table.title, "bold"))
            console.print(_table(table))
        if report.examples:
            console.print()
            console.print(Text("Most confident errors", "bold"))
        for example in report.examples:
            console.print()
            console.print(_example(example))
        console.print()
        for line in source_lines(report, digits=12):
            console.print(Text(line, "dim"))
    return capture.get()


def _table(table: Table) -> RichTable:
    rich_table = RichTable(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, show_header=any(table.columns)
    )
    for number, column in enumerate(table.columns):
        style = "dim" if column in _QUIET_COLUMNS else "bold" if column == "F1" else ""
        if number < table.texts:
            rich_table.add_column(column, overflow="fold")
        else:
            rich_table.add_column(column, justify="right", style=style, no_wrap=True)
    if table.shares:
        rich_table.add_column("", width=BAR_WIDTH)
    for section in table.sections:
        if section.title:
            rich_table.add_row(Text(section.title, "cyan"))
        for first, *rest in section.rows:
            bar = [_bar(rest[-1])] if table.shares else []
            rich_table.add_row(Text(f"  {first}" if section.title else first), *map(Text, rest), *bar)
        rich_table.add_section()
    return rich_table


def _bar(percent: str) -> Bar:
    return Bar(100, 0, float(percent), width=BAR_WIDTH, color="cyan")


def _example(example: Example) -> RenderableType:
    line = Text()
    if example.score is not None:
        line.append(f"{example.score:.3f}  ", "dim")
    line.append(example.head, "green").append(" | ").append(example.relation, "bold").append(" | ")
    line.append(example.tail, "magenta")
    line.append(f"\n{ERRORS[example.error]}", "yellow")
    if example.gold:
        line.append(f", gold: {', '.join(example.gold)}", "yellow")
    line.append(f" ({example.doc})", "dim")
    for sentence in example.sentences:
        quoted = Text(f"\n{sentence}")
        quoted.highlight_words([example.head], "green")
        quoted.highlight_words([example.tail], "magenta")
        line.append_text(quoted)
    return Padding(line, (0, 0, 0, 2))
