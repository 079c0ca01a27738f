"""From a bundle to a generator."""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from autore_cli.errors import BundleError
from autore_cli.model.adapters import load_adapters
from autore_cli.model.base import load_base, unpack
from autore_cli.model.bundle import Bundle
from autore_cli.model.encoder import TokenizerEncoder, load_encoder
from autore_cli.model.generator import TransformersGenerator, pace_of
from autore_cli.model.weights import Weights

_SMALL = 2**28
"""Parameters of a small model: a gibibyte in float32."""


def load(
    bundle: Bundle,
    *,
    encoder: TokenizerEncoder | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    weights: Weights = "auto",
    trust_remote_code: bool = False,
) -> TransformersGenerator:
    """Loads all parts of a bundle.

    Args:
        bundle: the bundle.
        encoder: its tokenizer, if that is loaded already.
        device: see `load_base`.
        batch_size: passages that are at work at once; None is what suits the device.
        weights: how they are held.
        trust_remote_code: see `load_base`.

    Raises:
        BundleError: a part is missing or damaged, or parts don't fit each other.
        ConfigurationError: there is no such device.
    """
    bundle.require_adapters()
    encoder = encoder or load_encoder(bundle, trust_remote_code=trust_remote_code)
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}.get(weights)
    base = load_base(bundle, device, dtype, trust_remote_code=trust_remote_code)
    if len(encoder.tokenizer) > base.config.vocab_size:
        raise BundleError("the tokenizer has more tokens than the base", where=str(bundle.file))
    merge = dtype is not None or (weights == "auto" and _is_small(base))
    if merge:
        unpack(base)
    pace = pace_of(base.device)
    if batch_size:
        pace = replace(pace, batch_size=batch_size)
    generator = TransformersGenerator(load_adapters(base, bundle), encoder, bundle, pace=pace, merge=merge)
    if len({generator.separator, generator.joiner, generator.end}) < 3:
        raise BundleError("separator, joiner and the end of a list are the same token", where=str(bundle.file))
    return generator


def _is_small(base: PreTrainedModel) -> bool:
    return base.device.type == "cpu" and base.num_parameters() <= _SMALL
