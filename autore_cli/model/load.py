"""From a bundle to a generator."""

import torch

from autore_cli.errors import BundleError
from autore_cli.model.adapters import load_adapters
from autore_cli.model.base import load_base
from autore_cli.model.bundle import Bundle
from autore_cli.model.encoder import load_encoder
from autore_cli.model.generator import BATCH_SIZE, TransformersGenerator


def load(
    bundle: Bundle,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    dtype: torch.dtype | None = None,
    quantize: bool = True,
    trust_remote_code: bool = False,
) -> TransformersGenerator:
    """Loads all parts of a bundle.

    Args:
        bundle: the bundle.
        device: see `load_base`.
        batch_size: rows that are computed at once; None is a default that suits a laptop.
        dtype: see `load_base`.
        quantize: see `load_base`.
        trust_remote_code: see `load_base`.

    Raises:
        BundleError: a part is missing or damaged, or parts don't fit each other.
        ConfigurationError: there is no such device.
    """
    bundle.require_adapters()
    encoder = load_encoder(bundle, trust_remote_code=trust_remote_code)
    base = load_base(bundle, device, dtype, quantize=quantize, trust_remote_code=trust_remote_code)
    if len(encoder.tokenizer) > base.config.vocab_size:
        raise BundleError("the tokenizer has more tokens than the base", where=str(bundle.file))
    model = load_adapters(base, bundle)
    generator = TransformersGenerator(model, encoder, bundle, batch_size=batch_size or BATCH_SIZE)
    if len({generator.separator, generator.joiner, generator.end}) < 3:
        raise BundleError("separator, joiner and the end of a list are the same token", where=str(bundle.file))
    return generator
