"""Models: the only room that imports torch, transformers, peft and bitsandbytes. This file doesn't."""

import logging
import os
import sys

# On some CPUs bitsandbytes imports `kernels`, which would fetch code from a hub, and warns if it can't.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# On a CPU torch keeps what it compiles for each shape of a matrix product, 1,024 of them if nobody says otherwise: with
# documents of all lengths that is hundreds of MB, which come by and by. Read when torch is imported.
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")
