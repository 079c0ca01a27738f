"""Loading a bundle's parts: in 4 bit, once, and with one clear line for whatever is wrong with them."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from autore_cli.errors import AutoreError, BundleError, ConfigurationError
from autore_cli.generation import Request
from autore_cli.model.adapters import base_of, load_adapters, use_adapter
from autore_cli.model.base import find_device, load_base
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.encoder import load_encoder
from autore_cli.model.generator import TransformersGenerator
from autore_cli.model.load import load
from tests.model import tiny

REQUESTS = [Request((2, 100, 101, 102), tuple(range(110, 110 + length)), (1, 4)) for length in range(1, 6)]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read(tiny.bundle(tmp_path / "tiny"))


def load_with_adapters(bundle: Bundle) -> PeftModel:
    model = load_adapters(load_base(bundle, "cpu"), bundle)
    assert isinstance(model, PeftModel)
    return model


def answers(bundle: Bundle, model: PeftModel | PreTrainedModel) -> dict[str, list[float]]:
    generator = TransformersGenerator(model, load_encoder(bundle), bundle)
    return {stage: generator.choose(stage, REQUESTS) for stage in tiny.STAGES}


def linear_layers(model: PreTrainedModel) -> dict[str, Any]:
    """The linear layers of the base itself."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and "lora" not in name
    }


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_one_base_in_four_bits_carries_all_adapters(family: tiny.Family, tmp_path: Path) -> None:
    targets = ("q_proj", "v_proj")
    bundle = read(tiny.bundle(tmp_path / "tiny", family=family, targets=targets))
    model = load_with_adapters(bundle)
    layers = linear_layers(base_of(model))
    states = {name: layer.weight.quant_state for name, layer in layers.items() if "4bit" in type(layer).__name__}
    assert set(layers) - set(states) == {"lm_head"}
    assert len(states) == {"glm": 12, "llama": 14, "mistral": 14}[family], "no layer is there twice"
    assert all(state.quant_type == "nf4" and state.nested for state in states.values())
    places = {name: layer.weight.data_ptr() for name, layer in layers.items()}
    assert len(set(places.values())) == len(places)

    first = answers(bundle, model)
    assert len(set(map(tuple, first.values()))) == len(tiny.STAGES), "each adapter says something else"
    assert answers(bundle, model) == first, "and the same again after the others"
    assert {name: layer.weight.data_ptr() for name, layer in linear_layers(base_of(model)).items()} == places
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not model.training


def test_no_adapter_is_the_base_as_it_is(bundle: Bundle) -> None:
    base = load_base(bundle, "cpu")
    tokens = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        expected = base(tokens).logits
        model = load_adapters(base, bundle)
        use_adapter(model, "head")
        assert not torch.equal(model(tokens).logits, expected)
        use_adapter(model, None)
        assert torch.equal(model(tokens).logits, expected)
    text = bundle.file.read_text()
    for stage in tiny.STAGES:
        text = text.replace(f'adapter = "{stage}"', "")
    bundle.file.write_text(text)
    plain = load_adapters(base, read(bundle.folder))
    assert plain is base
    use_adapter(plain, None)
    with pytest.raises(ValueError, match="no adapter 'head'"):
        use_adapter(plain, "head")


