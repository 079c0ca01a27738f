"""Fresh LoRA adapters on a base, and their files in PEFT's own format."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from autore_cli.errors import ConfigurationError
from autore_cli.model.settings import ALL_LINEAR, FinetuneSettings

_DEFAULT_TARGETS = (("q_proj", "v_proj"), ("query_key_value",))
"""AutoRE's choice for Mistral and Llama, and for ChatGLM3, whose projections are one layer."""


def target_modules(core: nn.Module, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the linear layers that get LoRA.

    Args:
        core: the base model.
        wanted: what the user asked for; None is the default of the model's family.

    Raises:
        ConfigurationError: the model has no layer of such a name.
    """
    names = {name.rpartition(".")[2] for name, layer in core.named_modules() if isinstance(layer, nn.Linear)}
    hint = f"the model's linear layers are {', '.join(sorted(names))}; or say {ALL_LINEAR}"
    if wanted is None:
        for default in _DEFAULT_TARGETS:
            if names.issuperset(default):
                return default
        raise ConfigurationError(
            "the model has no layers of the usual names for LoRA", where="target_modules", hint=hint
        )
    missing = [] if list(wanted) == [ALL_LINEAR] else [name for name in wanted if name not in names]
    if missing:
        raise ConfigurationError(f"the model has no layer {', '.join(missing)}", where="target_modules", hint=hint)
    return tuple(wanted)


def with_adapter(
    core: PreTrainedModel, settings: FinetuneSettings, targets: Sequence[str], name: str = "default"
) -> PeftModel:
    """Puts a fresh adapter on a base, in float32; the base's own weights are frozen."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=ALL_LINEAR if list(targets) == [ALL_LINEAR] else list(targets),
    )
    return get_peft_model(core, config, adapter_name=name)


def save_adapter(model: PeftModel, folder: Path, base: str, dtype: torch.dtype) -> None:
    """Writes the active adapter.

    Args:
        model: the base with the adapter.
        folder: where to, made if it isn't there.
        base: what the file calls the base.
        dtype: that of the weights written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, adapter_name=model.active_adapter, save_embedding_layers=False)
    save_file(
        {name: weight.detach().to("cpu", dtype).contiguous() for name, weight in weights.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = copy(cast(LoraConfig, model.peft_config[model.active_adapter]))
    config.inference_mode = True
    config.base_model_name_or_path = base
    config.target_modules = sorted(config.target_modules or ())
    config.save_pretrained(str(folder))
