"""Models: the only room that imports torch, transformers, peft and bitsandbytes. This file doesn't."""

import logging
import sys

# On some CPUs bitsandbytes imports `kernels`, which would fetch code from a hub, and warns if it can't.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
