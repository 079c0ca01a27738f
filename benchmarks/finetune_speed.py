"""How fast adapters are trained: tokens/s, documents/s and peak memory of QLoRA on a Mistral with random weights.

    python benchmarks/finetune_speed.py                              7B, on a GPU, in about three minutes
    torchrun --nproc-per-node=2 benchmarks/finetune_speed.py         the same on one GPU, and then on two
    python benchmarks/finetune_speed.py --tiny                       two layers, anywhere: tries the script

It prints a line for each way of training, and at last one line of JSON with all figures. The same trainer runs here as
in `autore finetune`, with its default rank of 100 on q_proj and v_proj, in nf4.

Documents have the mean measures of Re-DocRED's (dev, lists as in the paper): a passage of 260 tokens, and the prompts
of `STAGES` about it. The hours are those of AutoRE's recipe for Mistral (arXiv 2403.14888): 320, 5000 and 9000 steps of
256 prompts for the three stages, prompt by prompt, and with all prompts of a passage and stage behind one copy of it.
"""

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import nn
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, TrainerCallback

from autore_cli.model.dataset import Dataset, Row, Sample
from autore_cli.model.lora import with_adapter
from autore_cli.model.plan import make_plan
from autore_cli.model.settings import FinetuneSettings
from autore_cli.model.training import make_trainer

PASSAGE = 260
SEVEN_B = MistralConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    sliding_window=None,
)
TINY = MistralConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    sliding_window=None,
)
RANK, WORLD = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
LAUNCHERS_OWN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Stage(NamedTuple):
    """A stage's prompts: how many a document has, their tokens, those of a completion, and the recipe's steps."""

    prompts: int
    suffix: int
    completion: int
    steps: int
    batch: int


STAGES = {
    "relation": Stage(2, 13, 20, 320, batch=32),
    "head": Stage(10, 41, 8, 5000, batch=16),
    "fact": Stage(32, 49, 4, 9000, batch=8),
}
RECIPE_BATCH = 256


