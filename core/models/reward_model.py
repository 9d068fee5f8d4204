"""A reward model: backbone, paradigm and head, built from a trial's configuration and published as one folder.

The folder holds ``reward_model.json`` (the trial's configuration and the prompt template), ``model.safetensors`` and
``backbone/`` (configuration, tokenizer, image processor in the hub's layout). Where parts of a pretrained backbone were
frozen, ``model.safetensors`` holds only what was trained, and loading takes the rest from the backbone's own folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import registry
from core.data.examples import PreferenceExample
from core.data.media import media_missing
from core.data.streams import stream_seed
from core.definition.trial import ParadigmConfig, PromptConfig, TrialConfig
from core.errors import DefinitionError, EnvironmentFault, IntegrityError
from core.models.backbone import Backbone, Batch, Encoded, Limits
from core.models.judgement import Judgement, Sampling
from core.models.locate import locate
from core.models.lora import ADAPTER, adapt, merge
from core.models.paradigms import Paradigm, Readout

__all__ = ["RewardModel", "build", "load_reward_model", "media_missing"]

FORMAT = 1
"""Version of the published folder."""


class RewardModel(nn.Module):
    """Scores responses.

    Args:
        config: the trial's configuration.
        backbone: examples to hidden states.
        paradigm: how rewards are read out of hidden states.
        head: features to rewards.
        template: text around the prompt, with ``{prompt}`` in it.
    """

    def __init__(self, config: TrialConfig, backbone: Backbone, paradigm: Paradigm, head: nn.Module, template: str | None) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.paradigm = paradigm
        self.head = head
        self.template = template
        self.cache_casts = True
        """Whether a forward pass in bf16 keeps the weights that it has cast until it ends."""
        self.limits = Limits(config.train.max_length, config.backbone.min_pixels, config.backbone.max_pixels, config.backbone.frames)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.parameters()).device

    def encode(self, example: PreferenceExample, responses: Sequence[int], limits: Limits | None = None) -> Encoded:
        """One example as tokens (on the CPU, safe in threads); see :meth:`Backbone.encode`."""
        return self.backbone.encode(example, responses, limits or self.limits, self.template)

    def collate(self, examples: Sequence[Encoded], towers: Collection[str] = ()) -> Batch:
        """Examples as a batch, one row per response; see :meth:`Backbone.collate`."""
        return self.backbone.collate(examples, towers)

    def encode_pair(self, example: PreferenceExample) -> Encoded:
        """What training reads of a pair; see :meth:`Paradigm.pair`."""
        return self.paradigm.pair(self.backbone, example, self.limits, self.template)

    def forward(self, batch: Batch) -> Readout:
        """The readout in fp32; the backbone runs in the precision of ``train.dtype``, paradigm and head in fp32."""
        kind = self.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.config.train.dtype == "bf16", cache_enabled=self.cache_casts):
            hidden = self.backbone(batch)
        with torch.autocast(kind, enabled=False):
            readout: Readout = self.paradigm(hidden, batch, self.head)
        return readout

    def freeze(self) -> None:
        """Keep the parts that ``train.freeze`` names as they are, and the language model beside adapters; the head is always trained."""
        lora = self.config.train.lora is not None
        for name in dict.fromkeys((*self.config.train.freeze, *(("language",) if lora else ()))):
            for parameter in (*self.backbone.part(name), *self.paradigm.part(name)):
                parameter.requires_grad_(False)
        if lora:
            for name, parameter in self.backbone.named_parameters():
                if ADAPTER in name:
                    parameter.requires_grad_(True)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of what is trained."""
        return ((name, value) for name, value in self.named_parameters() if value.requires_grad)

    def score(
        self, examples: Sequence[PreferenceExample], *, batch: int = 16, max_pixels: int | None = None, frames: int | None = None
    ) -> list[list[float]]:
        """The reward of every response of every example, for a paradigm that judges each response alone; see :meth:`judge`."""
        judged = self.judge(examples, batch=batch, max_pixels=max_pixels, frames=frames)
        return [[score for score in verdicts[0].scores if score is not None] for verdicts in judged]

    @torch.no_grad()
    def judge(
        self,
        examples: Sequence[PreferenceExample],
        *,
        batch: int = 16,
        max_pixels: int | None = None,
        frames: int | None = None,
        sampling: Sampling | None = None,
    ) -> list[list[Judgement]]:
        """The verdicts of the paradigm on the responses of every example.

        Dropout is off. Other examples in a batch change a score only by rounding. Examples whose media are absent
        (:func:`media_missing`) must be left out by the caller.

        Args:
            examples: with any number of responses each.
            batch: examples that are judged together.
            max_pixels: largest area of an image; ``None`` as in training.
            frames: frames of a video; ``None`` as in training.
            sampling: for paradigms that write; ``None``: one greedy text.

        Raises:
            TrialFailed: ``data_error`` with file and row: a medium cannot be read, or a response does not fit.
        """
        limits = Limits(self.limits.max_length, self.limits.min_pixels, max_pixels or self.limits.max_pixels, frames or self.limits.frames)
        was_training = self.training
        self.eval()
        try:
            out: list[list[Judgement]] = []
            for start in range(0, len(examples), batch):
                out += self.paradigm.judge(self, examples[start : start + batch], limits, sampling or Sampling())
            return out
        finally:
            self.train(was_training)

    def published_names(self) -> set[str]:
        """Weights that :meth:`save` writes: what was trained of a pretrained backbone, everything of a twin."""
        everything = set(self.state_dict())
        if self.config.rehearsal is not None:
            return everything
        frozen = {name for name, value in self.named_parameters() if not value.requires_grad}
        return everything - frozen

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Fill ``folder`` with everything that :func:`load_reward_model` needs.

        ``state`` holds the weights of :meth:`published_names` where the model itself does not: divided among ranks, or not the best ones.
        """
        names = self.published_names()
        state = self.state_dict() if state is None else state
        save_file({name: state[name].detach().cpu().contiguous() for name in sorted(names)}, str(folder / "model.safetensors"))
        (folder / "model.safetensors").chmod(0o644)  # the library writes it for its owner alone; a team reads results
        (folder / "backbone").mkdir()
        self.backbone.save(folder / "backbone")
        about = {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "template": self.template,
            "complete": names == set(self.state_dict()),
        }
        (folder / "reward_model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")


def build(config: TrialConfig, *, device: str = "cpu") -> RewardModel:
    """The reward model of a trial, before training, with frozen parts marked.

    The head has its own random stream: another head never changes a twin's backbone.

    Args:
        config: the effective configuration (see :meth:`TrialConfig.effective`).
        device: ``cpu`` or ``cuda``.

    Raises:
        EnvironmentFault: the weights are missing; it names ``--rehearse``.
    """
    backbone = registry.get("backbone", config.backbone.name).load().build(config)
    model = _assemble(config, backbone, read_template(config.prompt, config.paradigm))
    model.freeze()
    if config.execution.activation_checkpointing:
        backbone.checkpoint_activations()
    return model.to(device)


def _assemble(config: TrialConfig, backbone: Backbone, template: str | None) -> RewardModel:
    if config.train.lora is not None:
        adapt(backbone.language(), config.train.lora, config.seed)
    pooling = getattr(config.head, "pooling", "last")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "head"))
        head = registry.get("head", config.head.name).load()(backbone.hidden_size, config.head)
        torch.manual_seed(stream_seed(config.seed, "paradigm"))
        paradigm = registry.get("paradigm", config.paradigm.name).load()(config.paradigm, backbone, pooling)
    return RewardModel(config, backbone, paradigm, head, template)


def load_reward_model(folder: Path, *, device: str = "cpu") -> RewardModel:
    """A published reward model, in evaluation mode.

    Args:
        folder: what :meth:`RewardModel.save` has filled.
        device: ``cpu`` or ``cuda``.

    Raises:
        IntegrityError: a file is missing or damaged, or of another format.
        EnvironmentFault: frozen parts must come from the pretrained backbone, which is missing here.
    """
    try:
        about: dict[str, Any] = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
        weights = load_file(str(folder / "model.safetensors"))
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise IntegrityError(f"the published reward model cannot be read: {error}", found=str(folder)) from error
    if about.get("format") != FORMAT:
        raise IntegrityError("the reward model has another format", found=about.get("format"), allowed=str(FORMAT), place=folder)
    config = TrialConfig.model_validate(about["config"])
    kind = registry.get("backbone", config.backbone.name).load()
    complete = about["complete"]
    source = folder / "backbone" if complete else locate(config.backbone)
    backbone = kind.from_folder(source, attention=config.execution.attention, weights=not complete, twin=config.rehearsal is not None)
    model = _assemble(config, backbone, about["template"])
    lost, unknown = model.load_state_dict(weights, strict=False)
    if unknown or (complete and lost):
        raise IntegrityError("the weights do not fit the configuration beside them", found=f"{folder}: {', '.join([*lost, *unknown][:3])}")
    if config.train.lora is not None:
        merge(model.backbone.language())
    model.freeze()
    return model.to(device).eval()


def read_template(config: PromptConfig, paradigm: ParadigmConfig) -> str | None:
    """The text around the prompt: the trial's own file, or the one that ships for the paradigm.

    Raises:
        EnvironmentFault: the file is missing.
        DefinitionError: it lacks a place that the paradigm fills, such as ``{prompt}``.
        IntegrityError: it is not the text that the trial's identity names.
    """
    file = paradigm.PROMPT if config.file is None else Path(config.file)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"the prompt template cannot be read: {error.strerror}", found=str(file)) from error
    lost = [name for name in paradigm.PLACES if f"{{{name}}}" not in text]
    if lost:
        raise DefinitionError(
            f"the prompt template has no place for {{{lost[0]}}}",
            allowed=f"a text with {', '.join(f'{{{name}}}' for name in paradigm.PLACES)} in it",
            place=str(file),
        )
    found = hashlib.sha256(text.encode("utf-8")).hexdigest()
    if config.sha is not None and found != config.sha:
        raise IntegrityError("the prompt template has changed since the trial was planned", found=found, allowed=config.sha)
    return text
