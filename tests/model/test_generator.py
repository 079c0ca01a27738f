"""The generator against a naive reference: one prompt at a time, no cache, no packing, in float64."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from autore_cli.errors import BundleError, ConfigurationError
from autore_cli.generation import Generator, Listed, Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model import bundle as bundles
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.generator import Pace, TransformersGenerator
from tests.model import tiny

ENCODER = TokenizerEncoder(tiny.tokenizer("bytelevel"))
SEPARATOR, JOINER, END = ENCODER.token(";"), ENCODER.token("|"), ENCODER.end
POSITIONS = 48
STAGES = ("relation", "head", "fact")
TOLERANCE = 1e-9

Family = tiny.Family | Literal["copylm"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """A bundle in which two stages have adapters, and the third is the base as it is."""
    folder = tmp_path_factory.mktemp("bundle")
    text = tiny.BUNDLE.format(name="tiny", opening="<s>", closing="").replace('adapter = "fact"', "")
    (folder / bundles.FILE).write_text(text)
    return bundles.read(folder)


@cache
def adapted(family: Family, attention: str = "sdpa") -> PeftModel:
    """A tiny model in float64 with two random adapters."""
    if family == "copylm":
        model: PreTrainedModel = tiny.copylm(max_prefix=POSITIONS // 2, max_prompt=POSITIONS // 2)
    else:
        model = tiny.model(family, max_position_embeddings=POSITIONS)
        model.set_attn_implementation(attention)
    model.double()
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with_adapters = get_peft_model(model, config, adapter_name="relation", autocast_adapter_dtype=False)
    with_adapters.add_adapter("head", config, autocast_adapter_dtype=False)
    assert isinstance(with_adapters, PeftModel)
    return with_adapters.eval()


class Reference:
    """Reads a prompt from its first token anew for every token that it adds."""

    def __init__(self, family: Family, stage: str) -> None:
        self.model = adapted(family)
        self.adapter = {"relation": "relation", "head": "head", "fact": None}[stage]

    @torch.no_grad()
    def logits(self, request: Request, behind: Sequence[int] = ()) -> Tensor:
        tokens = torch.tensor([[*request.prefix, *request.suffix, *behind]])
        keywords = (
            _prefix_lm(len(request.prefix), tokens.shape[1]) if self.model.config.model_type == "autore_copylm" else {}
        )
        if self.adapter is None:
            with self.model.disable_adapter():
                logits: Tensor = self.model(input_ids=tokens, **keywords).logits
        else:
            self.model.set_adapter(self.adapter)
            logits = self.model(input_ids=tokens, **keywords).logits
        return logits[0, -1]

    def choose(self, request: Request) -> float:
        return self.logits(request)[[ENCODER.yes, ENCODER.no]].softmax(0)[0].item()

    def decode(self, request: Request, grammar: ListGrammar, end_bias: float) -> list[Listed]:
        cursor = grammar.start()
        written: list[int] = []
        found: list[Listed] = []
        probability = 1.0
        while not cursor.done and len(request.prefix + request.suffix) + len(written) <= POSITIONS:
            logits = self.logits(request, written)
            logits[grammar.end] -= end_bias
            allowed = list(cursor.allowed())
            chances = dict(zip(allowed, logits[allowed].softmax(0).tolist(), strict=True))
            best = max(allowed, key=chances.__getitem__)
            if cursor.advance(best):
                closing = chances[grammar.end] + chances.get(grammar.separator, 0.0)
                found.append(Listed(cursor.items[-1], probability * closing))
                probability = chances[best] / closing
            else:
                probability *= chances[best]
            written.append(best)
        return found


def _prefix_lm(prefix: int, length: int) -> dict[str, Tensor]:
    """What tells a prefix LM which tokens are prefix, and who sees whom."""
    unseen = torch.ones(length, length, dtype=torch.float64).triu(1)
    unseen[:prefix, :prefix] = 0
    types = (torch.arange(length) < prefix).long()
    return {
        "attention_mask": -1e30 * unseen[None, None],
        "token_type_ids": types[None],
        "position_ids": torch.arange(length)[None],
    }


tokens = st.integers(100, 130)  # few, so that names begin alike
names = st.lists(tokens, min_size=1, max_size=4)
prompts = st.tuples(st.integers(0, 2), st.lists(tokens, max_size=6))
grammars = st.builds(
    lambda fields, max_items: ListGrammar(tuple(map(Trie, fields)), SEPARATOR, END, JOINER, max_items),
    st.lists(st.lists(names, max_size=8), min_size=1, max_size=2),
    st.integers(0, 5),
)


@st.composite
def work(draw: st.DrawFn) -> tuple[list[Request], list[ListGrammar]]:
    """Requests, some of the same prefix, some without a suffix, and their grammars."""
    prefixes = [tuple(draw(st.lists(tokens, min_size=1, max_size=16))) for _ in range(3)]
    asked = draw(st.lists(st.tuples(prompts, grammars), max_size=8))
    return [Request(prefixes[which], tuple(suffix), (0, 1)) for (which, suffix), _ in asked], [g for _, g in asked]


def assert_close(found: Sequence[Listed], expected: Sequence[Listed], tolerance: float = TOLERANCE) -> None:
    assert [one.item for one in found] == [one.item for one in expected]
    assert [one.probability for one in found] == pytest.approx([one.probability for one in expected], abs=tolerance)
    assert all(0 < one.probability <= 1 for one in found)


@pytest.mark.parametrize("family", [*tiny.FAMILIES, "copylm"])
@given(
    asked=work(),
    stage=st.sampled_from(STAGES),
    batch_size=st.integers(1, 4),
    row_tokens=st.integers(1, 20),
    end_bias=st.sampled_from([0.0, 1.5, -0.5]),
    readings=st.integers(1, 3),
    slots=st.sampled_from([0, 1, 2, 4]),
    share=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_a_batch_is_token_for_token_what_each_prompt_alone_gives(
    bundle: bundles.Bundle,
    family: Family,
    asked: tuple[list[Request], list[ListGrammar]],
    stage: str,
    batch_size: int,
    row_tokens: int,
    end_bias: float,
    readings: int,
    slots: int,
    share: bool,
) -> None:
    requests, asked_grammars = asked
    generator = TransformersGenerator(
        adapted(family),
        ENCODER,
        bundle,
        pace=Pace(batch_size, row_tokens, readings, slots),
        share=share,
    )
    reference = Reference(family, stage)
    lists = generator.decode(stage, requests, asked_grammars, end_bias)
    for found, request, grammar in zip(lists, requests, asked_grammars, strict=True):
        assert_close(found, reference.decode(request, grammar, end_bias))
    chances = generator.choose(stage, requests)
    assert chances == pytest.approx([reference.choose(request) for request in requests], abs=TOLERANCE)
    assert all(0 < chance < 1 for chance in chances)


REQUESTS = [
    Request(tuple(range(100, 100 + length)), tuple(range(200, 200 + number)), (0, length))
    for length, number in itertools.product((3, 9, 20), range(5))
]
GRAMMAR = ListGrammar((Trie([[101], [101, 102], [103, 104, 105], [106]]),), SEPARATOR, END)
GRAMMARS = [GRAMMAR] * len(REQUESTS)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_eager_attention_gives_the_same(bundle: bundles.Bundle, family: tiny.Family) -> None:
    one, other = (TransformersGenerator(adapted(family, kind), ENCODER, bundle) for kind in ("sdpa", "eager"))
    torch.manual_seed(0)
    for stage in STAGES:
        for found, expected in zip(
            one.decode(stage, REQUESTS, GRAMMARS, 1.0), other.decode(stage, REQUESTS, GRAMMARS, 1.0), strict=True
        ):
            assert_close(found, expected, tolerance=1e-5)  # eager attention is a float32 softmax


@pytest.fixture(scope="module")
def generator(bundle: bundles.Bundle) -> TransformersGenerator:
    return TransformersGenerator(adapted("mistral"), ENCODER, bundle, pace=Pace(batch_size=4, row_tokens=1024))


def test_the_order_of_requests_does_not_matter(generator: TransformersGenerator) -> None:
    order = torch.randperm(len(REQUESTS), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [REQUESTS[index] for index in order]
    chances, lists = generator.choose("head", REQUESTS), generator.decode("head", REQUESTS, GRAMMARS, 1.0)
    assert generator.choose("head", shuffled) == pytest.approx([chances[index] for index in order], abs=TOLERANCE)
    for found, index in zip(generator.decode("head", shuffled, GRAMMARS, 1.0), order, strict=True):
        assert_close(found, lists[index])


def test_it_is_a_generator_and_each_stage_has_its_say(generator: TransformersGenerator) -> None:
    protocol: Generator = generator
    chances = [protocol.choose(stage, REQUESTS) for stage in (*STAGES, *STAGES)]
    assert len(set(map(tuple, chances))) == len(STAGES)
    assert chances[:3] == chances[3:]
    assert not any(weight.requires_grad for name, weight in adapted("mistral").named_parameters() if "lora" in name)
    assert protocol.choose("head", []) == []
    assert protocol.decode("head", [], []) == []


def test_of_equally_likely_tokens_the_first_named_wins(bundle: bundles.Bundle) -> None:
    model = tiny.model(max_position_embeddings=POSITIONS)
    torch.nn.init.zeros_(model.lm_head.weight)
    generator = TransformersGenerator(model, ENCODER, without_adapters(bundle))
    found = generator.decode("head", REQUESTS[:1], [ListGrammar((Trie([[110], [105], [120]]),), SEPARATOR, END)])
    # 4 tokens to choose from, then separator or end: going on is the first named; 2 tokens; ...
    assert_close(found[0], [Listed((0,), 1 / 4), Listed((1,), 1 / 4), Listed((2,), 1 / 2)], tolerance=1e-6)


def test_a_long_list_is_cut_off_behind_a_whole_item(bundle: bundles.Bundle) -> None:
    generator = TransformersGenerator(adapted("mistral"), ENCODER, bundle)
    request = Request((100,) * (POSITIONS - 6), (101, 102), (0, 1))
    grammar = ListGrammar((Trie([[token, token, token] for token in range(110, 120)]),), SEPARATOR, END)
    assert len(generator.decode("head", [request], [grammar], end_bias=1e9)[0]) == 1


def test_a_prompt_that_does_not_fit_is_refused(generator: TransformersGenerator) -> None:
    fits = Request((100,) * (POSITIONS - 2), (101, 102), (0, 1))
    generator.choose("head", [fits])
    with pytest.raises(BundleError, match=f"a prompt has {POSITIONS + 1} tokens, and the model reads {POSITIONS}"):
        generator.choose("head", [fits, Request(fits.prefix, (1, 2, 3), (0, 1))])


def test_a_prompt_without_a_passage_is_refused(generator: TransformersGenerator) -> None:
    with pytest.raises(BundleError, match="empty up to its passage's end"):
        generator.choose("head", [Request((), (1, 2), (0, 0))])


def test_a_sliding_window_is_a_limit_too(bundle: bundles.Bundle) -> None:
    model = tiny.model(max_position_embeddings=POSITIONS)
    model.config.sliding_window = 16
    generator = TransformersGenerator(model, ENCODER, without_adapters(bundle))
    with pytest.raises(BundleError, match="the model reads 16"):
        generator.choose("head", REQUESTS)


class Memory:
    """Fails like a device that holds so many rows at most."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, module: torch.nn.Module, arguments: object, keywords: dict[str, Tensor]) -> None:
        if len(keywords["input_ids"]) > self.rows:
            torch.empty(2**60)  # "DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("rows", [1, 3])
