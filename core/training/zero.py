"""The engine for models that one process cannot hold, or that several ranks train together: DeepSpeed's ZeRO.

Weights, gradients and optimiser stay in fp32 as in one process, and the forward pass runs in the precision of ``train.dtype`` inside the
model itself, so DeepSpeed is told nothing of bf16: the losses of several ranks are those of one within rounding.

Checkpoints are DeepSpeed's own files, one per rank, and are read back as they are by as many ranks of the same stage. Any other number
of ranks, another stage, or one process without DeepSpeed reads them through DeepSpeed's universal form (:mod:`core.training.state`).
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.definition.trial import TrialConfig
from core.models.backbone import Batch
from core.models.paradigms import Readout
from core.models.reward_model import RewardModel
from core.training import extensions
from core.training.context import RunContext
from core.training.engine import Engine, groups
from core.training.layout import BUCKET, Layout
from core.training.ranks import Ranks
from core.training.state import DIVIDED, LAYOUT, TAG, Kept, layout_of, restore_weights

KEPT_WHOLE = 10
"""ZeRO-3 leaves weights of at most this many times the hidden size undivided: norms and biases, which cost more to gather than to keep."""

UNIVERSAL = {"universal_checkpoint_info": {"universal_checkpoint_version": 0.2}}
"""What DeepSpeed's conversion wants to find in a checkpoint."""


