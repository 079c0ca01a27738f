"""The copy LM: packed, cached and alone it computes the same; it copies; it is read back as it was saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from autore_cli.model.copylm import CopyLM, CopyLMConfig
from autore_cli.model.logits import logits_at
from autore_cli.model.packing import PREFIX, Layout, Run, attention_mask, layout
from tests.model import tiny

PREFIXES = [[5, 6, 7, 8, 9], [10, 11, 12]]
PROMPTS = [[[20, 21], [22, 23, 24]], [[25, 26]]]


@pytest.fixture(params=[1, 2], ids=["one case", "two cases"])
def model(request: pytest.FixtureRequest) -> CopyLM:
    model = tiny.copylm(vocab_size=64, hidden_size=32, intermediate_size=64, max_prefix=16, initializer_range=0.02)
    model.double()
    return model


def logits(model: CopyLM, packed: Layout, **rest: object) -> Tensor:
    mask = attention_mask(packed, packed, torch.float64, prefix_lm=True)
    inputs = {"input_ids": packed.tokens, "attention_mask": mask, "position_ids": packed.positions}
    result: Tensor = model(**inputs, token_type_ids=(packed.segments == PREFIX).long(), **rest).logits
    return result


def alone(model: CopyLM, row: int, prompt: int) -> Tensor:
    """The logits of one prompt's tokens, with nothing else in the batch."""
    prefix, tokens = PREFIXES[row], PROMPTS[row][prompt]
    packed = layout([[Run(PREFIX, 0, prefix), Run(1, len(prefix), tokens)]], pad_token=0)
    return logits(model, packed)[0, len(prefix) :]


def runs(row: int) -> list[Run]:
    prefix = PREFIXES[row]
    prompts = [Run(number, len(prefix), tokens) for number, tokens in enumerate(PROMPTS[row], start=1)]
    return [Run(PREFIX, 0, prefix), *prompts]


def test_packed_prompts_are_computed_as_alone(model: CopyLM) -> None:
    together = logits(model, layout([runs(0), runs(1)], pad_token=0))
    torch.testing.assert_close(together[0, 5:7], alone(model, 0, 0), rtol=0, atol=1e-10)
    torch.testing.assert_close(together[0, 7:10], alone(model, 0, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(together[1, 3:5], alone(model, 1, 0), rtol=0, atol=1e-10)


def test_cached_prefix_gives_the_same(model: CopyLM) -> None:
    cache = DynamicCache()
    prefix = layout([runs(0)[:1], runs(1)[:1]], pad_token=0)
    logits(model, prefix, past_key_values=cache)
    queries = layout([runs(0)[1:], runs(1)[1:]], pad_token=0)
    keys = Layout(*(torch.cat(pair, dim=1) for pair in zip(prefix, queries, strict=True)))
    mask = attention_mask(queries, keys, torch.float64, prefix_lm=True)
    cached = model(
        input_ids=queries.tokens, attention_mask=mask, position_ids=queries.positions, past_key_values=cache
    ).logits
    torch.testing.assert_close(cached[0, 2:5], alone(model, 0, 1), rtol=0, atol=1e-10)
    torch.testing.assert_close(cached[1, :2], alone(model, 1, 0), rtol=0, atol=1e-10)


def test_logits_are_log_probabilities(model: CopyLM) -> None:
    total = alone(model, 0, 0).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_logits_at_chosen_positions(model: CopyLM) -> None:
    packed = layout([runs(0), runs(1)], pad_token=0)
    every = logits(model, packed)
    positions = torch.tensor([[6, 9], [4, 4]])
    with logits_at(model, positions):
        some = logits(model, packed)
    torch.testing.assert_close(some, torch.stack((every[0, [6, 9]], every[1, [4, 4]])))


def test_logits_of_wanted_tokens(model: CopyLM) -> None:
    packed = layout([runs(0), runs(1)], pad_token=0)
    wanted = torch.randint(64, (*packed.tokens.shape, 5))
    wanted[..., 0] = packed.tokens[:, :1]  # a token that can be copied
    some = logits(model, packed, wanted=wanted)
    torch.testing.assert_close(some, logits(model, packed).gather(-1, wanted), rtol=0, atol=1e-10)


def test_logits_of_wanted_tokens_that_cannot_be_copied_can_be_had_in_comparison(model: CopyLM) -> None:
    packed = layout([runs(0), runs(1)], pad_token=0)
    with torch.no_grad():
        model.tokens.weight[63] *= 100  # what -1 would stand for, if it stood for a token
    others = torch.tensor(sorted(set(range(63)) - set(packed.tokens.flatten().tolist())))
    wanted = others[torch.randint(len(others), (*packed.tokens.shape, 5))]
    wanted[:, :, 3:] = -1
    some = logits(model, packed, wanted=wanted)[..., :3]
    every = logits(model, packed).gather(-1, wanted[..., :3])
    torch.testing.assert_close(some, every, rtol=0, atol=1e-10)
    compared = logits(model, packed, wanted=wanted, relative=True)[..., :3]
    torch.testing.assert_close(compared.log_softmax(-1), every.log_softmax(-1), rtol=0, atol=1e-10)
    assert (compared - every > 0.1).all(), "among themselves they are likelier"


def test_cases_tell_tokens_apart() -> None:
    config = CopyLMConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, cases=2
    )
    model = CopyLM(config).double().eval()  # type: ignore[no-untyped-call]
    lower, upper = (logits(model, layout([[Run(PREFIX, 0, [5, token])]], pad_token=0))[0, -1] for token in (6, 38))
    assert not torch.allclose(lower, upper)
    assert lower.exp()[38] < 1e-12, "a token of another case is copied or not at all"
    assert upper.exp()[38] > 1e-6


def test_an_open_gate_copies_only_from_the_passage(model: CopyLM) -> None:
    torch.nn.init.zeros_(model.lm_head.gate.weight)
    torch.nn.init.constant_(model.lm_head.gate.bias, 50.0)
    chances = alone(model, 0, 0).exp()
    passage = sorted(set(PREFIXES[0]))
    torch.testing.assert_close(chances[:, passage].sum(-1), torch.ones(2, dtype=torch.float64))


def test_prefix_is_read_in_both_directions(model: CopyLM) -> None:
    first = layout([[Run(PREFIX, 0, [5, 6, 7])]], pad_token=0)
    second = layout([[Run(PREFIX, 0, [5, 6, 8])]], pad_token=0)
    assert not torch.allclose(logits(model, first)[0, 0, 20:], logits(model, second)[0, 0, 20:])


def test_saved_and_loaded_through_the_auto_classes(model: CopyLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), CopyLMConfig)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    loaded.eval()
    packed = layout([runs(0)], pad_token=0)
    torch.testing.assert_close(logits(loaded, packed), logits(model, packed), rtol=0, atol=1e-10)


def test_token_ids_survive_a_bfloat16_cache(model: CopyLM) -> None:
    cache = DynamicCache()
    packed = layout([runs(0)[:1]], pad_token=0)
    narrow = model.bfloat16()
    mask = attention_mask(packed, packed, torch.bfloat16, prefix_lm=True)
    big = packed.tokens + 50
    narrow(input_ids=big, attention_mask=mask, position_ids=packed.positions, past_key_values=cache)
    ids: Any = cache.layers[2]
    assert ids.values.flatten().tolist() == (big + 1).flatten().tolist(), "0 is for nothing"
