"""What a run and its workers say to each other: lines of JSON, over pipes.

    to a worker     {"setup": {...}, "device": "cpu", "levels": {"autore_cli": 20, ...}}    first, once
                    {"documents": [{"id": ..., "text": ..., "place": ...}, ...]}            a batch
    from a worker   {"ready": true}                                                        the model is loaded
                    {"results": [{"triples": [...], ...}, ...]}                            of the batch's documents
                    {"error": {"type": ..., "message": ..., ...}}                          in place of either
                    {"log": {"name": ..., "level": 30, "message": ...}}                    at any time

They are plain values: nothing in them is executed, as an unpickled object would be.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from autore_cli import errors
from autore_cli.errors import AutoreError, sayable
from autore_cli.records import Document, Span, Triple
from autore_cli.runs.extraction import Result


class WorkerError(Exception):
    """An unexpected error in a worker, which is a bug. Its traceback there is a note."""


def documents_to_json(documents: Sequence[Document]) -> list[dict[str, str]]:
    """Documents as plain values."""
    return [{"id": document.id, "text": document.text, "place": sayable(document.place)} for document in documents]


def documents_from_json(values: Sequence[Mapping[str, str]]) -> list[Document]:
    """The documents again."""
    return [Document(**value) for value in values]


def results_to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Results as plain values, without their documents, which the run has."""
    return [
        {each.name: getattr(result, each.name) for each in fields(result) if each.name != "document"}
        | {"error": result.error and error_to_json(result.error)}
        for result in results
    ]


def results_from_json(values: Sequence[Mapping[str, Any]], documents: Sequence[Document]) -> list[Result]:
    """The results of documents, again."""
    return [
        Result(
            **{
                **value,
                "document": document,
                "triples": [_triple(triple) for triple in value["triples"]],
                "error": value["error"] and error_from_json(value["error"]),
            }
        )
        for value, document in zip(values, documents, strict=True)
    ]


def error_to_json(error: Exception) -> dict[str, Any]:
    """An error as plain values."""
    if isinstance(error, AutoreError):
        texts = {"message": error.message, "where": error.where, "hint": error.hint}
        return {"type": type(error).__name__} | {name: text and sayable(text) for name, text in texts.items()}
    return {
        "type": type(error).__name__,
        "message": sayable(str(error)),
        "traceback": sayable("".join(traceback.format_exception(error))),
    }


def error_from_json(value: Mapping[str, Any]) -> Exception:
    """The error again: one of the tree as it was, MemoryError as itself, and any other as a WorkerError."""
    name, message = value["type"], value["message"]
    if "traceback" not in value:
        kind: type[AutoreError] = getattr(errors, name, AutoreError)
        return kind(message, where=value["where"], hint=value["hint"])
    error = MemoryError(message) if name == "MemoryError" else WorkerError(f"{name}: {message}")
    error.add_note(value["traceback"])
    return error


def log_to_json(record: logging.LogRecord) -> dict[str, Any]:
    """A log record as plain values."""
    error = record.exc_info[1] if record.exc_info else None
    return {
        "name": record.name,
        "level": record.levelno,
        "message": sayable(record.getMessage()),
        "traceback": sayable("".join(traceback.format_exception(error))) if error else None,
    }


def log_from_json(value: Mapping[str, Any]) -> logging.LogRecord:
    """The log record again, with the traceback as a text."""
    record = logging.LogRecord(value["name"], value["level"], "", 0, value["message"], (), None)
    record.exc_text = value["traceback"]
    return record


def _triple(value: Mapping[str, Any]) -> Triple:
    return Triple(**{**value, "head_spans": _spans(value["head_spans"]), "tail_spans": _spans(value["tail_spans"])})


def _spans(value: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    return tuple((start, end) for start, end in value)
