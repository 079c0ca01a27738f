import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from autore_cli.errors import ConfigurationError, InputError, OutputError
from autore_cli.generation import Request
from autore_cli.model import run
from autore_cli.model.attention import packed_blocks, takes_blocks, use_packed_attention
from autore_cli.model.base import load_base
from autore_cli.model.bundle import find, read
from autore_cli.model.dataset import Limits, Row, TokenisedExample, pack
from autore_cli.model.encoder import load_encoder
from autore_cli.model.evaluation import Evaluation
from autore_cli.model.finetune import Job, finetune, prepare
from autore_cli.model.lora import with_adapter
from autore_cli.model.packing import PADDING, Layout, attention_mask
from autore_cli.model.plan import Plan
from autore_cli.model.settings import FinetuneSettings, resolve
from autore_cli.model.training import BatchSampler, batches, completion_loss, make_batch
from autore_cli.schema import default
from tests.model import corpus, tiny

ARCHITECTURES = (*tiny.FAMILIES, "copylm")
QUICK = FinetuneSettings(rank=8, alpha=16, dropout=0.0, learning_rate=1e-2, steps=6, batch_size=2)


def architecture(name: str) -> Any:
    return tiny.copylm() if name == "copylm" else tiny.model(name)  # type: ignore[arg-type]


class Recorder:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.losses: list[float] = []
        self.evaluations: list[tuple[float, float | None]] = []
        self.folders: list[Path] = []

    def planned(self, plan: Plan) -> None:
        self.plans.append(plan)

    def stepped(self, plan: Plan, step: int, loss: float, tokens_per_second: float) -> None:
        assert tokens_per_second > 0
        self.losses.append(loss)

    def evaluated(self, plan: Plan, step: int, loss: float, f1: float | None) -> None:
        self.evaluations.append((loss, f1))

    def trained(self, plan: Plan, folder: Path) -> None:
        self.folders.append(folder)


