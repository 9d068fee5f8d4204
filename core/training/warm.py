"""What the warm parent of a worker imports, so that a forked trial starts in milliseconds.

Nothing here may compute with tensors: one multi-threaded operation before the fork hangs the child. Names from transformers are
loaded lazily: the modules of the backbones import the classes that they need by name, and thereby for real.
"""

from __future__ import annotations

import gc
import importlib

MODULES = (
    "numpy",
    "PIL.Image",
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
    "safetensors.torch",
    "torch",
    "tokenizers",
    "core.data",
    "core.data.generated",
    "core.models.critics",
    "core.models.heads",
    "core.models.judges",
    "core.models.paradigms",
    "core.models.internvl",
    "core.models.qwen2_5_vl",
    "core.models.qwen2_vl",
    "core.models.qwen3_vl",
    "core.models.qwen_text",
    "core.models.reward_model",
    "core.training.losses",
    "core.training.trainer",
)
"""Everything that training or scoring a trial imports."""


def warm(device: str, ranks: int) -> None:
    """Import it all, and DeepSpeed where trials have several ranks.

    Imports make a million objects and hardly a cycle: looking for cycles in them takes a sixth of the time. Afterwards none of them
    is looked at again, and a fork leaves their pages shared with its parent.
    """
    gc.disable()
    for module in MODULES:
        importlib.import_module(module)
    if ranks > 1:
        importlib.import_module("core.training.zero").load_deepspeed(device)
    gc.freeze()
    gc.enable()
