"""How weights can be held. In a module of its own, as the command line knows it before it knows torch."""

from typing import Literal

Weights = Literal["auto", "nf4", "bf16", "fp32"]
"""In 4 bit; or unpacked to numbers of 16 or 32 bit, to which the adapter in use is added.

In 4 bit, a GPU computes in bfloat16 and a CPU in float32. `auto` is 4 bit on a GPU; on a CPU, float32 for small models,
which is faster and takes no memory to speak of, and 4 bit for others. It is not bfloat16, which is faster still on CPUs
that have units for it (AMX): there a score's third digit would depend on what else stands in the batch.
"""
