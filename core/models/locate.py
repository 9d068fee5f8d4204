"""Where the weights of a backbone lie (no torch): asked by a launch before anything is queued, and again by the trial.

Searched in this order: ``backbone.path``; ``$SWEEP_MODELS/NAME``; the hub's cache (``$HF_HOME``) at the revision. Nothing is
downloaded here: a thousand trials must not start a thousand downloads, and a compute node often has no network.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from core.definition.trial import BackboneConfig, ExternalConfig, TrialConfig
from core.errors import EnvironmentFault

TRUSTED = "SWEEP_TRUST_REMOTE_CODE"
"""Environment variable with the names of public models whose own Python may run, separated by commas."""


def locate(config: BackboneConfig) -> Path:
    """The folder with the weights.

    Raises:
        EnvironmentFault: there is none; it says what was searched.
    """
    hub = config.HUB.get(config.name)
    searched: list[str] = []
    if config.path is not None:
        folders = [Path(config.path).expanduser()]
    elif os.environ.get("SWEEP_MODELS"):
        folders = [Path(os.environ["SWEEP_MODELS"]).expanduser() / config.name]
    else:
        folders = []
    for folder in folders:
        if (folder / "config.json").is_file():
            return folder.resolve()
        searched.append(str(folder))
    if config.path is None and hub is not None:
        cached = _cached(hub, config.revision)
        if cached is not None:
            return cached
        searched.append(f"the hub's cache for {hub}" + (f" at {config.revision}" if config.revision else ""))
    raise EnvironmentFault(
        f"the weights of {config.name} are not on this machine",
        found=(", ".join(searched) or "no `backbone.path`, and $SWEEP_MODELS is not set") + " (searched)",
        allowed=f"`backbone.path`, $SWEEP_MODELS/{config.name}"
        + (", or the hub's cache" if hub else "; the hub has no copy in this layout"),
        next=_bring(config),
    )


def _bring(config: BackboneConfig) -> str:
    """The next command where weights are missing."""
    hub = config.HUB.get(config.name)
    rehearse = "sweep launch DEFINITION --rehearse, which needs no weights"
    return (
        f"sweep fetch DEFINITION where the hub can be reached, or {rehearse}"
        if hub
        else f"set `backbone.path` to the model's folder, or {rehearse}"
    )


def _cached(hub: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def available(config: TrialConfig) -> None:
    """Whether the trial's backbone can be loaded here; a rehearsal needs nothing.

    Raises:
        EnvironmentFault: the weights are missing or incomplete; it names ``--rehearse``.
    """
    if config.rehearsal is not None:
        return
    folder = locate(config.backbone)
    if isinstance(config.backbone, ExternalConfig):  # its own files are its adapter's to judge
        check_trust(config.backbone)
        return
    check_architecture(folder, config.backbone)
    lost = missing_shards(folder, processor="image" in config.backbone.READS)
    if lost:
        raise EnvironmentFault(
            f"the copy of {config.backbone.name} is incomplete: {len(lost)} files are missing",
            found=f"{folder} without {', '.join(lost[:3])}",
            allowed="a complete copy of the model",
            next=_bring(config.backbone),
        )


def check_architecture(folder: Path, config: BackboneConfig) -> None:
    """Refuse a folder whose config.json names another architecture; what else is wrong with it shows when it is loaded.

    Raises:
        EnvironmentFault: it does.
    """
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return
    if config.MODEL_TYPE is not None and found not in (None, config.MODEL_TYPE):
        raise EnvironmentFault(
            f"the weights of {config.name} are of another architecture",
            found=f"model_type {found} in {folder / 'config.json'}",
            allowed=f"model_type {config.MODEL_TYPE}",
            next=config.OTHERS.get(found, "name the backbone that this checkpoint belongs to: sweep keys backbone"),
        )


def check_trust(config: BackboneConfig) -> None:
    """Refuse a public model whose own Python would run without anybody's word.

    Raises:
        EnvironmentFault: neither ``backbone.trust_remote_code`` nor :data:`TRUSTED` names it.
    """
    trusted = [name.strip() for name in os.environ.get(TRUSTED, "").split(",")]
    if isinstance(config, ExternalConfig) and config.REMOTE_CODE and not config.trust_remote_code and config.name not in trusted:
        raise EnvironmentFault(
            f"{config.name} brings Python of its own, which runs only where you say that it may",
            found=f"backbone.trust_remote_code: false, and ${TRUSTED} does not name it",
            allowed=f"backbone.trust_remote_code: true, or {TRUSTED}={config.name} (also as `env` of a cluster profile); "
            "best with a commit as backbone.revision",
            next=f"read the *.py files of {config.HUB.get(config.name, 'its folder')} first",
        )


def missing_shards(folder: Path, *, processor: bool) -> list[str]:
    """Files of the model that are absent: shards that its index names, tokenizer and, where it reads images, preprocessor files."""
    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    except (OSError, ValueError, KeyError, AttributeError):
        return [index.name]
    needed = [*sorted(names), "tokenizer_config.json", *(["preprocessor_config.json"] if processor else [])]
    return [name for name in needed if not (folder / name).is_file()]
