"""Low-rank adapters on the linear layers of the language model (LoRA, Hu et al., arXiv 2106.09685), made by peft.

While a model is trained the adapters stand beside the weights, which stay as they are. A published model holds the adapters; loading it
adds them to the weights, so that scoring and export meet a plain model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from core.data.streams import stream_seed
from core.definition.trial import LoraConfig
from core.errors import DefinitionError

ADAPTER = "lora_"
"""What the names of an adapter's weights have in them."""


def adapt(language: nn.Module, config: LoraConfig, seed: int) -> None:
    """Put adapters beside the named linear layers, in place; their first half is drawn from the stream ``lora`` of the trial's seed.

    Raises:
        DefinitionError: the model has no layer of such a name; it names those that it has.
    """
    import peft

    known = sorted({name.rpartition(".")[2] for name, module in language.named_modules() if isinstance(module, nn.Linear)})
    missing = [name for name in config.targets if name not in known]
    if missing:
        raise DefinitionError("train.lora.targets names a layer that the language model has not", found=missing[0], allowed=known)
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets), bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "lora"))
        peft.inject_adapter_in_model(settings, language)


def merge(language: nn.Module) -> None:
    """Add the adapters to the weights that they stand beside, and take them away."""
    from peft.tuners.lora import LoraLayer

    adapted: list[tuple[str, Any]] = [(name, module) for name, module in language.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        module.merge()
        parent, _, own = name.rpartition(".")
        setattr(language.get_submodule(parent), own, module.get_base_layer())
