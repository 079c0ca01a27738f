"""A report as Markdown, to paste into a paper or an issue."""

from collections.abc import Iterable, Iterator

from autore_cli.scoring.examples import Example
from autore_cli.scoring.report import Report
from autore_cli.scoring.tables import ERRORS, Table, headline, source_lines


def markdown(report: Report, tables: Iterable[Table]) -> str:
    """The tables and examples, with what makes them citable."""
    blocks = [headline(report), *map(_table, tables)]
    if report.examples:
        blocks.append("\n".join(["**Errors**", "", *map(_example, report.examples)]))
    blocks.append("  \n".join(_escape(line) for line in source_lines(report)))
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    return "\n".join([f"**{_escape(table.title)}**", "", *_lines(table)])


def _lines(table: Table) -> Iterator[str]:
    yield _line(table.columns)
    yield _line([":--" if number < table.texts else "--:" for number in range(len(table.columns))])
    for section in table.sections:
        if section.title:
            yield _line([f"*{_escape(section.title)}*", *[""] * (len(table.columns) - 1)])
        yield from (_line(map(_escape, row)) for row in section.rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _example(example: Example) -> str:
    triple = " – ".join((example.head, example.relation, example.tail))
    score = "" if example.score is None else f", score {example.score:.3g}"
    sentences = "".join(f"  \n  > {_escape(sentence)}" for sentence in example.sentences)
    return f"- {_escape(triple)} ({ERRORS[example.error]}{score}; {_escape(example.doc)}){sentences}"


def _escape(text: str) -> str:
    """The text as Markdown that reads so, on one line."""
    return "".join(f"\\{character}" if character in r"\|*_`<[" else character for character in " ".join(text.split()))
