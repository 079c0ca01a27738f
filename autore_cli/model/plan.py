"""What training an adapter takes, told before it starts: from the data and the base's shape alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from autore_cli.model import copylm  # noqa: F401 - registers the architecture
from autore_cli.model.bundle import Bundle
from autore_cli.model.dataset import Dataset, Row
from autore_cli.model.lora import target_modules, with_adapter
from autore_cli.model.settings import FinetuneSettings
from autore_cli.model.sources import base_folder, reading
from autore_cli.stages import StageName

_CHECKPOINTING_ABOVE = 1_000_000_000
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # double quantisation: QLoRA, arXiv 2305.14314, section 3
_TRAINED_BYTES = {"adamw": 16, "adamw-8bit": 10}  # weight and gradient in float32, and Adam's two moments


@dataclass(frozen=True, slots=True)
class Plan:
    """What training an adapter takes.

    Attributes:
        adapter: its name.
        stages: whose examples it learns from.
        examples: prompts in their files.
        dropped: those of them that are too long.
        held_out: rows that are kept aside.
        rows: rows to learn from.
        tokens: that a model reads in an epoch.
        targets: that the loss is taken over in an epoch.
        steps: of the optimiser.
        target_modules: the layers with LoRA.
        trainable: parameters that are trained.
        gradient_checkpointing: whether activations are computed twice.
        memory: bytes that a device needs at its peak, roughly.
    """

    adapter: str
    stages: tuple[StageName, ...]
    examples: int
    dropped: int
    held_out: int
    rows: int
    tokens: int
    targets: int
    steps: int
    target_modules: tuple[str, ...]
    trainable: int
    gradient_checkpointing: bool
    memory: int


def skeleton(bundle: Bundle, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The base's shape: the model without weights.

    Args:
        bundle: names the base.
        trust_remote_code: runs the Python files that come with the base.

    Raises:
        BundleError: its configuration can't be loaded.
    """
    folder = base_folder(bundle)
    options = {"trust_remote_code": trust_remote_code}
    with reading(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, **options)
        shape: PreTrainedModel = AutoModelForCausalLM.from_config(config, **options)  # type: ignore[no-untyped-call]
    return shape


def make_plan(
    adapter: str,
    stages: tuple[StageName, ...],
    dataset: Dataset,
    settings: FinetuneSettings,
    shape: PreTrainedModel,
    *,
    on_gpu: bool,
    devices: int = 1,
) -> Plan:
    """Plans an adapter's training.

    Args:
        adapter: its name.
        stages: whose examples it learns from.
        dataset: the examples.
        settings: how it is trained.
        shape: the base without weights.
        on_gpu: whether it is trained on a GPU.
        devices: how many train together.

    Raises:
        ConfigurationError: the base has no such layers.
    """
    targets = target_modules(shape, settings.target_modules)
    checkpointing = settings.gradient_checkpointing
    if checkpointing is None:
        checkpointing = on_gpu and shape.num_parameters() > _CHECKPOINTING_ABOVE
    base = _base_memory(shape, 2 if on_gpu else 4)
    adapted = with_adapter(shape, settings, targets)
    trainable = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    adapted.unload()
    return Plan(
        adapter=adapter,
        stages=stages,
        examples=dataset.examples,
        dropped=dataset.dropped,
        held_out=len(dataset.held_out),
        rows=len(dataset.train),
        tokens=sum(row.length for row in dataset.train),
        targets=sum(row.targets for row in dataset.train),
        steps=settings.steps or _steps(len(dataset.train), settings, devices),
        target_modules=targets,
        trainable=trainable,
        gradient_checkpointing=checkpointing,
        memory=base
        + trainable * _TRAINED_BYTES[settings.optimiser]
        + _activations_memory(shape, dataset.train, settings, checkpointing),
    )


def _steps(rows: int, settings: FinetuneSettings, devices: int) -> int:
    batches = math.ceil(math.ceil(rows / settings.batch_size) / devices)
    return max(1, math.ceil(math.ceil(batches / settings.gradient_accumulation) * settings.epochs))


def _base_memory(shape: PreTrainedModel, float_bytes: int) -> int:
    linear = sum(layer.weight.numel() for layer in shape.modules() if isinstance(layer, nn.Linear))
    if isinstance(head := shape.get_output_embeddings(), nn.Linear):  # type: ignore[no-untyped-call]
        linear -= head.weight.numel()
    everything = sum(parameter.numel() for parameter in shape.parameters())
    return int(linear * _NF4_BYTES + (everything - linear) * float_bytes)


def _activations_memory(
    shape: PreTrainedModel, rows: Sequence[Row], settings: FinetuneSettings, checkpointing: bool
) -> int:
    """Of the largest batch: what the layers keep for the backward pass, the mask, the logits and their gradient."""
    head: Any = shape.get_output_embeddings()  # type: ignore[no-untyped-call]
    embedding: Any = shape.get_input_embeddings()
    width, vocabulary = int(embedding.embedding_dim), int(shape.config.vocab_size)
    depth = max(len(module) for module in shape.modules() if isinstance(module, nn.ModuleList))
    inner = max(layer.out_features for layer in shape.modules() if isinstance(layer, nn.Linear) and layer is not head)
    largest = sorted(rows, key=lambda row: row.length)[-settings.batch_size :]
    tokens = len(largest) * largest[-1].length
    layer = 2 * (12 * width + 4 * inner)
    layers = layer + 2 * width * depth if checkpointing else layer * depth
    mask = 2 * largest[-1].length * tokens
    logits = 10 * vocabulary * sum(row.targets for row in largest)
    return tokens * layers + mask + logits
