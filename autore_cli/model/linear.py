"""Matrix products on a CPU, by oneDNN. In float32 torch leaves them to MKL, which is half as fast on CPUs of AMD."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_HAS_BFLOAT16: bool = _HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()

_SMALL = 2**20
"""Numbers of a weight of which there may be a second copy."""


def linear(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `functional.linear`, and on a CPU, where nothing is learned, the faster way to the same result."""
    return _product(hidden, weight, bias) if _by_onednn(hidden) else functional.linear(hidden, weight, bias)


class Linear(nn.Linear):
    """A linear layer that multiplies by `linear`, and keeps a copy of a small weight laid out as oneDNN reads it.

    Who changes the weight, or its dtype, has to call `forget`.
    """

    _packed: Tensor | None = None

    def forget(self) -> None:
        """Gives up what was made of the weight."""
        self._packed = None

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden` `[..., in]`; returns `[..., out]`."""
        if self.weight.numel() > _SMALL or not _by_onednn(hidden):
            return linear(hidden, self.weight, self.bias)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
        return _product(hidden, self._packed, self.bias)


def _by_onednn(hidden: Tensor) -> bool:
    has_dtype = {torch.float32: _HAS_ONEDNN, torch.bfloat16: _HAS_BFLOAT16}.get(hidden.dtype, False)
    return has_dtype and hidden.device.type == "cpu" and not torch.is_grad_enabled()


def _product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")
    return product
