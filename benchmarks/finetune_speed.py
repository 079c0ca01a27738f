"""How fast adapters are trained: tokens/s, documents/s and peak memory of QLoRA on a Mistral with random weights.

    python benchmarks/finetune_speed.py            7B, on a GPU
    python benchmarks/finetune_speed.py --tiny     a model of two layers, anywhere: tries the script

It prints a table, a line for each way of training, and the hours of AutoRE's recipe for Mistral (arXiv 2403.14888):
320, 5000 and 9000 steps of 256 prompts. Documents have the measures of Re-DocRED: a passage of 260 tokens, and 36
prompts about it. The same trainer runs here as in `autore finetune`.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import nn
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, TrainerCallback

from autore_cli.model.dataset import Dataset, Row, Sample
from autore_cli.model.lora import with_adapter
from autore_cli.model.plan import make_plan
from autore_cli.model.settings import FinetuneSettings
from autore_cli.model.training import make_trainer

PROMPTS = (320 + 5000 + 9000) * 256
PASSAGE, SUFFIX, COMPLETION = 260, 40, 8
PROMPTS_A_DOCUMENT = 36
SEVEN_B = MistralConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)
TINY = MistralConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def random_base(config: MistralConfig, device: torch.device) -> PreTrainedModel:
    """A Mistral with random weights, its linear layers but for the head in nf4 with double quantisation."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.set_default_dtype(dtype)
    with device:
        model = MistralForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    for parent in list(model.model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, _quantised(layer, dtype))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]
    return model


def _quantised(layer: nn.Linear, dtype: torch.dtype) -> Linear4bit:
    size = layer.in_features, layer.out_features
    quantised = Linear4bit(*size, bias=False, compute_dtype=dtype, quant_type="nf4")  # type: ignore[no-untyped-call]
    quantised.weight = Params4bit(layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4")
    return quantised.to(layer.weight.device)


def tokens(rng: random.Random, count: int) -> tuple[int, ...]:
    """Random token ids."""
    return tuple(rng.randrange(10, 500) for _ in range(count))


def plain_rows(count: int, length: int) -> Iterator[Row]:
    """One prompt a row, of exactly `length` tokens, as other trainers have them."""
    rng = random.Random(0)  # noqa: S311 - not for secrets
    for _ in range(count):
        yield Row(tokens(rng, length - SUFFIX - COMPLETION + 1), (sample(rng),))


def documents(count: int, *, packed: bool) -> Iterator[Row]:
    """Passages with their prompts, in one row or in a row each."""
    rng = random.Random(0)  # noqa: S311 - not for secrets
    for _ in range(count):
        passage, samples = tokens(rng, PASSAGE), tuple(sample(rng) for _ in range(PROMPTS_A_DOCUMENT))
        if packed:
            yield Row(passage, samples)
        else:
            yield from (Row(passage, (each,)) for each in samples)


def sample(rng: random.Random) -> Sample:
    """A prompt and its completion."""
    return Sample(tokens(rng, SUFFIX), tokens(rng, COMPLETION))


class Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_log(self, *_: Any, **__: Any) -> None:
        """A step's loss is known, so that the step is finished on the GPU too."""
        self.times.append(time.perf_counter())


def measure(
    base: PreTrainedModel, rows: list[Row], settings: FinetuneSettings, device: torch.device
) -> tuple[float, float]:
    """Seconds a row and peak memory in GiB, after a first step that warms up."""
    on_gpu = device.type == "cuda"
    dataset = Dataset(tuple(rows), (), {}, len(rows), 0)
    plan = make_plan("benchmark", (), dataset, settings, base, on_gpu=on_gpu)
    adapted = with_adapter(base, settings, plan.target_modules)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(adapted, "benchmark", dataset, plan, settings, Path(folder), 0, on_gpu=on_gpu)
        trainer.args.save_strategy = "no"
        trainer.add_callback(clock)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    adapted.unload()
    seconds = (clock.times[plan.steps - 1] - clock.times[0]) / ((plan.steps - 1) * settings.batch_size)
    return seconds, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


def main() -> None:
    """Measures and prints, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two layers, to try the script")
    parser.add_argument("--steps", type=int, default=6, help="steps of each measurement, the first one aside")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        sys.exit("a 7B needs a GPU; try --tiny")
    Linear4bit.support_avx512bf16_for_cpu = False
    base = random_base(TINY if options.tiny else SEVEN_B, device)
    settings = FinetuneSettings(steps=options.steps + 1, max_length=4096)

    sys.stdout.write(
        "what                                     | tokens/s | documents/s | peak GiB | hours of the recipe\n"
    )
    for checkpointing, size in ((True, 8), (True, 32), (False, 8), (False, 32)):
        one = replace(settings, batch_size=size, gradient_checkpointing=checkpointing)
        seconds, peak = measure(base, list(plain_rows(size * (options.steps + 1), 512)), one, device)
        name = f"512-token prompts, batch {size}{', checkpointing' if checkpointing else ''}"
        sys.stdout.write(f"{name:40} | {512 / seconds:8,.0f} | {'':11} | {peak:8.1f} |\n")
    for packed, size in ((False, 32), (True, 2), (True, 4)):
        one = replace(settings, batch_size=size, gradient_checkpointing=True)
        rows = list(documents(size * (options.steps + 1), packed=packed))[: size * (options.steps + 1)]
        seconds, peak = measure(base, rows, one, device)
        a_document = seconds if packed else seconds * PROMPTS_A_DOCUMENT
        hours = PROMPTS / PROMPTS_A_DOCUMENT * a_document / 3600
        name = f"documents {'packed' if packed else 'prompt by prompt'}, batch {size}"
        speed = rows[0].length / seconds
        sys.stdout.write(f"{name:40} | {speed:8,.0f} | {1 / a_document:11.2f} | {peak:8.1f} | {hours:8.1f}\n")


if __name__ == "__main__":
    main()
