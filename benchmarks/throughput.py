"""How fast documents are extracted from: the reference way, batched only, and the product, side by side.

    python -m benchmarks.throughput                the default bundle, on a CPU (make bench)
    python -m benchmarks.throughput --seven-b      a 7B Mistral with random weights, on a GPU
    python -m benchmarks.throughput --tiny         the same with a model of two layers, anywhere: tries the script

`work` tells what the three are. Slow ways are measured on few documents: s/document is what to compare. The 7B's floor
is the time of the arithmetic of all prompts, at the speed of a big matrix product, and of reading weights and cache at
every step, at that of a big copy, both measured here. On a CPU the product is also measured with a process a core, in
float32 and in bfloat16. The last line is a JSON object with the figures; `docs_per_s` is that of the fastest way.
`--plot FILE` draws documents a second over batch size and over the number of documents.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import MistralConfig

from autore_cli.cli.extract import DOCUMENTS
from autore_cli.model import bundle as bundles
from autore_cli.model.adapters import base_of, load_adapters, use_adapter
from autore_cli.model.base import load_base, unpack
from autore_cli.model.generator import ON_CPU, ON_GPU, Pace, TransformersGenerator
from autore_cli.model.machine import cores
from autore_cli.model.weights import Weights
from autore_cli.records import Document
from autore_cli.runs.setup import Setup
from autore_cli.runs.workers import Workers
from benchmarks.documents import documents
from benchmarks.finetune_speed import SEVEN_B, TINY, random_base
from benchmarks.work import (
    END,
    JOINER,
    NO,
    SEPARATOR,
    YES,
    Cost,
    Meter,
    Question,
    Reach,
    Recorder,
    Reference,
    Shape,
    answer,
    floor,
    of_documents,
    redocred_work,
)

STAGES = ("relation", "head", "fact")
GIB = 2**30
LIMIT = 16 * GIB
"""Memory that the 7B in 4 bit may take, as much as a common GPU has."""


def say(line: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Table:
    """Prints costs line by line, each against the first."""

    def __init__(self) -> None:
        self._reference: Cost | None = None
        say(f"{'what':30} | documents | docs/s | s/document | x reference | forwards | prefilled | peak MiB")

    def add(self, what: str, cost: Cost) -> Cost:
        """Prints a line."""
        self._reference = self._reference or cost
        say(
            f"{what:30} | {cost.documents:9} | {cost.rate:6.3f} | {1 / cost.rate:10.3f} |"
            f" {cost.rate / self._reference.rate:11.1f} | {cost.forwards:8,} | {cost.prefilled:9,} |"
            f" {cost.memory / 2**20:8,.0f}"
        )
        return cost


class Ids:
    """Stands for a tokenizer where all prompts are token ids."""

    yes, no, end = YES, NO, END

    def token(self, text: str) -> int:
        """The separator and the joiner of the bundle."""
        return SEPARATOR if text == "\n" else JOINER


class Random7B:
    """A Mistral with random weights and three random adapters on it, as the bundle `mistral-7b` would be."""

    def __init__(self, config: MistralConfig, device: torch.device) -> None:
        self.base = random_base(config, device)
        self.base.eval()  # type: ignore[no-untyped-call]
        self.base.requires_grad_(False)
        self.adapted = self._with_adapters()

    def unpack(self) -> None:
        """From 4 bit to bfloat16."""
        self.adapted.unload()
        unpack(self.base)
        self.adapted = self._with_adapters()

    def generator(self, pace: Pace = ON_GPU, **options: bool) -> TransformersGenerator:
        """The product."""
        encoder: Any = Ids()
        return TransformersGenerator(self.adapted, encoder, bundles.find("mistral-7b"), pace=pace, **options)

    def reference(self) -> Reference:
        """The reference way."""
        return Reference(self.base, lambda stage: use_adapter(self.adapted, stage), [YES, NO])

    def shape(self) -> Shape:
        """What it takes to run it."""
        config = self.base.config
        weights = sum(
            packed.numel() * packed.element_size() for packed in self.base.parameters() if packed.device.type != "meta"
        )
        per_block = config.hidden_size * (2 * config.hidden_size + 2 * config.num_key_value_heads * config.head_dim)
        per_block += 3 * config.hidden_size * config.intermediate_size
        cache = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * self.base.dtype.itemsize
        return Shape(config.num_hidden_layers * per_block, weights, cache)

    def _with_adapters(self) -> PeftModel:
        config = LoraConfig(r=100, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        adapted = get_peft_model(self.base, config, adapter_name=STAGES[0], autocast_adapter_dtype=False)
        for stage in STAGES[1:]:
            adapted.add_adapter(stage, config, autocast_adapter_dtype=False)
        adapted.to(self.base.dtype)
        adapted.eval()
        assert isinstance(adapted, PeftModel)  # noqa: S101 - for the type
        return adapted


def limit(device: torch.device, memory: int | None) -> None:
    """Lets a GPU have so many bytes; None is all that it has."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory / total) if memory else 1.0)


