"""The training loop: packed batches, a loss on completions alone, transformers' `Trainer` around them.

A batch is a dict of tensors, one row of it a `dataset.Row`:

    input_ids, segments, position_ids   [rows, length]   see packing.Layout
    predictors                          [rows, targets]  the position whose logits predict each completion token
    targets                             [rows, targets]  that token, `IGNORED` where a row has fewer

and of plain numbers, so that nobody has to wait for the GPU to know them:

    tokens, learnt                      tokens that are read, and that the loss is taken over
    prompts                             the most prompts in a row
    longest_prefix, longest_prompt      in tokens
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from autore_cli.model.attention import packed_blocks, takes_blocks, use_packed_attention
from autore_cli.model.dataset import Dataset, Row
from autore_cli.model.evaluation import Tally
from autore_cli.model.logits import logits_at
from autore_cli.model.lora import save_adapter
from autore_cli.model.packing import PREFIX, Layout, Run, attention_mask, layout
from autore_cli.model.plan import Plan
from autore_cli.model.settings import FinetuneSettings

IGNORED = -100
_OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw-8bit": "adamw_bnb_8bit"}
"""transformers' names of the settings' optimisers."""
_BATCHES_SORTED_TOGETHER = 16

Batch = Mapping[str, Any]


def batches(rows: Sequence[Row], size: int, seed: int) -> list[list[Row]]:
    """Shuffles rows and cuts them into batches of about equally long ones, so that little is padding."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, no secret
    chunk = size * _BATCHES_SORTED_TOGETHER
    order = [
        row
        for start in range(0, len(shuffled), chunk)
        for row in sorted(shuffled[start : start + chunk], key=lambda row: row.length)
    ]
    return [order[start : start + size] for start in range(0, len(order), size)]


def make_batch(rows: Sequence[Row], pad_token: int) -> dict[str, Any]:
    """The batch of some rows."""
    return {
        **collate(rows, pad_token),
        "tokens": sum(row.length for row in rows),
        "learnt": sum(row.targets for row in rows),
        "prompts": max(len(row.samples) for row in rows),
        "longest_prefix": max(len(row.prefix) for row in rows),
        "longest_prompt": max(len(sample.read) for row in rows for sample in row.samples),
    }


