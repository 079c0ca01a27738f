"""Puts a bundle together: the trained base in 4 bit, its tokenizer, name shapes, and bundle.toml with its digests."""

import hashlib
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from autore_cli import schema as schemas
from autore_cli.calibration import Calibration
from autore_cli.model import copylm  # noqa: F401, registers its architecture
from autore_cli.model.bundle import FILE
from recipes import tokenizer
from recipes.prompts import BUNDLE


def quantize(base: Path, output: Path) -> None:
    """Saves the base with its linear layers in 4 bit (nf4, double quantisation), all else in bfloat16."""
    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=settings, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    model.config.dropout = 0.0  # fine-tuning has a dropout of its own
    model.save_pretrained(output)
    tokenizer.save(output)


def write_toml(bundle: Path, calibration: Calibration | None) -> None:
    """Writes bundle.toml: the recipe's, the calibration, and the digests of all weights that are there."""
    text = (BUNDLE.folder / FILE).read_text()
    if calibration:
        text += (
            f"\n[calibration]\nbias = {calibration.bias}\nweights = {list(calibration.weights)}\n"
            f"threshold = {calibration.threshold}\n"
        )
    relations = json.dumps([relation.id for relation in schemas.default()])
    text += f"\n[trained]\nrelations = {relations}\n\n[sha256]\n"
    shapes = [bundle / BUNDLE.name_shapes.weights] if BUNDLE.name_shapes else []
    for file in [*shapes, *sorted(bundle.rglob("*.safetensors"))]:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        text += f'"{file.relative_to(bundle).as_posix()}" = "{digest}"\n'
    (bundle / FILE).write_text(text)