def test_stages_can_share_an_adapter(bundle: Bundle) -> None:
    bundle.file.write_text(bundle.file.read_text().replace('adapter = "fact"', 'adapter = "head"'))
    shared = read(bundle.folder)
    model = load_with_adapters(shared)
    assert list(model.peft_config) == ["relation", "head"]
    said = answers(shared, model)
    assert said["head"] == said["fact"] != said["relation"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_base_saved_in_four_bits_just_loads(bundle: Bundle, dtype: torch.dtype) -> None:
    quantised_here = load_base(bundle, "cpu", dtype)
    quantised_here.save_pretrained(bundle.folder / "base")
    model = load_base(bundle, "cpu", dtype, quantize=False)
    assert isinstance(linear_layers(model)["model.layers.0.mlp.up_proj"], Linear4bit)
    assert {weight.dtype for weight in model.parameters()} == {torch.uint8, dtype}
    assert answers(bundle, load_adapters(model, bundle)) == answers(bundle, load_adapters(quantised_here, bundle))


def test_adapters_take_the_dtype_of_the_base(bundle: Bundle) -> None:
    model = load_adapters(load_base(bundle, "cpu", torch.bfloat16), bundle)
    assert {weight.dtype for name, weight in model.named_parameters() if "lora" in name} == {torch.bfloat16}


def test_an_unquantised_base_keeps_its_precision(bundle: Bundle) -> None:
    model = load_base(bundle, "cpu", torch.float64, quantize=False)
    assert {weight.dtype for weight in model.parameters()} == {torch.float64}
    saved = load_file(bundle.folder / "base" / "model.safetensors")
    assert torch.equal(model.state_dict()["lm_head.weight"], saved["lm_head.weight"].double())


def test_the_small_architecture_loads_like_any_other(tmp_path: Path) -> None:
    bundle = read(tiny.bundle(tmp_path / "small", kind="wordpiece", causal_lm=tiny.copylm()))
    generator = load(bundle, device="cpu", batch_size=2)
    assert generator.batch_size == 2
    assert len({tuple(generator.choose(stage, REQUESTS)) for stage in tiny.STAGES}) == len(tiny.STAGES)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def only_pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_a_weight(file: Path, ending: str) -> None:
    weights = {name: weight for name, weight in load_file(file).items() if not name.endswith(ending)}
    save_file(weights, file, metadata={"format": "pt"})


def widen(file: Path) -> None:
    weights = {name: torch.cat([weight, weight], -1) for name, weight in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


def add_tokens(bundle: Path) -> None:
    tokenizer = load_encoder(read(bundle)).tokenizer
    tokenizer.add_tokens([f"w{number}" for number in range(99)])
    tokenizer.save_pretrained(bundle / "base")


WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "base cut short": (lambda at: truncate(at / "base/model.safetensors"), "base/model.safetensors", "is damaged"),
    "base in pickle": (lambda at: only_pickled(at / "base"), "base", "no file named model.safetensors"),
    "base gone": (lambda at: (at / "base").rename(at / "bass"), "base", "is missing"),
    "a weight gone": (
        lambda at: without_a_weight(at / "base/model.safetensors", "1.mlp.up_proj.weight"),
        "base",
        "weights are missing or of another size: model.layers.1.mlp.up_proj.weight",
    ),
    "other sizes": (lambda at: edit(at / "base/config.json", hidden_size=128), "base", "of another size: lm_head"),
    "unknown architecture": (lambda at: edit(at / "base/config.json", model_type="odd"), "base", "model type `odd`"),
    "remote code": (
        lambda at: edit(at / "base/config.json", model_type="odd", auto_map={"AutoConfig": "odd.Config"}),
        "base",
        "custom code",
    ),
    "a config of nonsense": (lambda at: edit(at / "base/config.json", vocab_size="many"), "base", "vocab_size"),
    "config not JSON": (lambda at: (at / "base/config.json").write_text("{"), "base", "can't be loaded"),
    "no tokenizer": (lambda at: (at / "base/tokenizer.json").unlink(), "base", "can't be loaded"),
    "tokenizer not JSON": (lambda at: (at / "base/tokenizer.json").write_text("{"), "base", "can't be loaded"),
    "too many tokens": (add_tokens, "bundle.toml", "the tokenizer has more tokens than the base"),
    "joiner is separator": (
        lambda at: (at / "bundle.toml").write_text((at / "bundle.toml").read_text().replace('"|"', '";"')),
        "bundle.toml",
        "are the same token",
    ),
    "adapter cut short": (lambda at: truncate(at / "head" / WEIGHTS), f"head/{WEIGHTS}", "is damaged"),
    "adapter gone": (lambda at: (at / "head" / WEIGHTS).unlink(), "", "autore finetune --model"),
    "adapter config not JSON": (lambda at: (at / "head" / CONFIG).write_text("{"), "head", "can't be loaded"),
    "not LoRA": (lambda at: edit(at / "head" / CONFIG, peft_type="IA3"), f"head/{CONFIG}", "plain LoRA"),
    "imports a module": (
        lambda at: edit(at / "head" / CONFIG, megatron_config={"a": 1}),
        f"head/{CONFIG}",
        "plain LoRA",
    ),
    "other layers": (lambda at: edit(at / "head" / CONFIG, target_modules=["qkv"]), "head", "qkv"),
    "other rank": (lambda at: edit(at / "head" / CONFIG, r=4), f"head/{WEIGHTS}", "doesn't fit the base"),
    "half an adapter": (
        lambda at: without_a_weight(at / "head" / WEIGHTS, "1.self_attn.v_proj.lora_B.weight"),
        f"head/{WEIGHTS}",
        "layers.1.self_attn.v_proj.lora_B.weight is missing",
    ),
    "adapter of another base": (lambda at: widen(at / "head" / WEIGHTS), f"head/{WEIGHTS}", "doesn't fit"),
    "too few layers": (
        lambda at: edit(at / "head" / CONFIG, target_modules=["q_proj"]),
        f"head/{WEIGHTS}",
        "not expected",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said_in_one_line(bundle: Bundle, fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    cause, place, problem = FAULTS[fault]
    cause(bundle.folder)
    with pytest.raises(BundleError) as raised:
        load(read(bundle.folder), device="cpu")
    assert problem in str(raised.value)
    assert raised.value.where == str(bundle.folder / place)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


class Explosive:
    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return sys.exit, ()


def test_an_adapter_is_never_unpickled(bundle: Bundle) -> None:
    (bundle.folder / "head" / WEIGHTS).unlink()
    (bundle.folder / "head" / "adapter_model.bin").write_bytes(pickle.dumps(Explosive()))
    with pytest.raises(BundleError):
        load(bundle, device="cpu")


def test_an_unknown_device_is_refused(bundle: Bundle) -> None:
    assert find_device("cpu") == torch.device("cpu")
    for name in ("tpu", "cuda:99"):
        with pytest.raises(ConfigurationError, match=f"no device '{name}'"):
            load(bundle, device=name)


def test_a_base_of_the_hub_that_is_out_of_reach(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    text = bundle.file.read_text().replace('base = "base"', 'base = "autore-tests/nowhere"\nrevision = "v1"')
    bundle.file.write_text(text)
    with pytest.raises(AutoreError, match=r"hf download autore-tests/nowhere --revision v1") as raised:
        load(read(bundle.folder), device="cpu")
    assert "\n" not in str(raised.value)


def test_loading_is_silent_and_keeps_off_the_network(bundle: Bundle) -> None:
    code = f"""
import socket, sys
def refuse(*_): sys.exit("a socket was opened")
socket.socket.connect = refuse
from autore_cli.model.bundle import find
from autore_cli.model.load import load
from autore_cli.generation import Request
generator = load(find({str(bundle.folder)!r}), device="cpu")
generator.choose("head", [Request((1, 2), (3,), (0, 1))])
assert "torch._inductor.compile_fx" not in sys.modules, "the compiler was loaded"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