def seven_b(config: MistralConfig, device: torch.device, plot: Path | None) -> dict[str, Any]:
    """Measures the 7B, in 4 bit within `LIMIT` bytes, and in bfloat16."""
    many = 64 if device.type == "cuda" else 4
    start = time.perf_counter()
    model = Random7B(config, device)
    meter = Meter(model.base)
    reach = Reach.measured(device, model.base.dtype)
    limit(device, LIMIT)
    say(f"model made in {time.perf_counter() - start:.0f} s")
    say(f"{reach.flops / 1e12:.1f} TFLOPS, {reach.bytes / 1e9:.0f} GB/s")
    work = redocred_work(many, config.vocab_size)

    def part(count: int) -> list[Question]:
        return list(of_documents(work, count))

    def run(answerer: Any, count: int) -> Cost:
        questions = part(count)
        return meter.measure(count, lambda: answer(answerer, questions))

    table = Table()
    # A first prompt loads kernels; it is on no account.
    answer(model.reference(), [Question("head", work[1].requests[:1], work[1].grammars[:1], 1e4)])
    reference = table.add("reference, nf4", run(model.reference(), 1))
    table.add("batched only, nf4", run(model.generator(Pace(64, 1024), share=False), 2))
    table.add("passages shared, eager, nf4", run(model.generator(Pace(16, 512)), min(4, many)))
    figures: dict[str, Any] = {"reference_docs_per_s": reference.rate}
    over_batch: list[tuple[int, float]] = []
    for name in ("nf4", "bf16"):
        if name == "bf16":
            limit(device, None)
            model.unpack()
        product = model.generator(ON_GPU, merge=name == "bf16")
        one = table.add(f"product, {name}, one at first", run(product, 1))
        some = table.add(f"product, {name}", run(product, min(4, many)))
        more = table.add(f"product, {name}", run(product, min(16, many)))
        full = table.add(f"product, {name}", run(product, many))
        clock: list[float] = []
        answer(product, part(min(16, many)), clock)
        say(
            "  "
            + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in zip(STAGES, clock, strict=True))
            + " of 16"
        )
        bound = floor(part(many), full.answers, model.shape(), reach, rows=128)
        say(
            f"  floor {bound / many:.3f} s/document: {full.seconds / bound:.1f} times that; "
            f"{full.memory / GIB:.1f} GiB held, {full.reserved / GIB:.1f} GiB reserved, batch size {product.batch_size}"
        )
        again = table.add(f"product, {name}, one", run(product, 1))
        figures[name] = {
            "docs_per_s": full.rate,
            "s_per_document": 1 / full.rate,
            "ratio": full.rate / reference.rate,
            "ratio_to_floor": full.seconds / bound,
            "one_document_s": again.seconds,
            "one_document_first_s": one.seconds,
            "one_document_ratio": again.rate / reference.rate,
            "peak_gib": full.memory / GIB,
            "reserved_gib": full.reserved / GIB,
            "batch_size": product.batch_size,
        }
        if name == "nf4":
            over_documents = [(1, again.rate), (4, some.rate), (16, more.rate), (many, full.rate)]
            full_size = product.batch_size
            del product  # and the memory of its slots
            for size in (4, 16):
                cost = run(model.generator(replace(ON_GPU, batch_size=size)), many)
                over_batch.append((size, table.add(f"product, {name}, batch size {size}", cost).rate))
            over_batch.append((full_size, full.rate))
    if plot:
        draw(plot, over_batch, over_documents, "a 7B in 4 bit")
    figures |= {"docs_per_s_by_batch_size": dict(over_batch), "docs_per_s_by_documents": dict(over_documents)}
    return figures | {"docs_per_s": figures["nf4"]["docs_per_s"], "ratio": figures["nf4"]["ratio"]}


