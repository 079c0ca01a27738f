"""Slots against packed rows: whatever grows, moves or waits on the way, the lists are the same."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from autore_cli.generation import Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model import slots
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.encoder import load_encoder
from autore_cli.model.generator import Pace, TransformersGenerator
from autore_cli.model.step import Step, grouped_attention
from tests.model import tiny

REQUESTS = [
    Request(tuple(range(100, 104 + number % 5)), tuple(range(200, 201 + number % 3)), (0, 4)) for number in range(24)
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    text = tiny.BUNDLE.format(name="tiny", opening="", closing="")
    for stage in tiny.STAGES:
        text = text.replace(f'adapter = "{stage}"', "")
    folder = tmp_path_factory.mktemp("slots")
    tiny.base(folder / "base", tiny.model(), tiny.tokenizer("bytelevel"))
    (folder / "bundle.toml").write_text(text)
    return read(folder)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the methods of a step were called."""
    counted: Counter[str] = Counter()

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counted[name] += 1
            return method(*arguments)

        return call

    for name in ("lengthened", "move", "fill", "__call__"):
        monkeypatch.setattr(Step, name, counting(name, getattr(Step, name)))
    return counted


def check(bundle: Bundle, slots: int, batch_size: int = 4) -> None:
    encoder, model = load_encoder(bundle), tiny.model().double()
    plain = TransformersGenerator(model, encoder, bundle, pace=Pace(4, 64))
    slotted = TransformersGenerator(model, encoder, bundle, pace=Pace(batch_size, 64, slots=slots))
    grammars = [
        ListGrammar(
            (Trie([(150 + token, *range(160, 160 + token % 4)) for token in range(number % 7)]),),
            plain.separator,
            plain.end,
        )
        for number in range(len(REQUESTS))
    ]
    for end_bias in (0.0, 3.0, 3.0):
        found = slotted.decode("head", REQUESTS, grammars, end_bias)
        expected = plain.decode("head", REQUESTS, grammars, end_bias)
        assert [[one.item for one in items] for items in found] == [[one.item for one in items] for items in expected]
        assert [one.probability for items in found for one in items] == pytest.approx(
            [one.probability for items in expected for one in items], abs=1e-9
        )
    assert any(expected)


def test_slots_grow_longer(bundle: Bundle, calls: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_EXTENT", 2)
    check(bundle, slots=1)
    assert calls["lengthened"] > 0


def test_lists_close_ranks(bundle: Bundle, calls: Counter[str]) -> None:
    check(bundle, slots=4)
    assert calls["move"] > 0


def test_lists_wait_for_a_slot(bundle: Bundle, calls: Counter[str]) -> None:
    check(bundle, slots=1, batch_size=1)
    assert calls["fill"] > len(REQUESTS)
    assert calls["move"] == calls["lengthened"] == 0


def test_scarce_memory_means_fewer_slots(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(slots, "_free_memory", lambda _: 2**21)
    monkeypatch.setattr(slots, "Step", lambda *arguments: made.append(arguments[2]) or Step(*arguments))  # type: ignore[func-returns-value]
    check(bundle, slots=16)
    assert made == [19], "0.6 of 2 MiB holds 19 rows of 64 tokens, each of 2 layers with 2 heads of 16 doubles, twice"


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_grouped_attention_is_that_of_transformers(heads: int) -> None:
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = heads // 2  # type: ignore[assignment]
    key, value = torch.randn(3, 2, 9, 16), torch.randn(3, 2, 9, 16)
    for queries in (1, 4):
        query = torch.randn(3, heads, queries, 16)
        mask = torch.where(torch.rand(3, 1, queries, 9) < 0.5, 0.0, -1e9)
        mask[..., 0] = 0.0
        found, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
        expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
        torch.testing.assert_close(found, expected)


def test_a_step_attends_by_groups(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    single = []

    def noting(module: torch.nn.Module, query: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        single.append(query.shape[2] == 1)
        return grouped_attention(module, query, *arguments, **options)

    monkeypatch.setattr("autore_cli.model.step.grouped_attention", noting)
    check(bundle, slots=2)
    assert any(single)