class Measurement(NamedTuple):
    """Seconds a row (of all devices together), and a device's peak memory in GiB."""

    seconds: float
    memory: float


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
    quantised = Linear4bit(*size, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")  # type: ignore[no-untyped-call]
    quantised.weight = Params4bit(layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4")
    return quantised.to(layer.weight.device)


def row(rng: random.Random, passage: int, stage: Stage, prompts: int = 1) -> Row:
    """A passage and some prompts of a stage about it, all of random tokens."""

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(10, 500) for _ in range(count))

    return Row(tokens(passage), tuple(Sample(tokens(stage.suffix), tokens(stage.completion)) for _ in range(prompts)))


class Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_log(self, *_: Any, **__: Any) -> None:
        """A step's loss is known, so that the step is finished on the GPU too."""
        self.times.append(time.perf_counter())


class Bench:
    """A base, and the measurements on it.

    Args:
        tiny: a model that any machine can train.
        steps: of each measurement; a first one goes before them, to warm up.
    """

    def __init__(self, *, tiny: bool, steps: int) -> None:
        gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        self.device = gpu if torch.cuda.is_available() else torch.device("cpu")
        if self.device.type == "cpu" and not tiny:
            sys.exit("a 7B needs a GPU; try --tiny")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        Linear4bit.support_avx512bf16_for_cpu = False
        self.steps = steps
        self.base = random_base(TINY if tiny else SEVEN_B, self.device)
        self.figures: dict[str, float] = {}

    def measure(self, rows: Sequence[Row], batch_size: int, *, checkpointing: bool = True) -> Measurement:
        """Trains an adapter on the rows, over and over."""
        settings = FinetuneSettings(
            steps=self.steps + 1, batch_size=batch_size, gradient_checkpointing=checkpointing, max_length=4096
        )
        count = batch_size * WORLD * (self.steps + 1)
        dataset = Dataset(tuple(rows[index % len(rows)] for index in range(count)), (), {}, count, 0)
        on_gpu = self.device.type == "cuda"
        plan = make_plan("benchmark", (), dataset, settings, self.base, on_gpu=on_gpu, devices=WORLD)
        adapted = with_adapter(self.base, settings, plan.target_modules)
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(adapted, "benchmark", dataset, plan, settings, Path(folder), 0, on_gpu=on_gpu)
            trainer.args.save_strategy = "no"
            trainer.add_callback(clock)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            trainer.train()
        adapted.unload()
        del trainer
        gc.collect()
        seconds = (clock.times[self.steps] - clock.times[0]) / (self.steps * batch_size * WORLD)
        return Measurement(seconds, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0)

    def prompts_of_512(self, batch_size: int, *, checkpointing: bool) -> float:
        """Tokens a second of rows as other trainers have them: one prompt each, of 512 tokens."""
        stage = STAGES["head"]
        rng = random.Random(0)  # noqa: S311 - not for secrets
        rows = [row(rng, 512 - stage.suffix - stage.completion + 1, stage) for _ in range(64)]
        measured = self.measure(rows, batch_size, checkpointing=checkpointing)
        name = f"512-token prompts, batch {batch_size}{', checkpointing' if checkpointing else ''}"
        self.tell(name, tokens=512 / measured.seconds, memory=measured.memory)
        return 512 / measured.seconds

    def prompt_by_prompt(self) -> tuple[float, float]:
        """Seconds a document, and hours of the recipe, of a row for each prompt."""
        rng = random.Random(0)  # noqa: S311 - not for secrets
        rows = [row(rng, PASSAGE, stage) for stage in STAGES.values() for _ in range(2 * stage.prompts)]
        rng.shuffle(rows)
        measured = self.measure(rows, 32)
        document = measured.seconds * sum(stage.prompts for stage in STAGES.values())
        hours = measured.seconds * sum(stage.steps for stage in STAGES.values()) * RECIPE_BATCH / 3600
        tokens = sum(each.length for each in rows) / len(rows) / measured.seconds
        self.tell("documents prompt by prompt", tokens, document, hours, measured.memory)
        return document, hours

    def packed(self) -> tuple[float, float]:
        """The same with all prompts of a passage and stage behind one copy of it."""
        rng = random.Random(0)  # noqa: S311 - not for secrets
        document = hours = memory = 0.0
        length = 0
        for stage in STAGES.values():
            rows = [row(rng, PASSAGE, stage, stage.prompts) for _ in range(16)]
            measured = self.measure(rows, stage.batch)
            document += measured.seconds
            hours += measured.seconds * stage.steps * RECIPE_BATCH / stage.prompts / 3600
            memory = max(memory, measured.memory)
            length += rows[0].length
        self.tell("documents packed", length / document, document, hours, memory)
        return document, hours

    def tell(
        self, what: str, tokens: float, document: float | None = None, hours: float | None = None, memory: float = 0.0
    ) -> None:
        """Prints a line, and keeps its figures."""
        cells = {
            "tokens/s": tokens,
            "documents/s": None if document is None else 1 / document,
            "hours of the recipe": hours,
            "peak GiB": memory,
        }
        line = f"{what:36}" + "".join(
            f" | {name} {figure:,.2f}" for name, figure in cells.items() if figure is not None
        )
        say(f"{line}{f' | {WORLD} devices' if WORLD > 1 else ''}")
        known = {f"{what}: {name}": round(figure, 3) for name, figure in cells.items() if figure is not None}
        self.figures.update(known)


def say(line: str) -> None:
    """Prints a line at once; under torchrun one process speaks for all."""
    if RANK == 0:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def on_one_device(bench: Bench) -> None:
    """All measurements."""
    for checkpointing, size in ((True, 8), (True, 32), (False, 8)):
        bench.prompts_of_512(size, checkpointing=checkpointing)
    before, hours_before = bench.prompt_by_prompt()
    after, hours_after = bench.packed()
    bench.figures["packed against prompt by prompt, documents/s"] = round(before / after, 2)
    say(f"packed against prompt by prompt: {before / after:.2f} times the documents a second")
    say(f"the whole recipe: {hours_before:.1f} hours before, {hours_after:.1f} after")


def on_several_devices(bench: Bench, alone: dict[str, float]) -> None:
    """Those that tell what further devices bring.

    Args:
        bench: all devices.
        alone: the figures of one of them.
    """
    bench.prompts_of_512(32, checkpointing=True)
    bench.packed()
    for name in [name for name in bench.figures if name.endswith("/s") and name in alone]:
        ratio = bench.figures[name] / alone[name]
        say(f"{name}: {ratio:.2f} times that of one device")
        bench.figures[f"{name}, against one device"] = round(ratio, 3)


def alone(arguments: Sequence[str]) -> dict[str, float]:
    """The figures of one device, from a process of its own, whose lines are passed on."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS_OWN}
    command = [sys.executable, __file__, *arguments]
    last = "{}"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        for line in process.stdout or ():
            last = line
            say(line.rstrip())
    if process.returncode:
        sys.exit(f"the measurement on one device failed: {process.returncode}")
    figures: dict[str, float] = json.loads(last)
    return figures


def main() -> None:
    """Measures and prints, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two layers, to try the script")
    parser.add_argument("--steps", type=int, default=4, help="steps of each measurement, the first one aside")
    options = parser.parse_args()
    # Before this process takes memory of its own; the other processes wait for this one when they first meet.
    before = alone(sys.argv[1:]) if WORLD > 1 and RANK == 0 else {}
    start = time.perf_counter()
    bench = Bench(tiny=options.tiny, steps=options.steps)
    say(f"the base, with random weights, in {time.perf_counter() - start:.0f} s")
    if WORLD > 1:
        on_several_devices(bench, before)
    else:
        on_one_device(bench)
    bench.figures["devices"] = WORLD
    say(json.dumps(bench.figures))


if __name__ == "__main__":
    main()