def default_bundle(count: int, plot: Path | None) -> dict[str, Any]:
    """Measures the default bundle on a CPU, on made-up documents."""
    first = first_triple()
    texts = list(documents(count))
    bundle = bundles.find()
    pipeline = Setup(bundles.DEFAULT).pipeline("cpu")
    generator: Any = pipeline.generator
    # As peft and bitsandbytes have it: in 4 bit, the adapters beside it.
    stock = load_adapters(load_base(bundle, "cpu"), bundle)
    meter, meter_of_stock = Meter(generator.model), Meter(base_of(stock))
    reach = Reach.measured(generator.model.device, generator.model.dtype)
    say(f"{torch.get_num_threads()} threads; {reach.flops / 1e9:.0f} GFLOPS, {reach.bytes / 1e9:.1f} GB/s")
    recorder: Any = Recorder(generator)
    pipeline.generator = recorder
    answers = pipeline.extract(texts)  # on no account
    pipeline.generator = generator
    work = recorder.questions
    length, prompts = sum(len(each.text) for each in texts), sum(len(question.requests) for question in work)
    triples = sum(len(each.triples) for each in answers)
    averages = f"{length / count:.0f} characters, {prompts / count:.0f} prompts, {triples / count:.0f} triples"
    say(f"{count} documents, each with {averages}")

    questions = list(of_documents(work, 2))
    yes_and_no = [generator.encoder.yes, generator.encoder.no]
    one_by_one = Reference(base_of(stock), lambda stage: use_adapter(stock, bundle.adapters[stage]), yes_and_no)
    ours = Reference(generator.model, lambda stage: generator.use_adapter(bundle.adapters[stage]), yes_and_no)
    unshared = TransformersGenerator(stock, generator.encoder, bundle, pace=Pace(16, 256), share=False)
    table = Table()
    slow = table.add("reference", meter_of_stock.measure(2, lambda: answer(one_by_one, questions)))
    same = table.add("reference, weights as ours", meter.measure(2, lambda: answer(ours, questions)))
    table.add("batched only", meter_of_stock.measure(2, lambda: answer(unshared, questions)))
    full = table.add("product", meter.measure(count, lambda: pipeline.extract(texts)))
    over_documents = [(count, full.rate)]
    for number in (4, 1):
        cost = meter.measure(number, lambda number=number: pipeline.extract(texts[:number]))  # type: ignore[misc]
        over_documents.insert(0, (number, table.add("product", cost).rate))
    over_batch = []
    for size in (1, 4, ON_CPU.batch_size, 64):
        generator.batch_size = size
        cost = meter.measure(count, lambda: pipeline.extract(texts))
        over_batch.append((size, table.add(f"product, batch size {size}", cost).rate))
    generator.batch_size = ON_CPU.batch_size
    ways = {"one process": full}
    processes = f"{cores()} processes"
    in_parallel: dict[str, Weights] = {processes: "auto", f"{processes}, bf16": "bf16"}
    for way, weights in in_parallel.items():
        ways[way] = table.add(f"product, {way}", in_processes(meter, 4 * texts, weights))
    fastest = max(ways, key=lambda way: ways[way].rate)
    if plot:
        draw(plot, over_batch, over_documents, "the default bundle on a CPU")
    return {
        "reference_docs_per_s": slow.rate,
        "docs_per_s": ways[fastest].rate,
        "ratio": ways[fastest].rate / slow.rate,
        "fastest": fastest,
        "docs_per_s_by_way": {way: cost.rate for way, cost in ways.items()},
        "ratio_by_way": {way: cost.rate / slow.rate for way, cost in ways.items()},
        "one_process_ratio_with_weights_as_ours": full.rate / same.rate,
        **first,
        "peak_rss_mb": full.memory / 1e6,
        "docs_per_s_by_batch_size": dict(over_batch),
        "docs_per_s_by_documents": dict(over_documents),
    }


