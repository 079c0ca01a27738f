"""Runs a base's stages on annotated documents with loose settings, for `recipes.tune`."""

from collections.abc import Sequence

from autore_cli.generation import Generator
from autore_cli.pipeline import Candidate, Pipeline
from autore_cli.records import AnnotatedDocument
from autore_cli.schema import default
from autore_cli.stages import Decoding, StageName, paradigm
from recipes.prompts import PROMPTS

LOOSE: dict[StageName, Decoding] = {
    "relation": Decoding(propose="schema", threshold=0.12),
    "head": Decoding(end_bias=1.0, max_items=24),
    "fact": Decoding(end_bias=1.0, max_items=24, threshold=0.0),
}


def found(
    generator: Generator,
    documents: Sequence[AnnotatedDocument],
    decoding: dict[StageName, Decoding] | None = None,
    batch: int = 16,
) -> list[list[Candidate]]:
    """The candidates of each document."""
    pipeline = Pipeline(generator, paradigm("RHF"), PROMPTS, decoding or LOOSE, default())
    plain = [annotated.document for annotated in documents]
    return [
        candidates
        for start in range(0, len(plain), batch)
        for candidates in pipeline.candidates(plain[start : start + batch])
    ]
