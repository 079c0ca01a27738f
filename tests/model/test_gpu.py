"""What only a GPU shows: a captured step says what a plain one says, in the same places and after others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from autore_cli.generation import Listed, Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model import step
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.generator import TransformersGenerator
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
