"""Attention over packed rows at the cost of what is seen.

A prompt sees the prefix and itself (see `packing`), so that most of a long row's mask would be empty. Here queries are
computed block by block, each against the prefix and the few tokens around it: the same numbers, in a fraction of the
time that one mask over the whole row takes. It is an attention function of transformers, for all models that let one
choose it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from autore_cli.model.packing import Layout, attention_mask
from autore_cli.records import Span

NAME = "autore_packed"
_BLOCK = 256
"""Queries of a block: fewer see less that is masked, but keep a GPU less busy."""
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN's, which makes a plan for every new shape; here shapes are new in every batch."""


class Block(NamedTuple):
    """The queries `[start, end)` of all rows, which see keys of `[0, prefix)` and `[first, end)` alone.

    Attributes:
        mask: which of these, as an additive mask `[rows, 1, queries, keys]`.
    """

    start: int
    end: int
    prefix: int
    first: int
    mask: Tensor


def packed_blocks(packed: Layout, prefix: int, prompt: int, dtype: torch.dtype, size: int = _BLOCK) -> list[Block]:
    """Cuts the attention of packed rows into blocks.

    Args:
        packed: the rows.
        prefix: tokens of the longest prefix.
        prompt: tokens of the longest prompt.
        dtype: that of the model's activations.
        size: queries of a block.
    """
    length = packed.tokens.shape[1]
    starts = [0, *range(prefix, length, size)]
    blocks = []
    for start, end in zip(starts, [*starts[1:], length], strict=True):
        first = max(prefix, start - prompt) if start else end
        queries, keys = _columns(packed, (start, end)), _columns(packed, (0, prefix), (first, end))
        blocks.append(Block(start, end, prefix, first, attention_mask(queries, keys, dtype, prefix_lm=False)))
    return blocks


def use_packed_attention(model: PreTrainedModel) -> bool:
    """Lets a model take `blocks` besides its usual inputs, if its attention can be chosen. Returns whether it can.

    Without `blocks` it computes what it did before.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    AttentionInterface.register(NAME, _attention)
    model.set_attn_implementation(NAME)
    return True


def takes_blocks(model: PreTrainedModel) -> bool:
    """Whether `use_packed_attention` was successful."""
    return bool(model.config._attn_implementation == NAME)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    blocks: Sequence[Block] = (),
    **options: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention function: `[rows, heads, tokens, width]` to `[rows, tokens, heads, width]`."""
    with sdpa_kernel(_KERNELS):
        if not blocks:
            return sdpa_attention_forward(module, query, key, value, mask, **options)
        outputs = [
            sdpa_attention_forward(
                module, query[:, :, each.start : each.end], _seen(key, each), _seen(value, each), each.mask, **options
            )[0]
            for each in blocks
        ]
    return torch.cat(outputs, dim=1), None


def _seen(keys: Tensor, block: Block) -> Tensor:
    return torch.cat([keys[:, :, : block.prefix], keys[:, :, block.first : block.end]], dim=2)


def _columns(packed: Layout, *stretches: Span) -> Layout:
    """Some of the tokens of every row."""
    index = torch.cat([torch.arange(*stretch, device=packed.tokens.device) for stretch in stretches])
    return packed.map(lambda each: each[:, index])
