"""The default bundle's architecture: a small prefix language model whose head can copy from the passage.

A causal LM in shape (registered with `AutoModelForCausalLM`), a BERT-like encoder in its blocks (post-norm, learned
positions), so that it can start from a pretrained encoder. The passage is read in both directions, prompts and
completions causally (prefix LM, as in T5's section 3.2.4, arXiv 1910.10683). The probability of the next token mixes,
through a learned gate, a softmax over the vocabulary with a softmax over the passage's positions, summed over equal
tokens (pointer-generator, arXiv 1704.04368): names it never saw can be written, and are not learned by heart.

The passage's copy keys and token ids travel in the KV cache as one more layer, in float32, which keeps the ids exact.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

from autore_cli.model.linear import linear

_NOT_PASSAGE = -1


class CopyLMConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of a copy LM.

    Args:
        vocab_size: tokens, those of all cases together.
        cases: ways to write a token. Token `i` is the base token `i % (vocab_size / cases)` in case `i // (vocab_size /
            cases)`: lower case, capitalised, upper case, say. An embedding of the case is added to that of the base
            token. The vocabulary's softmax is over case 0, all others are copied only.
        hidden_size: width.
        intermediate_size: width of the feed-forward layers.
        num_hidden_layers: blocks; the cache holds one layer more.
        num_attention_heads: heads.
        max_prefix: positions of the prefix.
        max_prompt: positions behind the prefix: a prompt and its completion. Later ones share the last position.
        dropout: while training.
        layer_norm_eps: of all layer norms.
    """

    model_type = "autore_copylm"
    prefix_lm = True

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 384,
        intermediate_size: int = 1536,
        num_hidden_layers: int = 6,
        num_attention_heads: int = 12,
        max_prefix: int = 448,
        max_prompt: int = 192,
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-12,
        cases: int = 1,
        **rest: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.cases = cases
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.max_prefix = max_prefix
        self.max_prompt = max_prompt
        self.max_position_embeddings = max_prefix + max_prompt
        self.dropout = dropout
        self.layer_norm_eps = layer_norm_eps
        rest.setdefault("tie_word_embeddings", False)
        super().__init__(**rest)


class _Real(NamedTuple):
    """Where the tokens stand that are not padding: those alone are computed.

    Attributes:
        places: in rows one behind the other, `[tokens]`.
        order: the number of each place's token, `[rows, queries]`; of padding any.
    """

    places: Tensor
    order: Tensor

    @classmethod
    def of(cls, real: Tensor) -> "_Real":
        """From which tokens are not padding, `[rows, queries]`."""
        order = real.flatten().cumsum(0) - 1
        return cls(real.flatten().nonzero()[:, 0], order.clamp(min=0).view_as(real))

    def alone(self, hidden: Tensor) -> Tensor:
        """`[rows, queries, width]` without padding, `[tokens, width]`."""
        return hidden.flatten(0, 1).index_select(0, self.places)

    def in_rows(self, hidden: Tensor) -> Tensor:
        """`[tokens, width]` as `[rows, queries, width]`, with anything for padding."""
        return hidden.index_select(0, self.order.flatten()).view(*self.order.shape, hidden.shape[-1])


class Attention(nn.Module):
    """Multi-head attention under a given mask."""

    def __init__(self, config: CopyLMConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.num_attention_heads
        self.dropout = config.dropout
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor, cache: Cache | None, real: _Real | None) -> Tensor:
        """Attends to what the mask lets be seen.

        Args:
            hidden: `[rows, queries, width]`, or of the real tokens alone `[tokens, width]`.
            mask: additive, `[rows, 1, queries, keys]`.
            cache: keys and values of what came before.
            real: where the real tokens stand; None if `hidden` is of all.

        Returns:
            The shape of `hidden`.
        """
        projected = (project(hidden) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key, value = (self._split(each if real is None else real.in_rows(each)) for each in projected)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        attended = attended.transpose(1, 2).flatten(2)
        merged: Tensor = self.o_proj(attended if real is None else real.alone(attended))
        return merged

    def _split(self, hidden: Tensor) -> Tensor:
        rows, length, width = hidden.shape
        return hidden.view(rows, length, self.heads, width // self.heads).transpose(1, 2)


class Block(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """Attention and feed-forward, each with a residual and a layer norm behind it."""

    def __init__(self, config: CopyLMConfig, layer: int) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor, cache: Cache | None, real: _Real | None) -> Tensor:
        """As `Attention.forward`."""
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, mask, cache, real)))
        fed = self.down_proj(functional.gelu(self.up_proj(hidden)))
        normed: Tensor = self.norm(hidden + self.dropout(fed))
        return normed