def load_deepspeed(device: str) -> Any:
    """Import DeepSpeed for this kind of device, quietly.

    Its shared-memory collectives for the CPU serve inference alone and cost a minute of compiling at every first use: they stay out.
    """
    os.environ["DS_ACCELERATOR"] = "cuda" if device == "cuda" else "cpu"
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "warning")
    os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions.folder())
    with warnings.catch_warnings(), _without("mlflow"):
        warnings.simplefilter("ignore")  # what DeepSpeed says of torch's own deprecations
        import deepspeed
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def settings(config: TrialConfig, layout: Layout, ranks: int, device: str, trained: int, hidden: int) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Args:
        config: the trial.
        layout: the stage and what is kept in the host's memory.
        ranks: how many there are.
        device: ``cpu`` or ``cuda``.
        trained: trained weights, in elements.
        hidden: width of the backbone.
    """
    on_gpu = device == "cuda"
    zero: dict[str, Any] = {
        "stage": layout.stage,
        "contiguous_gradients": True,
        "overlap_comm": on_gpu,
        "reduce_bucket_size": min(BUCKET, max(trained, 1)),
        "allgather_bucket_size": BUCKET,
    }
    host = {"device": "cpu", "pin_memory": on_gpu}
    if layout.offload != "none":
        zero["offload_optimizer"] = host
    if layout.offload == "all":
        zero["offload_param"] = host
    if layout.stage == 3:
        zero["stage3_param_persistence_threshold"] = KEPT_WHOLE * hidden
        zero["stage3_prefetch_bucket_size"] = min(BUCKET // 4, max(trained, 1))
    return {
        "train_micro_batch_size_per_gpu": 1,  # the trainer cuts the batch and says which micro batch is the last
        "gradient_accumulation_steps": 1,
        "train_batch_size": ranks,
        "gradient_clipping": config.optim.grad_clip if layout.stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


class ZeroEngine(Engine):
    """DeepSpeed around a model.

    Args:
        model: built on the CPU; DeepSpeed moves it.
        config: the trial.
        context: device, layout and what to resume from.
        ranks: the others.
    """

    def __init__(self, model: RewardModel, config: TrialConfig, context: RunContext, ranks: Ranks) -> None:
        deepspeed = load_deepspeed(context.device)
        self.model = model
        self._ranks = ranks
        self._layout = context.seat.layout
        self._deepspeed = deepspeed
        self._clip = config.optim.grad_clip or math.inf
        self._names = [name for name, _ in model.trained()]
        here = {"stage": self._layout.stage, "ranks": ranks.count}
        same = context.resume is not None and layout_of(context.resume) == here
        kept = Kept.open(context.resume, context.folder, ranks, model) if context.resume is not None and not same else None
        if kept is not None:
            restore_weights(model, kept.weights())  # before they are divided
        trained = sum(value.numel() for _, value in model.trained())
        values = settings(config, self._layout, ranks.count, context.device, trained, model.backbone.hidden_size)
        model.cache_casts = self._layout.stage != 3  # a cast that is kept would keep a weight that ZeRO-3 has let go
        self.optimizer = self._adamw(groups(model, config), config, context.device)
        with _quiet():
            self.engine, *_ = deepspeed.initialize(model=model, optimizer=self.optimizer, config=values, dist_init_required=False)
        if same:
            assert context.resume is not None
            self.engine.load_checkpoint(str(context.resume / DIVIDED), tag=TAG, load_module_strict=False)
        if kept is not None:
            self._restore(kept)
            kept.close()

    def _adamw(self, found: list[dict[str, object]], config: TrialConfig, device: str) -> torch.optim.Optimizer:
        about = {"lr": config.optim.lr, "betas": config.optim.betas, "eps": config.optim.eps}
        if self._layout.offload == "none" or device == "cpu":
            return torch.optim.AdamW(found, **about)  # type: ignore[arg-type]
        with extensions.building("cpu_adam"):
            from deepspeed.ops.adam import DeepSpeedCPUAdam

            return DeepSpeedCPUAdam(found, adamw_mode=True, **about)  # type: ignore[no-any-return]

    # -- one step -------------------------------------------------------------------------------------------------------------

    def train(self, mode: bool) -> None:
        """See :meth:`Engine.train`."""
        self.engine.train(mode)

    def readout(self, batch: Batch) -> Readout:
        """See :meth:`Engine.readout`."""
        readout: Readout = self.engine(batch)
        return readout

    def backward(self, loss: Tensor, last: bool) -> None:
        """See :meth:`Engine.backward`; DeepSpeed takes the mean over ranks where we want the sum."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self._ranks.count)

    def step(self, lr: float) -> float:
        """See :meth:`Engine.step`."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        if self._layout.stage == 0:  # DeepSpeed clips here, and does not say by what norm
            norm = nn.utils.clip_grad_norm_((value for _, value in self.model.trained()), self._clip)
        self.engine.step()
        return float(norm if self._layout.stage == 0 else self.engine.get_global_grad_norm())

    # -- its state ------------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """See :meth:`Engine.save`."""
        self.engine.save_checkpoint(
            str(folder / DIVIDED), tag=TAG, client_state=dict(UNIVERSAL), save_latest=False, exclude_frozen_parameters=True
        )
        if self._ranks.first:
            (folder / LAYOUT).write_text(json.dumps({"stage": self._layout.stage, "ranks": self._ranks.count}))

    def trained(self) -> dict[str, Tensor]:
        """See :meth:`Engine.trained`."""
        return self.everything(self._names)

    def everything(self, names: Collection[str]) -> dict[str, Tensor]:
        """See :meth:`Engine.everything`."""
        found: dict[str, Tensor] = {}
        parameters, buffers = dict(self.model.named_parameters()), dict(self.model.named_buffers())
        for name in sorted(names):
            value = parameters.get(name)
            if value is None:
                found[name] = buffers[name].detach().to("cpu", copy=True)
                continue
            with self._deepspeed.zero.GatheredParameters([value], enabled=self._layout.stage == 3):
                if self._ranks.first:
                    found[name] = value.detach().to("cpu", copy=True)
        return found if self._ranks.first else {}

    def _restore(self, kept: Kept) -> None:
        """Give the optimiser its moments back; the weights were there before they were divided."""
        values = dict(self.model.trained())
        if self._layout.stage == 0:
            for name, value in values.items():
                self.optimizer.state[value] = kept.moments(name)
            return
        zero = self.engine.optimizer
        whole = zero.fp32_partitioned_groups_flat if self._layout.stage == 3 else zero.single_partition_of_fp32_groups
        step = kept.moments(self._names[0])["step"]
        for flat in whole:
            moments = {part: torch.zeros_like(flat) for part in ("exp_avg", "exp_avg_sq")}
            zero.optimizer.state[flat] = {"step": step.clone(), **moments}
        if self._layout.stage != 3:
            zero._lazy_init_hp_params_optimizer_state()
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        for name, value in values.items():
            moments = kept.moments(name)
            for part in ("exp_avg", "exp_avg_sq"):
                if self._layout.stage == 3:
                    safe_set_local_optimizer_state(value, self._own_part(value, moments[part]), part)
                else:
                    safe_set_full_optimizer_state(value, moments[part].to(self.engine.device), part)

    def _own_part(self, divided: Any, whole: Tensor) -> Tensor:
        """What ZeRO-3 keeps of a tensor on this rank: an equal part, with zeros behind the last value."""
        size = divided.ds_tensor.ds_numel
        filled = nn.functional.pad(whole.flatten(), (0, size * self._ranks.count - whole.numel()))
        return filled[self._ranks.rank * size : (self._ranks.rank + 1) * size]


def to_universal(divided: Path, universal: Path) -> None:
    """Convert DeepSpeed's files of all ranks into its universal form: a folder per weight."""
    load_deepspeed(os.environ.get("DS_ACCELERATOR", "cpu"))
    from deepspeed.checkpoint.ds_to_universal import main

    with _quiet():
        main(
            Namespace(
                input_folder=str(divided), output_folder=str(universal), num_extract_workers=1, num_merge_workers=1,
                keep_temp_folder=False, strict=True, inject_missing_state=True,
            )
        )  # fmt: skip


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Let an import fail that a library makes for a part that we do not use: a worker that forks imports no mlflow."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None  # type: ignore[assignment]  # so Python marks what cannot be imported
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]


@contextmanager
def _quiet() -> Iterator[None]:
    """DeepSpeed and its conversion talk of what is no news."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield
