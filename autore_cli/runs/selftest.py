"""A small extraction, to see that one comes to its end."""

from collections.abc import Iterator
from time import monotonic

from autore_cli.model import bundle as bundles
from autore_cli.model.machine import Finding
from autore_cli.records import Document
from autore_cli.runs.setup import Setup

_SHOWN = 5

TEXT = "Fridtjof Nansen was born in Oslo, the capital of Norway."


def self_test(setup: Setup, device: str) -> Iterator[Finding]:
    """Loads a pipeline, extracts from a sentence, and tells what that gave, and how long it took.

    Finding nothing is wrong for the default bundle alone, as another one may know no relation of the sentence's. A base
    that isn't on this machine isn't fetched.

    Raises:
        BundleError, ConfigurationError: as `Setup.pipeline`.
    """
    from autore_cli.model.check import base_is_here

    if not base_is_here(setup.bundle()):
        yield Finding("base", f"{setup.bundle().base_source()} is not on this machine", wrong=True)
        return
    start = monotonic()
    pipeline = setup.pipeline(device)
    yield Finding("load", f"{monotonic() - start:.1f} s")
    start = monotonic()
    (found,) = pipeline.extract([Document("test", TEXT)])
    yield Finding("extract", f"{monotonic() - start:.1f} s")
    yield Finding("text", TEXT)
    surest = sorted(found.triples, key=lambda triple: -triple.score)[:_SHOWN]
    lines = [f"{triple.score:.3f}  {triple.head} | {triple.relation} | {triple.tail}" for triple in surest]
    nothing = not lines and setup.model == bundles.DEFAULT
    yield Finding("triples", "\n".join([f"{len(found.triples)}, the surest of them:", *lines]), wrong=nothing)