def in_processes(meter: Meter, texts: Sequence[Document], weights: Weights) -> Cost:
    """As `autore extract --devices cpu,cpu,...` does it, a process a core. The clock starts when they are loaded."""
    with Workers(Setup(bundles.DEFAULT, weights=weights), ["cpu"] * cores()) as workers:
        batches = [texts[start : start + DOCUMENTS] for start in range(0, len(texts), DOCUMENTS)]
        return meter.measure(len(texts), lambda: list(workers.extract(batches)))


def first_triple() -> dict[str, Any]:
    """Seconds from the start of `autore extract` to its first line; and of its parts, in another process."""
    example = Path(__file__).parent.parent / "examples" / "nansen.txt"
    command = [sys.executable, "-m", "autore_cli", "extract", "--quiet", str(example)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own command
        assert process.stdout is not None  # noqa: S101 - for the type
        process.stdout.readline()
        seconds = time.perf_counter() - start
        process.stdout.read()
    parts = json.loads(subprocess.check_output([sys.executable, "-c", PARTS, str(example)]))  # noqa: S603
    say(f"first triple after {seconds:.1f} s; " + ", ".join(f"{name} {taken:.1f} s" for name, taken in parts.items()))
    return {"first_triple_s": seconds, "first_triple_parts_s": parts}


PARTS = """
import json, sys, time
start = time.perf_counter()
parts = {}
def done(name):
    global start
    now = time.perf_counter()
    parts[name] = round(now - start, 2)
    start = now
import torch
done("importing torch")
import autore_cli.model.load
done("importing the rest")
from autore_cli.model import base, bundle, encoder, adapters
found = bundle.find()
tokenizer = encoder.load_encoder(found)
done("tokenizer")
model = base.load_base(found, "cpu")
base.unpack(model)
done("base")
adapters.load_adapters(model, found)
done("adapters")
from autore_cli.runs.setup import Setup
pipeline = Setup(bundle.DEFAULT).pipeline("cpu")
start = time.perf_counter()
from autore_cli.records import Document
pipeline.extract([Document("one", open(sys.argv[1], encoding="utf-8").read())])
done("the first batch")
print(json.dumps(parts))
"""


def draw(
    file: Path, over_batch: Sequence[tuple[int, float]], over_documents: Sequence[tuple[int, float]], what: str
) -> None:
    """A chart of documents a second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, points, label in ((axes[0], over_batch, "batch size"), (axes[1], over_documents, "documents")):
        place.plot(*zip(*points, strict=True), marker="o")
        place.set_xscale("log", base=2)
        place.set_xticks([x for x, _ in points], [str(x) for x, _ in points])
        place.set_xlabel(label)
        place.set_ylim(bottom=0)
        place.grid(alpha=0.3)
    axes[0].set_ylabel("documents a second")
    figure.suptitle(what)
    figure.savefig(file)


def main() -> None:
    """Measures and prints, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seven-b", action="store_true", help="a 7B with random weights, on a GPU")
    parser.add_argument("--tiny", action="store_true", help="the same with two layers, anywhere")
    parser.add_argument("--documents", type=int, default=16, help="of the default bundle")
    parser.add_argument("--plot", type=Path, help="a PNG or SVG file")
    options = parser.parse_args()
    if options.seven_b and not torch.cuda.is_available():
        sys.exit("a 7B needs a GPU; try --tiny")
    if options.seven_b:
        figures = seven_b(SEVEN_B, torch.device("cuda"), options.plot)
    elif options.tiny:
        Linear4bit.support_avx512bf16_for_cpu = False
        figures = seven_b(TINY, torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.plot)
    else:
        figures = default_bundle(options.documents, options.plot)
    say(json.dumps(figures))


if __name__ == "__main__":
    main()
