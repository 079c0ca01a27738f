"""A bundle's adapters: LoRA weights in PEFT's format, all on one base, one of them active at a time.

PEFT is imported where it is needed: it imports bitsandbytes, and `load_base` knows how to do that quickly.
"""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from autore_cli.errors import BundleError
from autore_cli.model.bundle import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Bundle
from autore_cli.model.linear import Linear
from autore_cli.model.sources import reading

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel


def load_adapters(model: PreTrainedModel, bundle: Bundle) -> "PeftModel | PreTrainedModel":
    """Puts the adapters of all stages on the base, under their folders' names, in its dtype and not trainable.

    Returns:
        The base with its adapters; the base itself if the bundle has none.

    Raises:
        BundleError: an adapter is missing, damaged, not LoRA, or made for another base.
    """
    bundle.require_adapters()
    adapted: PeftModel | PreTrainedModel = model
    for name in dict.fromkeys(filter(None, bundle.adapters.values())):
        folder = bundle.path(name)
        with reading(folder), warnings.catch_warnings(action="ignore"):
            adapted = _with_empty_adapter(adapted, name, _config(folder))
            _fill(adapted, name, folder / ADAPTER_WEIGHTS)
    adapted.requires_grad_(False)
    adapted.eval()
    return adapted


def base_of(model: "PeftModel | PreTrainedModel") -> PreTrainedModel:
    """The model whose layers the adapters work in."""
    return model if isinstance(model, PreTrainedModel) else cast(PreTrainedModel, model.get_base_model())


def use_adapter(model: "PeftModel | PreTrainedModel", name: str | None) -> None:
    """Makes one adapter active and no weight trainable. None is the base as it is."""
    if not isinstance(model, PreTrainedModel):
        model.base_model.set_adapter([name] if name else [], inference_mode=True)  # type: ignore[operator]
    elif name:
        raise ValueError(f"no adapter '{name}' on this model")


class MergedAdapters:
    """Adapters that are added to the weights of a base when they are used, so that they cost no time.

    Args:
        model: the base with its adapters. Its weights are not in 4 bit, and nobody else uses its adapters.
    """

    def __init__(self, model: "PeftModel | PreTrainedModel") -> None:
        self._model = model
        self._used: str | None = None
        # Taking off again what was added would leave an error, and one more with every change.
        self._layers = [(layer, [weight.clone() for weight in _base_weights(layer)]) for layer in _lora_layers(model)]

    def use(self, name: str | None) -> None:
        """Merges one adapter. None is the base as it is."""
        if name == self._used:
            return
        for layer, originals in self._layers:
            for weight, original in zip(_base_weights(layer), originals, strict=True):
                weight.copy_(original)
            layer.merged_adapters.clear()
        use_adapter(self._model, name)
        for layer, _ in self._layers:
            layer.merge(adapter_names=[name] if name else [])
            if isinstance(plain := layer.get_base_layer(), Linear):
                plain.forget()
        self._used = name


def _lora_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _base_weights(layer: Any) -> list[Tensor]:
    return [parameter.data for parameter in layer.get_base_layer().parameters()]


def _config(folder: Path) -> "LoraConfig":
    """Reads an adapter's settings. Only what is plain LoRA is let in: more can import modules, or change the base."""
    from peft import LoraConfig

    content = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if content.get("peft_type") != "LORA" or content.get("megatron_config") or content.get("layer_replication"):
        raise BundleError("isn't a plain LoRA adapter", where=str(folder / ADAPTER_CONFIG))
    config: LoraConfig = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    config.init_lora_weights = True  # the weights are loaded; some ways to initialise them would change the base
    return config


def _with_empty_adapter(model: "PeftModel | PreTrainedModel", name: str, config: "LoraConfig") -> "PeftModel":
    """The model with an adapter whose weights take no memory yet."""
    from peft import PeftModel

    if isinstance(model, PreTrainedModel):
        return PeftModel(model, config, name, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    model.add_adapter(name, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    return model


def _fill(model: "PeftModel", name: str, file: Path) -> None:
    """Loads an adapter's weights, which must be just those that its settings make on this base."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    base = base_of(model)
    expected = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    weights = {key: weight.to(base.dtype) for key, weight in load_file(file, str(base.device)).items()}
    for key in sorted(expected.keys() | weights.keys()):
        there, wanted = (tuple(tensors[key].shape) if key in tensors else None for tensors in (weights, expected))
        if there != wanted:
            raise BundleError(
                f"doesn't fit the base: {key} is {there or 'missing'}, not {wanted or 'expected'}", where=str(file)
            )
    set_peft_model_state_dict(model, weights, adapter_name=name, low_cpu_mem_usage=True)
