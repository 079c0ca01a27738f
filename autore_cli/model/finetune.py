"""Trains a bundle's adapters by QLoRA (arXiv 2305.14314) on its 4-bit base, as AutoRE does (arXiv 2403.14888).

An adapter is trained on the files of all chosen stages that name it. It lands in a folder of the new bundle:

    OUTPUT/bundle.toml
    OUTPUT/head/adapter_config.json, adapter_model.safetensors, run.json, curves.png
    OUTPUT/head/checkpoints/                      while it is trained, or after it was interrupted
"""

import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from autore_cli.errors import ConfigurationError, OutputError
from autore_cli.files import write_json
from autore_cli.model import curves, run
from autore_cli.model.base import load_base
from autore_cli.model.bundle import ADAPTER_FILES, Bundle, read
from autore_cli.model.dataset import BUILD_FILE, STAGE_FILES, Controls, Dataset, Limits, Tokeniser, built_for, load
from autore_cli.model.derived import SCHEMA_FILE, derive, is_inherited, schema_of
from autore_cli.model.encoder import TokenizerEncoder, load_encoder
from autore_cli.model.evaluation import Evaluation
from autore_cli.model.lora import save_adapter, with_adapter
from autore_cli.model.plan import Plan, make_plan, skeleton
from autore_cli.model.settings import FinetuneSettings
from autore_cli.model.sources import base_folder
from autore_cli.model.training import AdapterTrainer, make_trainer
from autore_cli.stages import NO, YES, Stage, StageName, paradigm

DEVICES = ("auto", "cpu", "cuda")

_CHECKPOINTS = "checkpoints"
_SOURCES = "sources.json"
_SLACK = 4
"""Tokens that a window, encoded by itself, may have more than where it was cut out of a document."""

_logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told how training goes."""

    def planned(self, plan: Plan) -> None:
        """An adapter is about to be trained."""
        ...

    def stepped(self, plan: Plan, step: int, loss: float, tokens_per_second: float) -> None:
        """A step was made. `loss` is the mean over its completion tokens, in nats."""
        ...

    def evaluated(self, plan: Plan, step: int, loss: float, f1: float | None) -> None:
        """What is held out was evaluated; `loss` as above, `f1` as in `evaluation`."""
        ...

    def trained(self, plan: Plan, folder: Path) -> None:
        """An adapter is finished, and in `folder`."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What to train.

    Attributes:
        bundle: the bundle with the base and the prompts.
        stages: the stages whose adapters to train.
        data: the folder that build-data wrote.
        output: the new bundle's folder. The bundle's own adds the adapters to it.
        device: one of `DEVICES`.
        resume: continue what was interrupted, and leave what is finished.
        trust_remote_code: run the Python files that come with the base.
    """

    bundle: Bundle
    stages: tuple[StageName, ...]
    data: Path
    output: Path
    device: str = "auto"
    resume: bool = False
    trust_remote_code: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())

    @property
    def schema(self) -> Path | None:
        """The schema of the data, if build-data left it there."""
        file = self.data / SCHEMA_FILE
        return file if file.exists() else None

    def adapters(self) -> dict[str, dict[Stage, Path]]:
        """The training files of each adapter, by the stages that name it."""
        files: dict[str, dict[Stage, Path]] = {}
        for stage in paradigm(self.bundle.paradigm):
            adapter = self.bundle.adapters[stage.name]
            if stage.name in self.stages and adapter:
                files.setdefault(adapter, {})[stage] = self.data / STAGE_FILES[stage.name]
        return files

    def inherited(self) -> list[str]:
        """The bundle's other adapters, which aren't trained, of stages that are asked as before."""
        trained, there = self.adapters(), read(self.bundle.folder)
        kept = [stage.adapter for name, stage in self.bundle.stages.items() if there.stages.get(name) == stage]
        return [name for name in dict.fromkeys(kept) if name and name not in trained]


@dataclass(frozen=True, slots=True)
class Task:
    """An adapter to train: the plan, its data, and what it all comes from."""

    plan: Plan
    dataset: Dataset
    sources: Mapping[str, Any]


def prepare(job: Job, settings: FinetuneSettings) -> list[Task]:
    """Reads and checks all that the job needs, but for the base's weights. Writes nothing.

    Raises:
        ConfigurationError: stages, settings or folders that don't go together; all problems are listed at once.
        OutputError: an adapter, or an interrupted run, is there already.
        InputError: training data that can't be used.
        BundleError: a base that can't be loaded.
    """
    check(job)
    _check_output(job)
    encoder = load_encoder(job.bundle, trust_remote_code=job.trust_remote_code)
    tokeniser = Tokeniser(encoder, controls(job.bundle, encoder))
    shape = skeleton(job.bundle, trust_remote_code=job.trust_remote_code)
    positions = getattr(shape.config, "max_position_embeddings", settings.max_length)
    limits = Limits(job.bundle.max_passage + _SLACK, positions, settings.max_length)
    owner, folder = job.bundle.base_owner(), base_folder(job.bundle)
    base = {
        "bundle": owner.name,
        "source": owner.base,
        # The hub's cache names a folder after the commit that a revision, or none, stands for.
        "revision": folder.name if isinstance(job.bundle.base_source(), str) else owner.revision,
        "sha256": run.digests(sorted(folder.glob("*.safetensors"))),
    }
    about = [file for file in (job.data / BUILD_FILE,) if file.exists()]
    tasks = []
    for adapter, files in job.adapters().items():
        if _is_trained(job.output, adapter):
            continue
        sources = {"base": base, "data": run.digests([*files.values(), *about]), "settings": asdict(settings)}
        _check_resumed(job.output / adapter, sources)
        dataset = load(
            files, tokeniser, limits, packing=settings.packing, held_out=settings.held_out, seed=settings.seed
        )
        stages = tuple(stage.name for stage in files)
        plan = make_plan(adapter, stages, dataset, settings, shape, on_gpu=job.on_gpu, devices=_processes())
        tasks.append(Task(plan, dataset, sources))
    if not tasks:
        _logger.info("nothing is left to do: what was to be trained is in %s", job.output)
    return tasks


def finetune(job: Job, settings: FinetuneSettings, observer: Observer) -> None:
    """Trains the adapters of the chosen stages, one after the other, on one base in memory.

    Raises:
        ConfigurationError, InputError, BundleError: as `prepare`.
        OutputError: the output can't be written.
    """
    tasks = prepare(job, settings)
    with _main_process_first(job):
        bundle = derive(job.bundle, job.output, job.schema, job.inherited())
    if not tasks:
        return
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    dtype = torch.bfloat16 if job.on_gpu else torch.float32
    core = load_base(job.bundle, _device(job), dtype, trust_remote_code=job.trust_remote_code)
    encoder = load_encoder(job.bundle, trust_remote_code=job.trust_remote_code)
    for task in tasks:
        observer.planned(task.plan)
        folder = job.output / task.plan.adapter
        try:
            _train(task, settings, bundle, encoder, core, folder, observer, on_gpu=job.on_gpu)
        except OSError as error:
            raise OutputError(f"can't be written: {error.strerror}", where=str(error.filename or folder)) from error
        except torch.OutOfMemoryError as error:
            hint = "try a smaller --batch-size or --max-length, or --gradient-checkpointing true"
            raise ConfigurationError("the GPU's memory does not suffice", hint=hint) from error
        observer.trained(task.plan, folder)


def _train(
    task: Task,
    settings: FinetuneSettings,
    bundle: Bundle,
    encoder: TokenizerEncoder,
    core: PreTrainedModel,
    folder: Path,
    observer: Observer,
    *,
    on_gpu: bool,
) -> None:
    """Trains one adapter, writes it, and takes it off the base again."""
    checkpoints = folder / _CHECKPOINTS
    set_seed(settings.seed)
    adapted = with_adapter(core, settings, task.plan.target_modules, task.plan.adapter)
    evaluation = Evaluation(bundle, encoder, task.dataset.held_out_examples, schema_of(bundle))
    trainer = make_trainer(
        adapted,
        bundle.base,
        task.dataset,
        task.plan,
        settings,
        checkpoints,
        encoder.pad,
        on_gpu=on_gpu,
        score=partial(evaluation.measure, adapted, _process(), _processes()) if evaluation else None,
    )
    trainer.add_callback(_Reporter(task.plan, observer))
    if trainer.is_world_process_zero():
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(checkpoints / _SOURCES, task.sources)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    if trainer.is_world_process_zero():
        results = _results(trainer, task.plan, time.perf_counter() - start)
        save_adapter(adapted, folder, bundle.base, torch.bfloat16)
        write_json(folder / run.FILE, {**task.sources, **results})
        curves.draw(folder, results["losses"], results["evaluations"])
        shutil.rmtree(checkpoints)  # last: while it is there, the run counts as unfinished
    trainer.accelerator.wait_for_everyone()
    adapted.unload()


class _Reporter(TrainerCallback):
    """Passes on what the Trainer says."""

    def __init__(self, plan: Plan, observer: Observer) -> None:
        self.plan = plan
        self.observer = observer

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:  # noqa: ARG002
        """Losses, of training and of what is held out."""
        logs: Mapping[str, float] = given["logs"]
        if not state.is_world_process_zero:
            return
        if "loss" in logs:
            self.observer.stepped(self.plan, state.global_step, logs["loss"], logs["tokens_per_second"])
        elif "eval_loss" in logs:
            self.observer.evaluated(self.plan, state.global_step, logs["eval_loss"], logs.get("eval_f1"))


def _results(trainer: AdapterTrainer, plan: Plan, seconds: float) -> dict[str, Any]:
    """What came out, for run.json. Seconds and speed are those since the start or the last resumption."""
    history = trainer.state.log_history
    return {
        "plan": asdict(plan),
        "versions": run.versions(),
        "losses": [entry["loss"] for entry in history if "loss" in entry],
        "evaluations": [
            {"step": entry["step"], "loss": entry["eval_loss"], "f1": entry.get("eval_f1")}
            for entry in history
            if "eval_loss" in entry
        ],
        "best_step": trainer.state.best_global_step,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(trainer.tokens_per_second),
        "peak_memory_bytes": run.peak_memory(),
        "device": run.device_name(trainer.args.device),
    }


def check(job: Job) -> None:
    """Checks what goes together, without reading what is large.

    Raises:
        ConfigurationError: stages, data or a device that don't; all problems are listed at once.
    """
    problems = []
    built = built_for(job.data)
    if built and built != job.bundle.paradigm:
        problems.append(f"{job.data} was made for the paradigm {built}, not {job.bundle.paradigm}")
    if job.device not in DEVICES:
        problems.append(f"the device must be one of {', '.join(DEVICES)}, not '{job.device}'")
    if job.device == "cuda" and not torch.cuda.is_available():
        problems.append("there is no GPU that torch can use")
    for stage in job.stages:
        if stage not in job.bundle.adapters:
            problems.append(f"'{job.bundle.name}' has no {stage} stage")
        elif not job.bundle.adapters[stage]:
            problems.append(f"the {stage} stage of '{job.bundle.name}' names no adapter")
    problems += [
        f"{path} is missing" for files in job.adapters().values() for path in files.values() if not path.is_file()
    ]
    if problems:
        raise ConfigurationError("; ".join(problems))


def _check_output(job: Job) -> None:
    """Checks that training would write over nothing. Raises OutputError."""
    if job.resume:
        return
    for adapter in job.adapters():
        folder = job.output / adapter
        if _is_trained(job.output, adapter):
            hint = "--resume trains what is missing, another --output all of it"
            raise OutputError("holds an adapter already", where=str(folder), hint=hint)
        if (folder / _CHECKPOINTS).exists():
            hint = "--resume continues it; or remove it to start anew"
            raise OutputError("holds an interrupted run", where=str(folder), hint=hint)


def _check_resumed(folder: Path, sources: Mapping[str, Any]) -> None:
    """Checks that the run to be continued, if there is one, was of the same data, base and settings."""
    file = folder / _CHECKPOINTS / _SOURCES
    if not file.exists():
        return
    before = orjson.loads(file.read_bytes())
    now = orjson.loads(orjson.dumps(sources))
    changed = [f"{table}.{key}" for table in now for key in now[table] if now[table][key] != before[table].get(key)]
    if changed:
        raise ConfigurationError(
            f"the interrupted run had other {', '.join(changed)}", where=str(folder), hint="remove it to start anew"
        )


def _is_trained(output: Path, adapter: str) -> bool:
    """Whether the adapter is there in full, and not just taken over from another bundle."""
    there = all((output / adapter / name).exists() for name in ADAPTER_FILES)
    return there and not (output / adapter / _CHECKPOINTS).exists() and not is_inherited(output, adapter)


def _last_checkpoint(checkpoints: Path) -> str | None:
    """The last one that was written in full: its state is written last."""
    finished = [path.parent for path in checkpoints.glob("checkpoint-*/trainer_state.json")]
    return str(max(finished, key=lambda path: int(path.name.rpartition("-")[2]))) if finished else None


def controls(bundle: Bundle, encoder: TokenizerEncoder) -> Controls:
    """What the bundle's completions are made of beside names."""
    return Controls(
        bundle.separator,
        bundle.joiner,
        {text: encoder.token(text) for text in (bundle.separator, bundle.joiner)},
        encoder.end,
        {YES: encoder.yes, NO: encoder.no},
    )


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _process() -> int:
    return int(os.environ.get("RANK", "0"))


def _device(job: Job) -> str:
    """Under torchrun every process has a GPU of its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if job.on_gpu else "cpu"


def _main_process_first(job: Job) -> AbstractContextManager[None]:
    return PartialState(cpu=not job.on_gpu).main_process_first() if _processes() > 1 else nullcontext()
