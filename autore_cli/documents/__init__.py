"""Documents: reading them, their sentences and words, and the windows that they are cut into."""

from autore_cli.documents.docred import read_docred
from autore_cli.documents.limits import MAX_CHARS
from autore_cli.documents.read import InputFormat, read
from autore_cli.documents.rendering import render
from autore_cli.documents.sentences import sentences
from autore_cli.documents.windows import Cut, annotated_windows, default_overlap, windows
from autore_cli.documents.words import candidate_spans, words

__all__ = [
    "MAX_CHARS",
    "Cut",
    "InputFormat",
    "annotated_windows",
    "candidate_spans",
    "default_overlap",
    "read",
    "read_docred",
    "render",
    "sentences",
    "windows",
    "words",
]
