"""What an adapter to a public reward model is, and how a published one is loaded (task `external`; :mod:`core.training.external`)."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

from core import registry
from core.data.examples import PreferenceExample
from core.definition.needs import folder_digest
from core.definition.trial import TrialConfig
from core.errors import IntegrityError
from core.models.config import REHEARSED_TOKENS
from core.models.judgement import Judgement, Sampling
from core.models.locate import check_trust, locate
from core.models.reward_model import RewardModel, load_reward_model

TWIN = "model"
"""Folder of the tiny twin beside ``reward_model.json``."""


class ExternalModel(ABC):
    """A public reward model on one device, in evaluation mode.

    Attributes:
        tokenizer: counts the tokens of responses; ``None`` where it has none of transformers'.
    """

    tokenizer: Any = None

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, config: TrialConfig, device: str) -> Self:
        """The model of a folder.

        Args:
            folder: the public checkpoint, or what :meth:`write_twin` has filled.
            config: the trial; ``config.backbone`` is the adapter's own configuration.
            device: ``cpu`` or ``cuda``.

        Raises:
            EnvironmentFault: the folder is none of this model's.
        """

    @classmethod
    @abstractmethod
    def write_twin(cls, folder: Path, config: TrialConfig) -> None:
        """Fill an empty folder with a tiny twin in the public layout, its weights random by the trial's seed."""

    @abstractmethod
    def judge(
        self,
        examples: Sequence[PreferenceExample],
        *,
        batch: int = 16,
        max_pixels: int | None = None,
        frames: int | None = None,
        sampling: Sampling | None = None,
    ) -> list[list[Judgement]]:
        """The verdicts on the responses of every example; see :meth:`core.models.reward_model.RewardModel.judge`."""


def adapter(config: TrialConfig) -> type[ExternalModel]:
    """The adapter that the trial names."""
    found: type[ExternalModel] = registry.get("backbone", config.backbone.name).load()
    return found


def new_tokens(config: TrialConfig) -> int:
    """Longest text that the model writes: a tiny twin's is short."""
    most = int(getattr(config.backbone, "max_new_tokens", 0))
    return most if config.rehearsal is None else min(most, REHEARSED_TOKENS)


def load_scorer(weights: Path, config: TrialConfig, *, device: str = "cpu") -> RewardModel | ExternalModel:
    """What judges the responses of a trial: its reward model, or the public model that it names.

    Raises:
        IntegrityError: the published files are damaged, or a public model's folder is another one now.
        EnvironmentFault: weights are missing.
    """
    if config.task != "external":
        return load_reward_model(weights, device=device)
    try:
        about = json.loads((weights / "reward_model.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise IntegrityError(f"the published model cannot be read: {error}", found=str(weights)) from error
    folder = weights / TWIN if config.rehearsal is not None else locate(config.backbone)
    found = folder_digest(folder)
    if found != about["model"]:
        raise IntegrityError("the public model's folder has changed since the trial", found=f"{folder}: {found}", allowed=about["model"])
    if config.rehearsal is None:
        check_trust(config.backbone)
    with torch.random.fork_rng(devices=[]):
        return adapter(config).load(folder, config, device)


def question(example: PreferenceExample) -> str:
    """The prompt with the turns before it in front, as text, and without the marks where media stand."""
    turns = [f"{turn.role}: {turn.text}" for turn in example.history]
    text = "\n".join([*turns, example.prompt])
    return text.replace("<image>", "").replace("<video>", "").strip()
