"""What only a GPU shows: a captured step says what a plain one says, in the same places and after others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from autore_cli.generation import Listed, Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model import step
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.generator import ON_GPU, TransformersGenerator
from autore_cli.model.load import load
from autore_cli.model.weights import Weights
from tests.model import tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

GRAMMARS = [
    ListGrammar((Trie([[100 + number, 101, 102 + number], [101], [103, 100]]),), 3, 2, max_items=1 + number % 3)
    for number in range(40)
]
REQUESTS = [
    Request(tuple(range(100, 110 + number % 7)), tuple(range(200, 203 + number % 5)), (0, 10)) for number in range(40)
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read(tiny.bundle(tmp_path_factory.mktemp("gpu")))


def lists(generator: TransformersGenerator) -> list[list[list[Listed]]]:
    grammars = [replace(each, separator=generator.separator, end=generator.end) for each in GRAMMARS]
    return [generator.decode(stage, REQUESTS, grammars, 2.0) for stage in (*tiny.STAGES, *tiny.STAGES)]


def assert_close(found: Sequence[Sequence[Listed]], expected: Sequence[Sequence[Listed]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert [each.item for each in one] == [each.item for each in other]
        assert [each.probability for each in one] == pytest.approx([each.probability for each in other], abs=1e-4)


@pytest.mark.parametrize("weights", ["fp32", "nf4"])
def test_a_captured_step_says_what_a_plain_one_says(
    bundle: Bundle, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_EAGER_RUNS", 10**9)
    plain = lists(load(bundle, device="cuda", weights=weights))
    monkeypatch.setattr(step, "_EAGER_RUNS", 0)
    captured = lists(load(bundle, device="cuda", weights=weights))
    assert captured[:3] == captured[3:], "replayed later, a step says the same"
    for found, expected in zip(captured, plain, strict=True):
        assert_close(found, expected)
    assert len({repr(found) for found in captured}) == len(tiny.STAGES), "each stage has its own"


def test_a_gpu_that_is_too_small_halves_the_batch_and_goes_on(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    requests = [Request(tuple(range(100, 300 + number)), tuple(range(200, 300)), (0, 10)) for number in range(64)]

    def ask(generator: TransformersGenerator) -> list[float]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return generator.choose("head", requests)

    generator = load(bundle, device="cuda", weights="fp32")
    held = torch.cuda.memory_reserved()
    expected = ask(generator)
    more = torch.cuda.max_memory_reserved() - held
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + more / 2) / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = ask(generator)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found == pytest.approx(expected, abs=1e-5)
    assert generator.batch_size < ON_GPU.batch_size
    assert all(message.startswith("out of memory: going on with a batch size of") for message in caplog.messages)
    assert caplog.messages