@pytest.fixture(params=["mistral", "copylm"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    return make_job(tmp_path, request.param)


@pytest.fixture
def mistral(tmp_path: Path) -> Job:
    return make_job(tmp_path, "mistral")


def make_job(folder: Path, name: str) -> Job:
    kind: tiny.Kind = "wordpiece" if name == "copylm" else "bytelevel"
    bundle = read(tiny.bundle(folder / "tiny", kind=kind, causal_lm=architecture(name)))
    data = corpus.write(folder / "data", corpus.examples(bundle))
    return Job(bundle, ("head",), data, folder / "out", device="cpu")


def samples(seed: int, prompts: tuple[int, int] = (1, 9)) -> list[TokenisedExample]:
    rng = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.randrange(8, tiny.VOCABULARY) for _ in range(length))

    return [
        TokenisedExample("", Request(prefix, ids(rng.choice([0, 0, 3, 6])), (0, 1)), ids(rng.choice([1, 1, 2, 5])))
        for prefix in (ids(5), ids(12), ids(9))
        for _ in range(rng.randrange(*prompts))
    ]


def learn(model: Any, rows: list[Row], size: int) -> tuple[float, torch.Tensor]:
    """The loss over all rows, in batches of a size, and its gradient."""
    model.zero_grad()
    loss = sum(completion_loss(model, make_batch(batch, 0), model) for batch in batches(rows, size, 0))
    assert isinstance(loss, torch.Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_packing_changes_neither_loss_nor_gradient(name: str, in_blocks: bool) -> None:
    model = architecture(name).double()
    if in_blocks:
        assert use_packed_attention(model) == takes_blocks(model) == (name != "copylm")
    limits = Limits(1000, 1000, row=40)
    alone, gradient = learn(model, pack(samples(0), limits, packing=False), 1)
    for rows, size in ((pack(samples(0), limits, packing=True), 2), (pack(samples(0), limits, packing=False), 3)):
        loss, other = learn(model, rows, size)
        assert loss == pytest.approx(alone, abs=1e-6)
        torch.testing.assert_close(other, gradient, rtol=1e-3, atol=1e-4)  # RMSNorm and RoPE stay in float32


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_long_rows_are_computed_block_by_block(name: str) -> None:
    model = architecture(name).double()
    rows = pack(samples(1, prompts=(70, 90)), Limits(1000, 1000, row=1000), packing=True)
    assert [len(row.samples) > 1 and row.length > 2 * 128 for row in rows] == [True] * 3
    whole, gradient = learn(model, rows, 3)
    use_packed_attention(model)
    loss, other = learn(model, rows, 3)
    assert loss == pytest.approx(whole, abs=1e-6)
    torch.testing.assert_close(other, gradient, rtol=1e-3, atol=1e-4)

    batch = make_batch(rows, 0)
    packed = Layout.of_prompts(batch["input_ids"], batch["segments"], batch["position_ids"])
    for size in (1, 7, 64, 1000):
        blocks = packed_blocks(packed, batch["longest_prefix"], batch["longest_prompt"], torch.float64, size)
        with torch.no_grad():
            inputs = {"input_ids": packed.tokens, "position_ids": packed.positions}
            seen = attention_mask(packed, packed, torch.float64, prefix_lm=False)
            expected = model(**inputs, attention_mask=seen).logits
            found = model(**inputs, blocks=blocks).logits
        real = packed.segments != PADDING
        torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", tiny.FAMILIES)
def test_the_loss_is_that_of_a_plain_causal_lm(name: str) -> None:
    model = architecture(name).double()
    for sample in samples(0):
        read = torch.tensor([[*sample.request.prefix, *sample.request.suffix, *sample.completion]])
        chances = model(input_ids=read).logits[0, :-1].log_softmax(-1).gather(1, read[0, 1:, None])
        expected = -chances[-len(sample.completion) :].sum().item()
        packed = completion_loss(model, make_batch(pack([sample], Limits(99, 99, 99), packing=True), 0), model)
        assert packed.item() == pytest.approx(expected, abs=1e-6)


def test_training_lowers_the_loss_and_writes_a_bundle(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    finetune(job, replace(QUICK, steps=12), recorder)
    folder = job.output / "head"

    assert recorder.losses[-1] < recorder.losses[0] - 0.5
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "curves.png",
        "run.json",
    ]
    assert recorder.folders == [folder]
    assert capfd.readouterr().out == ""

    report = json.loads((folder / "run.json").read_text())
    assert report["losses"] == recorder.losses
    assert report["settings"]["rank"] == 8
    assert set(report["data"]) == {"head.jsonl"}
    assert all(len(digest) == 64 for digest in (*report["data"].values(), *report["base"]["sha256"].values()))
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= set(report["versions"])

    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == 8
    assert str(job.output.parent) not in json.dumps(config)
    assert all(weight.dtype == torch.bfloat16 for weight in load_file(folder / "adapter_model.safetensors").values())

    (task,) = prepare(replace(job, output=job.output.parent / "other"), QUICK)
    base = load_base(job.bundle, "cpu", torch.float32)
    batch = make_batch(task.dataset.train, 0)
    with torch.no_grad():
        before = completion_loss(base, batch, base).item() / task.plan.targets
        adapted = PeftModel.from_pretrained(base, str(folder)).eval()
        after = completion_loss(adapted, batch, base).item() / task.plan.targets
    assert after < before - 0.5

    made = find(job.output)
    assert made.prompts("", "") == job.bundle.prompts("", "")
    assert made.base_source() == job.output / "base"


def test_all_stages_are_trained_on_one_base(mistral: Job) -> None:
    recorder = Recorder()
    finetune(replace(mistral, stages=("relation", "head", "fact")), replace(QUICK, steps=2), recorder)
    assert [plan.stages for plan in recorder.plans] == [("relation",), ("head",), ("fact",)]
    find(mistral.output).require_adapters()
    weights = [
        load_file(mistral.output / stage / "adapter_model.safetensors") for stage in ("relation", "head", "fact")
    ]
    assert len({weight[max(weight)].sum().item() for weight in weights}) == 3


def test_stages_that_share_an_adapter_are_trained_together(mistral: Job) -> None:
    file = mistral.bundle.file
    file.write_text(file.read_text().replace('adapter = "head"', 'adapter = "fact"'))
    job = replace(mistral, bundle=read(mistral.bundle.folder), stages=("head", "fact"))
    (task,) = prepare(job, QUICK)
    assert task.plan.stages == ("head", "fact")
    lines = [(job.data / f"{stage}.jsonl").read_bytes().count(b"\n") for stage in task.plan.stages]
    assert task.plan.examples == sum(lines)


def test_stages_can_be_added_to_a_bundle_one_by_one(mistral: Job) -> None:
    settings = replace(QUICK, steps=1)
    weights = [folder / "fact" / "adapter_model.safetensors" for folder in (mistral.bundle.folder, mistral.output)]
    finetune(mistral, settings, Recorder())
    find(mistral.output).require_adapters()
    inherited = weights[0].read_bytes()
    assert weights[1].read_bytes() == inherited
    finetune(replace(mistral, stages=("fact",)), settings, Recorder())
    assert weights[0].read_bytes() == inherited != weights[1].read_bytes()
    assert (mistral.output / "head" / "run.json").exists()
    assert (mistral.output / "fact" / "run.json").exists()
    with pytest.raises(OutputError, match="holds an adapter already"):
        finetune(mistral, settings, Recorder())


def test_accumulated_batches_give_the_loss_of_one_batch(mistral: Job) -> None:
    whole, accumulated = Recorder(), Recorder()
    finetune(mistral, replace(QUICK, steps=1, batch_size=4), whole)
    settings = replace(QUICK, steps=1, batch_size=1, gradient_accumulation=4)
    finetune(replace(mistral, output=mistral.output.parent / "other"), settings, accumulated)
    assert whole.plans[0].rows == 4
    assert accumulated.losses == pytest.approx(whole.losses, rel=1e-5)


def test_what_is_held_out_stops_training(mistral: Job) -> None:
    recorder = Recorder()
    settings = replace(QUICK, steps=12, learning_rate=0.5, held_out=0.5, evaluate_every=1, patience=2, seed=1)
    finetune(mistral, settings, recorder)
    report = json.loads((mistral.output / "head" / "run.json").read_text())
    figures = [f1 for _, f1 in recorder.evaluations if f1 is not None]
    assert len(recorder.losses) == len(figures) < 12
    assert [(each["loss"], each["f1"]) for each in report["evaluations"]] == recorder.evaluations
    assert figures[report["best_step"] - 1] == max(figures)


@pytest.mark.parametrize("stage", ["relation", "head"])
def test_the_f1_of_what_was_learnt_by_heart_is_high(mistral: Job, stage: Any) -> None:
    job = replace(mistral, stages=(stage,))
    settings = replace(QUICK, steps=80, rank=32, alpha=64, held_out=0.5, seed=1)
    (task,) = prepare(job, settings)
    encoder, core = load_encoder(job.bundle), load_base(job.bundle, "cpu", torch.float32)
    evaluation = Evaluation(job.bundle, encoder, task.dataset.held_out_examples, default())
    adapted = with_adapter(core, settings, ("q_proj", "v_proj", "o_proj", "up_proj"), stage)
    before = evaluation.measure(adapted).f1
    batch = make_batch(task.dataset.held_out, encoder.pad)
    optimiser = torch.optim.AdamW([each for each in adapted.parameters() if each.requires_grad], 1e-2)
    for _ in range(settings.steps or 0):
        optimiser.zero_grad()
        completion_loss(adapted, batch, core).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert before < 0.85
    assert evaluation.measure(adapted).f1 > 0.9
    assert adapted.active_adapter == stage
    assert any(parameter.requires_grad for parameter in adapted.parameters())


KILLED = """
import os, signal, sys
from pathlib import Path
from autore_cli.model.bundle import read
from autore_cli.model.encoder import load_encoder
from autore_cli.model.evaluation import Evaluation
from autore_cli.model.finetune import Job, finetune
from tests.model.test_finetune import RESUMABLE, Recorder

class Killed(Recorder):
    def stepped(self, plan, step, loss, tokens_per_second):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
finetune(Job(read(folder / "tiny"), ("head",), folder / "data", folder / "out", device="cpu"), RESUMABLE, Killed())
"""
RESUMABLE = replace(QUICK, dropout=0.1, steps=8, save_every=3)


def test_a_killed_run_continues_to_the_same_end(mistral: Job) -> None:
    finetune(mistral, RESUMABLE, Recorder())
    straight = load_file(mistral.output / "head" / "adapter_model.safetensors")
    report = json.loads((mistral.output / "head" / "run.json").read_text())
    mistral.output.rename(mistral.output.parent / "straight")

    killed = subprocess.run([sys.executable, "-c", KILLED, str(mistral.data.parent)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (mistral.output / "head" / "adapter_model.safetensors").exists()
    with pytest.raises(OutputError, match="holds an interrupted run"):
        finetune(mistral, RESUMABLE, Recorder())
    with pytest.raises(ConfigurationError, match=r"other settings\.rank"):
        finetune(replace(mistral, resume=True), replace(RESUMABLE, rank=4), Recorder())

    finetune(replace(mistral, resume=True), RESUMABLE, Recorder())
    resumed = load_file(mistral.output / "head" / "adapter_model.safetensors")
    assert json.loads((mistral.output / "head" / "run.json").read_text())["losses"] == report["losses"]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_plan_writes_nothing_and_counts_what_is_trained(mistral: Job) -> None:
    (task,) = prepare(mistral, replace(QUICK, steps=None, epochs=2.0))
    assert not mistral.output.exists()
    assert task.plan.target_modules == ("q_proj", "v_proj")
    # Two layers; q_proj is 64 to 64, v_proj 64 to 32, LoRA has rank 8 on both sides.
    assert task.plan.trainable == 2 * 8 * ((64 + 64) + (64 + 32))
    assert (task.plan.rows, task.plan.steps) == (4, 4)
    assert task.plan.memory > 0


def test_all_problems_are_told_at_once(mistral: Job) -> None:
    (mistral.data / "head.jsonl").unlink()
    with pytest.raises(ConfigurationError) as caught:
        prepare(replace(mistral, device="abacus"), QUICK)
    assert "head.jsonl is missing" in str(caught.value)
    assert "not 'abacus'" in str(caught.value)


def test_modules_that_the_model_lacks_are_named(mistral: Job) -> None:
    with pytest.raises(ConfigurationError, match="no layer wq") as caught:
        prepare(mistral, replace(QUICK, target_modules=("q_proj", "wq")))
    assert "k_proj" in str(caught.value.hint)


def test_a_broken_line_is_told_before_anything_is_written(mistral: Job) -> None:
    with (mistral.data / "head.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(InputError, match="not JSON"):
        finetune(mistral, QUICK, Recorder())
    assert not mistral.output.exists()


def test_settings_are_checked_all_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve({"rank": 0, "rnak": 3}, {"dropout": 1.5, "packing": "no"})
    assert all(word in str(caught.value) for word in ("rank", "rnak", "dropout", "packing"))
    with pytest.raises(ConfigurationError, match="batch_size"):
        FinetuneSettings(batch_size=0)


def test_later_settings_stand_above_earlier_ones() -> None:
    settings = resolve({"rank": 8, "alpha": 32}, {"rank": 4, "alpha": None}, {"target_modules": ["q_proj"]})
    assert (settings.rank, settings.alpha, settings.target_modules) == (4, 32, ("q_proj",))
    assert settings.learning_rate == FinetuneSettings().learning_rate


def test_devices_compute_batches_of_about_one_length() -> None:
    sampler = BatchSampler(11, 2, seed=0)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(11))
        pairs = list(zip(orders[-1][:10:2], orders[-1][1:10:2], strict=True))
        assert all(second == first + 1 and first % 2 == 0 for first, second in pairs)
    assert orders[0] != orders[1] != orders[2]
    sampler.set_epoch(1)
    assert list(sampler) == orders[1]


def test_versions_leave_out_what_is_not_installed() -> None:
    assert set(run.versions(("torch", "no-such-package"))) == {"torch"}
