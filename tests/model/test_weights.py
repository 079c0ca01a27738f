"""Unpacked weights and merged adapters against 4 bit and adapters beside it: the same numbers, another way to them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional

from autore_cli.generation import Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model.adapters import MergedAdapters, use_adapter
from autore_cli.model.base import load_base, unpack
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.linear import Linear, linear
from autore_cli.model.load import load
from tests.cli.command import autore
from tests.model import tiny

REQUESTS = [Request((5, 6, 7, 8, *range(40, 60)), tuple(range(100, 100 + length)), (0, 4)) for length in range(1, 6)]
TOKENS = torch.arange(5, 45)[None]


@pytest.fixture(scope="module", params=["mistral", "copylm"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    if request.param == "copylm":
        return read(tiny.bundle(folder, kind="wordpiece", causal_lm=tiny.copylm(), targets=("q_proj", "up_proj")))
    return read(tiny.bundle(folder))


def test_unpacked_weights_answer_like_those_in_4_bit(bundle: Bundle) -> None:
    packed, unpacked = load(bundle, device="cpu", weights="nf4"), load(bundle, device="cpu")
    grammars = [ListGrammar((Trie([[50], [51, 52], [53]]),), packed.separator, packed.end)] * len(REQUESTS)
    for stage in (*tiny.STAGES, *tiny.STAGES):
        assert unpacked.choose(stage, REQUESTS) == pytest.approx(packed.choose(stage, REQUESTS), abs=1e-4)
        for one, other in zip(
            unpacked.decode(stage, REQUESTS, grammars), packed.decode(stage, REQUESTS, grammars), strict=True
        ):
            assert [each.item for each in one] == [each.item for each in other]
            assert [each.probability for each in one] == pytest.approx([each.probability for each in other], abs=1e-4)


def test_bfloat16_comes_near(bundle: Bundle) -> None:
    exact, near = load(bundle, device="cpu"), load(bundle, device="cpu", weights="bf16")
    assert near.model.dtype == torch.bfloat16
    differences = [
        abs(one - other)
        for stage in tiny.STAGES
        for one, other in zip(near.choose(stage, REQUESTS), exact.choose(stage, REQUESTS), strict=True)
    ]
    assert 0 < sum(differences) / len(differences) < 0.15


def test_a_layer_whose_weight_was_changed_multiplies_by_the_new_one() -> None:
    layer, hidden = Linear(6, 4), torch.randn(3, 6)
    with torch.no_grad():
        layer(hidden)
        layer.weight += 1
        layer.forget()
        torch.testing.assert_close(layer(hidden), functional.linear(hidden, layer.weight, layer.bias))


def test_bfloat16_goes_on_a_cpu_that_has_no_units_for_it(bundle: Bundle) -> None:
    options = ["--model", str(bundle.folder), "--dtype", "bf16"]
    done = autore("extract", *options, "-", stdin=tiny.TEXTS[0].encode(), env={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    assert done.returncode == 0, done.stderr.decode()


def test_a_big_base_stays_in_4_bit_on_a_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autore_cli.model.load._SMALL", 1000)
    big = load(bundle, device="cpu")
    assert any(type(layer).__name__ == "Linear4bit" for layer in big.model.modules())


def test_unpacking_leaves_no_packed_layer_and_no_other_number(tmp_path: Path) -> None:
    bundle = read(tiny.bundle(tmp_path / "one"))
    model, packed = load_base(bundle, "cpu"), load_base(bundle, "cpu")
    unpack(model)
    assert not any(type(layer).__name__ == "Linear4bit" for layer in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    with torch.inference_mode():
        torch.testing.assert_close(model(TOKENS).logits, packed(TOKENS).logits, atol=1e-3, rtol=1e-3)


def adapted() -> PeftModel:
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(tiny.model().double(), config, adapter_name="one", autocast_adapter_dtype=False)
    assert isinstance(model, PeftModel)
    model.add_adapter("two", config, autocast_adapter_dtype=False)
    return model.eval()


@torch.inference_mode()
def test_a_merged_adapter_says_what_it_says_beside_the_base() -> None:
    model = adapted()
    beside = {}
    for name in ("one", "two", None):
        use_adapter(model, name)
        beside[name] = model(TOKENS).logits
    assert not torch.equal(beside["one"], beside["two"])
    merged = MergedAdapters(model)
    said: dict[str | None, torch.Tensor] = {}
    for name in ("one", "two", None, "two", None, None, "one", "two", "two", None):
        merged.use(name)
        logits = model(TOKENS).logits
        torch.testing.assert_close(logits, beside[name], atol=1e-9, rtol=1e-9)
        assert torch.equal(logits, said.setdefault(name, logits)), "changes leave no trace"


@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.booleans())
def test_products_are_those_of_torch(rows: int, width: int, outputs: int, bias: bool, learning: bool) -> None:
    hidden, weight = torch.randn(2, rows, width), torch.randn(outputs, width)
    offset = torch.randn(outputs) if bias else None
    with torch.set_grad_enabled(learning):
        product = linear(hidden.requires_grad_(learning), weight, offset)
    torch.testing.assert_close(product, functional.linear(hidden, weight, offset), atol=1e-4, rtol=1e-4)
    assert product.requires_grad == learning