def test_a_lack_of_memory_halves_the_batch(bundle: bundles.Bundle, caplog: pytest.LogCaptureFixture, rows: int) -> None:
    model = tiny.model(max_position_embeddings=POSITIONS)
    generator = TransformersGenerator(model, ENCODER, without_adapters(bundle), pace=Pace(batch_size=4, row_tokens=4))
    chances, lists = generator.choose("head", REQUESTS), generator.decode("head", REQUESTS, GRAMMARS)
    model.register_forward_pre_hook(Memory(rows), with_kwargs=True)
    with caplog.at_level(logging.WARNING):
        assert generator.choose("head", REQUESTS) == pytest.approx(chances, abs=1e-5)
        for found, expected in zip(generator.decode("head", REQUESTS, GRAMMARS), lists, strict=True):
            assert_close(found, expected, tolerance=1e-5)
    assert generator.batch_size == {1: 1, 3: 2}[rows]
    assert len(caplog.messages) == {1: 2, 3: 1}[rows], "it stays with the smaller batch"


def test_too_little_memory_is_an_error(bundle: bundles.Bundle) -> None:
    model = tiny.model(max_position_embeddings=POSITIONS)
    model.register_forward_pre_hook(Memory(0), with_kwargs=True)
    generator = TransformersGenerator(model, ENCODER, without_adapters(bundle))
    with pytest.raises(ConfigurationError, match="batch size of 1"):
        generator.choose("head", REQUESTS)


def test_other_errors_are_not_taken_for_a_lack_of_memory(bundle: bundles.Bundle) -> None:
    generator = TransformersGenerator(tiny.model(max_position_embeddings=POSITIONS), ENCODER, without_adapters(bundle))
    with pytest.raises(IndexError):
        generator.choose("head", [Request((tiny.VOCABULARY,), (1,), (0, 1))])


def without_adapters(bundle: bundles.Bundle) -> bundles.Bundle:
    stages = {name: replace(stage, adapter=None) for name, stage in bundle.stages.items()}
    return replace(bundle, stages=stages)
