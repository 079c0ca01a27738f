"""Tiny models for the tests: random weights, a tokenizer made on the spot, nothing downloaded."""

import json
import re
import shutil
import string
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from autore_cli.model.copylm import CopyLM, CopyLMConfig
from tests.fixtures.remote.configuration_fused import FusedConfig
from tests.fixtures.remote.modeling_fused import FusedForCausalLM

Family = Literal["mistral", "llama", "glm"]
Kind = Literal["bytelevel", "sentencepiece", "wordpiece"]

FAMILIES: tuple[Family, ...] = ("mistral", "llama", "glm")
KINDS: tuple[Kind, ...] = ("bytelevel", "sentencepiece", "wordpiece")
STAGES = ("relation", "head", "fact")
REMOTE = Path(__file__).parents[1] / "fixtures" / "remote"
VOCABULARY = 512

TEXTS = [
    "Mara Lindqvist was born in Fjellhavn, a harbour town in the north of Vestmark.",
    "She studied medicine at the University of Orlen and later led its institute of botany.",
    "The Orlen river rises in the Grey Hills and flows through Fjellhavn into the Cold Sea.",
    "Tomas Reval, her husband, wrote the novel The Quiet Harbour, published in 1954.",
    "List the relations, the heads and the tails of the passage: country, place of birth, author, capital of.",
    "Answer yes or no. Does the passage express the relation? ; | . , : ? ! - ( )",
]

CHAT_TEMPLATE = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"

_SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<|user|>"]
_BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(kind: Kind = "bytelevel") -> PreTrainedTokenizerFast:
    """A tokenizer of at most `VOCABULARY` tokens, like Llama 3's, Mistral's or BERT's."""
    if kind == "wordpiece":
        return _wordpiece()
    if kind == "bytelevel":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    else:
        backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
        bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=_SPECIAL + bytes_, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    if kind == "sentencepiece":
        backend = _without_special_bytes(backend)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["[INST]", "[/INST]", "<|user|>"],
        chat_template=CHAT_TEMPLATE,
    )


def _wordpiece() -> PreTrainedTokenizerFast:
    """Half of the words, and characters for the others: training would break ties differently each time."""
    text = " ".join(TEXTS).lower()
    characters = sorted({*text, *string.punctuation} - {" "})
    words = sorted({word for word in re.findall("[a-z]+", text) if len(word) > 1})[::2]
    pieces = [*_BERT_SPECIAL, *characters, *(f"##{character}" for character in characters), *words]
    backend = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _without_special_bytes(trained: Tokenizer) -> Tokenizer:
    """The byte tokens had to be trained as special tokens; in SentencePiece's files they are ordinary ones."""
    state = json.loads(trained.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in _SPECIAL]
    return Tokenizer.from_str(json.dumps(state))


def model(family: Family = "mistral", *, seed: int = 0, **sizes: Any) -> PreTrainedModel:
    """A random model of two layers, in float32, with grouped-query attention.

    Args:
        family: its architecture.
        seed: of the weights.
        sizes: those that differ from the ones here (transformers' configuration of the family).
    """
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 1024,
            "initializer_range": 0.3,  # else every distribution would be flat
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 3,
            **sizes,
        },
    )
    causal_lm: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    causal_lm.eval()  # type: ignore[no-untyped-call]
    return causal_lm


def copylm(*, seed: int = 0, **sizes: Any) -> CopyLM:
    """A random instance of the default bundle's architecture, in float32. Its tokenizer is of the kind `wordpiece`.

    Args:
        seed: of the weights.
        sizes: those that differ from the ones here (`CopyLMConfig`).
    """
    torch.manual_seed(seed)
    config = CopyLMConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_prefix": 160,
            "dropout": 0.0,
            "initializer_range": 0.3,
            **sizes,
        }
    )
    model = CopyLM(config)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def remote(folder: Path) -> PreTrainedModel:
    """A random model that transformers doesn't know; its Python files go to the folder.

    Its projections are one layer, `query_key_value`, as in ChatGLM3.
    """
    folder.mkdir(parents=True)
    for file in REMOTE.glob("*.py"):
        shutil.copy(file, folder)
    torch.manual_seed(0)
    parts = {"AutoConfig": "configuration_fused.FusedConfig", "AutoModelForCausalLM": "modeling_fused.FusedForCausalLM"}
    config = FusedConfig(initializer_range=0.3, auto_map=parts)  # type: ignore[no-untyped-call]
    causal_lm: PreTrainedModel = FusedForCausalLM(config).eval()  # type: ignore[no-untyped-call]
    return causal_lm


def base(folder: Path, causal_lm: PreTrainedModel, tokens: PreTrainedTokenizerFast) -> Path:
    """Saves a base model and its tokenizer."""
    causal_lm.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def adapter(
    folder: Path, causal_lm: PreTrainedModel, *, seed: int = 0, targets: tuple[str, ...] = ("q_proj", "v_proj")
) -> Path:
    """Saves a random LoRA adapter, which changes what the model says. The model comes out unchanged."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=32, target_modules=list(targets), init_lora_weights=False
    )
    adapted = get_peft_model(causal_lm, config)
    adapted.save_pretrained(str(folder))
    adapted.unload()
    return folder


BUNDLE = """\
format = 1
name = "{name}"
description = "Random weights."
base = "base"
schema = "redocred"
paradigm = "RHF"
max_passage = 128
separator = ";"
joiner = "|"

[stages.relation]
adapter = "relation"
list = "{opening}{{passage}} List the relations:{closing}"
choose = "{opening}{{passage}} {{relation}} ?{closing}"
propose = "schema"
threshold = 0.4

[stages.head]
adapter = "head"
list = "{opening}{{passage}} heads of {{relation}}:{closing}"
choose = "{opening}{{passage}} {{relation}} of {{head}} ?{closing}"
max_items = 4

[stages.fact]
adapter = "fact"
list = "{opening}{{passage}} {{relation}} of {{head}}:{closing}"
choose = "{opening}{{passage}} {{head}} {{relation}} {{tail}} ?{closing}"
max_items = 4

[trained]
relations = ["P17", "P50"]

[provenance]
weights = "random"
"""

SCHEMA = """\
[[relation]]
id = "P17"
name = "country"

[[relation]]
id = "P50"
name = "author"
"""
"""The relations that the bundle claims to be trained on, as a schema file."""


def bundle(
    folder: Path,
    *,
    family: Family = "mistral",
    kind: Kind = "bytelevel",
    causal_lm: PreTrainedModel | None = None,
    targets: tuple[str, ...] = ("q_proj", "v_proj"),
    seed: int = 0,
) -> Path:
    """Writes a whole RHF bundle: a base, a random adapter for each of its three stages, and bundle.toml."""
    causal_lm = causal_lm or model(family, seed=seed)
    base(folder / "base", causal_lm, tokenizer(kind))
    for number, stage in enumerate(STAGES, start=1):
        adapter(folder / stage, causal_lm, seed=seed + number, targets=targets)
    opening, closing = ("[CLS]", "[SEP]") if kind == "wordpiece" else ("<s>[INST]", "[/INST]")
    text = BUNDLE.format(name=folder.name, opening=opening, closing=closing)
    (folder / "bundle.toml").write_text(text, encoding="utf-8")
    return folder