class CopyHead(nn.Module):
    """Mixes the vocabulary's probabilities with those of copying a token of the passage."""

    def __init__(self, config: CopyLMConfig) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.gate = nn.Linear(config.hidden_size, 1)

    def forward(
        self,
        hidden: Tensor,
        keys: Tensor,
        passage: Tensor,
        vocabulary: Tensor,
        wanted: Tensor | None = None,
        relative: bool = False,
    ) -> Tensor:
        """Log-probabilities of the next token, float32 `[rows, positions, vocabulary]`.

        Args:
            hidden: last hidden states `[rows, positions, width]`.
            keys: copy keys of the prefix `[rows, prefix, width]`.
            passage: its token ids `[rows, prefix]`, `_NOT_PASSAGE` where there is nothing to copy.
            vocabulary: the embedding matrix `[base tokens, width]`.
            wanted: token ids `[rows, positions, wanted]`, to which the result is limited, at a part of the cost;
                negative where there are no more.
            relative: the wanted tokens' log-probabilities need be right only in comparison. Where none of them can be
                copied, they are those among themselves then, without the vocabulary's other words, most of the work.
        """
        scores = (self.query(hidden).to(keys.dtype) @ keys.transpose(1, 2)) / math.sqrt(keys.shape[-1])
        scores = scores.masked_fill((passage < 0)[:, None, :], torch.finfo(scores.dtype).min)
        gate = self.gate(hidden).to(keys.dtype).sigmoid()
        copied = gate * scores.softmax(-1)
        if wanted is None:
            written = linear(hidden, vocabulary).to(keys.dtype).softmax(-1)
            mixed = functional.pad((1 - gate) * written, (0, self.vocab_size - len(vocabulary)))
            mixed = mixed.scatter_add(-1, passage.clamp(min=0)[:, None, :].expand_as(copied), copied)
        else:
            summed = _summed(copied, passage, wanted)
            copyable = (summed > 0).any(-1)
            written = _written(hidden, vocabulary, wanted, copyable if relative else torch.ones_like(copyable))
            mixed = (1 - gate) * written.to(keys.dtype) + summed
        return (mixed + torch.finfo(mixed.dtype).tiny).log()


def _written(hidden: Tensor, vocabulary: Tensor, wanted: Tensor, among_all: Tensor) -> Tensor:
    """The probabilities of writing wanted tokens: see `CopyHead.forward`.

    Args:
        hidden: `[rows, positions, width]`.
        vocabulary: the embedding matrix.
        wanted: token ids `[rows, positions, wanted]`.
        among_all: where the softmax is over the vocabulary, and not over the wanted alone, `[rows, positions]`.

    Returns:
        `[rows, positions, wanted]`.
    """
    chances = torch.zeros(wanted.shape, dtype=_exact(hidden.dtype), device=hidden.device)
    can_be = (wanted >= 0) & (wanted < len(vocabulary))
    tokens = wanted % len(vocabulary)
    asked = (wanted >= 0).any(-1)
    all_, some = asked & among_all, asked & ~among_all
    logits = linear(hidden[all_], vocabulary).to(chances.dtype)
    chances[all_] = (logits.gather(-1, tokens[all_]) - logits.logsumexp(-1, keepdim=True)).exp()
    few, states = vocabulary[tokens[some]].to(chances.dtype), hidden[some].to(chances.dtype)
    logits = (few * states[..., None, :]).sum(-1)
    chances[some] = logits.masked_fill(~can_be[some], torch.finfo(logits.dtype).min).softmax(-1)
    return chances * can_be


def _summed(copied: Tensor, passage: Tensor, wanted: Tensor) -> Tensor:
    """What the passage's places of each wanted token have together: `[rows, positions, prefix]` to `[.., wanted]`."""
    tokens, place = passage.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    shares = copied.new_zeros(*copied.shape[:2], len(tokens))
    shares = shares.scatter_add(-1, place[:, None].expand_as(copied), copied)
    found = torch.searchsorted(tokens, wanted).clamp(max=len(tokens) - 1)
    summed: Tensor = shares.gather(-1, found) * (tokens[found] == wanted)
    return summed


class CopyLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """The copy LM. See the module's docstring."""

    config_class = CopyLMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]  # noqa: RUF012 - as its base class has it

    def __init__(self, config: CopyLMConfig) -> None:
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size // config.cases, config.hidden_size)
        self.cases = nn.Embedding(config.cases, config.hidden_size) if config.cases > 1 else None
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.lm_head = CopyHead(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        tokens: nn.Module = self.tokens
        return tokens

    def get_output_embeddings(self) -> nn.Module:
        """The copy head, which reads the token embeddings too."""
        head: nn.Module = self.lm_head
        return head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        token_type_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        wanted: Tensor | None = None,
        relative: bool = False,
        real: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """Next-token log-probabilities.

        Args:
            input_ids: `[rows, queries]`.
            attention_mask: additive `[rows, 1, queries, keys]`, of the cached tokens and these.
            position_ids: `[rows, queries]`, counted from the start of the prefix.
            token_type_ids: `[rows, queries]`, 1 for the prefix, which stands first; left out, all is prefix. Not with a
                filled cache: behind that there is no prefix.
            past_key_values: an empty cache, which then holds the prefix, or one with a prefix.
            use_cache: make a cache if there is none.
            wanted: see `CopyHead.forward`.
            relative: see there.
            real: which tokens are not padding, `[rows, queries]`, if others need not be computed.
        """
        if past_key_values is None and use_cache:
            past_key_values = DynamicCache()
        filled = past_key_values if past_key_values is not None and past_key_values.get_seq_length() else None
        if filled is not None:
            is_prefix = torch.zeros_like(input_ids)
            keys, passage = _cached_passage(filled, len(self.blocks))
            prefix_length = (passage >= 0).sum(1, keepdim=True)
        else:
            is_prefix = torch.ones_like(input_ids) if token_type_ids is None else token_type_ids
            prefix_length = is_prefix.sum(1, keepdim=True)
        hidden = self._embed(input_ids, position_ids, is_prefix, prefix_length)
        tokens = _Real.of(real) if real is not None and real.any() else None  # rows of nothing want something
        hidden = hidden if tokens is None else tokens.alone(hidden)
        for block in self.blocks:
            hidden = block(hidden, attention_mask, past_key_values, tokens)
        hidden = hidden if tokens is None else tokens.in_rows(hidden)
        if filled is None:
            prefix = int(prefix_length.max())
            keys = self.lm_head.key(hidden[:, :prefix]).to(_exact(hidden.dtype))
            passage = input_ids[:, :prefix].masked_fill(is_prefix[:, :prefix] == 0, _NOT_PASSAGE)
            if past_key_values is not None:
                ids = (passage - _NOT_PASSAGE)[:, None, :, None].to(keys.dtype)  # 0 where there is nothing
                past_key_values.update(keys[:, None], ids, len(self.blocks))
        logits = self.lm_head(hidden, keys, passage, self.tokens.weight, wanted, relative)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)

    def _embed(self, tokens: Tensor, positions: Tensor, is_prefix: Tensor, prefix_length: Tensor) -> Tensor:
        """Prompts have position embeddings of their own, above those of the prefix, whatever the prefix's length."""
        config = self.config
        behind = (positions - prefix_length).clamp(0, config.max_prompt - 1) + config.max_prefix
        places = torch.where(is_prefix > 0, positions.clamp(max=config.max_prefix - 1), behind)
        meaning = self.tokens(tokens % self.tokens.num_embeddings)
        if self.cases is not None:
            meaning = meaning + self.cases(tokens // self.tokens.num_embeddings)
        embedded: Tensor = self.dropout(self.norm(meaning + self.positions(places)))
        return embedded


def _exact(dtype: torch.dtype) -> torch.dtype:
    """The dtype of probabilities and copied ids: no narrower than float32."""
    return torch.promote_types(dtype, torch.float32)


def _cached_passage(cache: Cache, layer: int) -> tuple[Tensor, Tensor]:
    """The copy keys `[rows, prefix, width]` and token ids `[rows, prefix]` that a filled cache holds."""
    entry: Any = cache.layers[layer]
    return entry.keys[:, 0], entry.values[:, 0, :, 0].long() + _NOT_PASSAGE


AutoConfig.register(CopyLMConfig.model_type, CopyLMConfig, exist_ok=True)
AutoModelForCausalLM.register(CopyLMConfig, CopyLM, exist_ok=True)