def collate(rows: Sequence[Row], pad_token: int) -> dict[str, Tensor]:
    """The tensors of a batch."""
    runs = []
    predictors: list[list[int]] = []
    targets: list[list[int]] = []
    for row in rows:
        start = len(row.prefix)
        runs.append([Run(PREFIX, 0, row.prefix)])
        predictors.append([])
        targets.append([])
        for number, sample in enumerate(row.samples, start=1):
            runs[-1].append(Run(number, len(row.prefix), sample.read))
            first = start + len(sample.suffix)
            # What stands before a completion without a suffix is the prefix, not the prompt laid out before it.
            before = first - 1 if sample.suffix else len(row.prefix) - 1
            predictors[-1] += [before, *range(first, first + len(sample.completion) - 1)]
            targets[-1] += sample.completion
            start += len(sample.read)
    laid = layout(runs, pad_token)
    return {
        "input_ids": laid.tokens,
        "segments": laid.segments,
        "position_ids": laid.positions,
        "predictors": _padded(predictors, 0),
        "targets": _padded(targets, IGNORED),
    }


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def completion_loss(model: nn.Module, batch: Batch, core: PreTrainedModel) -> Tensor:
    """The sum of the cross-entropies of all completion tokens, in nats, in float32 at least.

    Args:
        model: what is called: `core`, with adapters or wrapped for several devices.
        batch: see the module's docstring.
        core: the causal LM inside.
    """
    with logits_at(core, batch["predictors"]):
        output = model(input_ids=batch["input_ids"], use_cache=False, **_seen(batch, core))
    logits = output.logits.to(torch.promote_types(output.logits.dtype, torch.float32))
    return functional.cross_entropy(
        logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _seen(batch: Batch, core: PreTrainedModel) -> dict[str, Any]:
    """The inputs that say what each token sees, in the form that costs the model least."""
    laid = Layout.of_prompts(batch["input_ids"], batch["segments"], batch["position_ids"])
    dtype = _activations_dtype(core)
    if getattr(core.config, "prefix_lm", False):
        return {
            "position_ids": laid.positions,
            "attention_mask": attention_mask(laid, laid, dtype, prefix_lm=True),
            "token_type_ids": (laid.segments == PREFIX).long(),
        }
    if batch["prompts"] == 1:
        return {}  # causal, and padding stands on the right, where nobody sees it
    if takes_blocks(core):
        blocks = packed_blocks(laid, batch["longest_prefix"], batch["longest_prompt"], dtype)
        return {"position_ids": laid.positions, "blocks": blocks}
    return {
        "position_ids": laid.positions,
        "attention_mask": attention_mask(laid, laid, dtype, prefix_lm=False),
    }


def _activations_dtype(core: PreTrainedModel) -> torch.dtype:
    weight = next(core.get_input_embeddings().parameters())
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


class BatchSampler(Sampler[int]):
    """Another order of the batches in every epoch. Those that several devices compute at once are of about one length.

    Args:
        batches: how many there are, of which neighbours are of about one length.
        devices: how many compute at once.
        seed: of the order.
    """

    def __init__(self, batches: int, devices: int, seed: int) -> None:
        self.batches = batches
        self.devices = devices
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[int]:
        whole = self.batches - self.batches % self.devices
        starts = list(range(0, whole, self.devices))
        random.Random(f"{self.seed}:{self.epoch}").shuffle(starts)  # noqa: S311 - an order, no secret
        for start in starts:
            yield from range(start, start + self.devices)
        yield from range(whole, self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Is told by the Trainer, also when it resumes."""
        self.epoch = epoch


class AdapterTrainer(Trainer):
    """Trains the adapter that is on a base. Its datasets hold whole batches (lists of rows), not rows.

    Args:
        adapted: the base with the adapter.
        base: what checkpoints call the base.
        score: what of the held-out items the adapter finds (this device's share of them), where that can be told.
        options: those of `Trainer`.
    """

    def __init__(self, adapted: PeftModel, base: str, score: Callable[[], Tally] | None, **options: Any) -> None:
        super().__init__(model=adapted, **options)
        self.adapted = adapted
        self.base = base
        self.score = score
        self.core = cast(PreTrainedModel, adapted.get_base_model())
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of all accumulated batches
        self._tokens = 0
        self._start = time.perf_counter()

    @property
    def tokens_per_second(self) -> float:
        """Tokens that this device has read in training, padding aside, by the second."""
        return self._tokens / (time.perf_counter() - self._start)

    def log(self, logs: dict[str, float], *rest: Any, **options: Any) -> None:
        """As `Trainer` does, with the speed."""
        super().log({**logs, "tokens_per_second": self.tokens_per_second}, *rest, **options)

    def train(self, *arguments: Any, **options: Any) -> Any:
        """As `Trainer` does, with a clock."""
        self._start = time.perf_counter()
        return super().train(*arguments, **options)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        """The batches of a step, and how many completion tokens they have on all devices."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._tokens += sum(batch["tokens"] for batch in samples)
        return samples, self._everywhere(sum(batch["learnt"] for batch in samples))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,  # noqa: ARG002 - Trainer's
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The batch's share of the mean loss over the step's completion tokens.

        Gradients of several devices are averaged, so each device's share is scaled up by their number.
        """
        processes: int = self.accelerator.num_processes
        return completion_loss(model, inputs, self.core) * processes / (num_items_in_batch or inputs["learnt"])

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over the completion tokens of what is held out, as `eval_loss`; its F1, as `eval_f1`."""
        self.adapted.eval()
        loss = torch.zeros((), device=self.args.device)
        tokens = 0
        for batch in self.get_eval_dataloader():
            with self.compute_loss_context_manager():
                loss += completion_loss(self.adapted, self._prepare_inputs(batch), self.core).float()
            tokens += batch["learnt"]
        total = self.accelerator.reduce(loss) / self._everywhere(tokens)
        metrics = {"eval_loss": total.item()}
        if self.score:
            counts = torch.tensor(astuple(self.score()), device=self.args.device)
            metrics["eval_f1"] = Tally(*self.accelerator.reduce(counts).tolist()).f1
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Trainer's
        """A checkpoint's weights: the adapter in full precision."""
        if self.args.should_save:
            save_adapter(self.adapted, Path(output_dir or str(self.args.output_dir)), self.base, torch.float32)

    def _get_train_sampler(self, train_dataset: Any = None) -> BatchSampler:  # noqa: ARG002 - Trainer's
        return BatchSampler(len(cast(Any, self.train_dataset)), self.accelerator.num_processes, self.args.seed)

    def _everywhere(self, count: int) -> Tensor:
        total: Tensor = self.accelerator.reduce(torch.tensor(count, device=self.args.device))
        return total


def make_trainer(
    adapted: PeftModel,
    base: str,
    dataset: Dataset,
    plan: Plan,
    settings: FinetuneSettings,
    checkpoints: Path,
    pad_token: int,
    *,
    on_gpu: bool,
    score: Callable[[], Tally] | None = None,
) -> AdapterTrainer:
    """The trainer of an adapter.

    Args:
        adapted: the base with the adapter.
        base: what checkpoints call the base.
        dataset: what it learns from, and what is held out, after which training stops.
        plan: the adapter's plan.
        settings: how it is trained.
        checkpoints: the folder for checkpoints.
        pad_token: fills rows.
        on_gpu: whether it runs on a GPU, where activations are bf16.
        score: as `AdapterTrainer`'s. Training stops by the F1 that it gives, or without it by the loss.
    """
    trainer = AdapterTrainer(
        adapted,
        base,
        score,
        args=_arguments(checkpoints, plan, settings, "f1" if score else "loss", on_gpu=on_gpu),
        train_dataset=batches(dataset.train, settings.batch_size, settings.seed),
        eval_dataset=batches(dataset.held_out, settings.batch_size, settings.seed) or None,
        data_collator=lambda items: make_batch(items[0], pad_token),
    )
    use_packed_attention(trainer.core)
    trainer.remove_callback(PrinterCallback)  # stdout is for data
    if dataset.held_out:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    return trainer


def _arguments(
    checkpoints: Path, plan: Plan, settings: FinetuneSettings, metric: str, *, on_gpu: bool
) -> TrainingArguments:
    evaluates = plan.held_out > 0
    interval = min(settings.evaluate_every if evaluates else settings.save_every, plan.steps)
    checkpointing: dict[str, Any] = {}
    if plan.gradient_checkpointing:
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=plan.steps,
        per_device_train_batch_size=1,  # an item of the datasets is a batch
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=settings.gradient_accumulation,
        optim=_OPTIMISERS[settings.optimiser],
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup_ratio * plan.steps),
        weight_decay=settings.weight_decay,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=interval,
        save_total_limit=1,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=interval,
        load_best_model_at_end=evaluates,
        metric_for_best_model=f"eval_{metric}",
        greater_is_better=metric == "f1",
        restore_callback_states_from_checkpoint=True,
        report_to="none",
        disable_tqdm=True,
        **checkpointing,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for torchrun, not for threads of one process
    return arguments
