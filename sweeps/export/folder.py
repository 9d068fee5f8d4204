"""A reward model as a Hugging Face folder: backbone, tokenizer and image processor in the hub's layout, and the head beside them.

=========================== ==========================================================================================
``config.json``, ``*.safetensors`` the backbone without language-model head, as transformers writes it, in fp32
``reward_head.safetensors``  the head, of paradigms that have one
``language_head.safetensors`` what writes, of paradigms that write, unless it is tied to the embeddings
``reward_config.json``       how prompts, images and responses become a reward
``reward_model.py``          the one file that puts them together; it needs transformers and none of this project
``README.md``                the model card
=========================== ==========================================================================================

What cannot be written down in data is refused: heads, paradigms and backbones of one's own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from core.definition.trial import ParadigmConfig
from core.errors import DefinitionError, UsageError
from core.models.chat_backbone import ChatBackbone
from core.models.config import CriticConfig, GenerativeConfig, GenerativeCotConfig, MLPHeadConfig, NaiveConfig, NoHeadConfig
from core.models.reward_model import RewardModel
from core.workspace.files import fault, rename_onto

FORMAT = 2
"""Version of reward_config.json."""

PARADIGMS: dict[type[ParadigmConfig], str | None] = {
    NaiveConfig: None,
    CriticConfig: None,
    GenerativeConfig: r"^\s*([12])\s*\.?\s*$",
    GenerativeCotConfig: r"<answer>\s*([12])\s*</answer>",
}
"""Paradigms that the loader knows, with the pattern that finds the answer in a text (see :mod:`core.models.judges`)."""

LOADER = Path(__file__).with_name("reward_model.py")
"""The file that is copied into every exported folder."""


def write_folder(target: Path, model: RewardModel, card: str) -> None:
    """Fill a new folder; nothing is left behind where that fails.

    Args:
        target: must not exist, or be empty.
        model: a trained model.
        card: text of the model card.

    Raises:
        UsageError: the folder is there already.
        DefinitionError: the model has components of one's own, which the folder could not carry.
        EnvironmentFault: the folder cannot be written.
    """
    about = _reward_config(model)
    refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise fault(error, target) from error
    try:
        _fill(staging, model, about, card)
        if not rename_onto(staging, target):
            refuse_existing(target)
    except OSError as error:
        raise fault(error, target) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """Refuse a target that holds something.

    Raises:
        UsageError: it does.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError("the folder is there already", found=str(target), allowed="a new or empty folder", next="give another one with -o")


def _fill(folder: Path, model: RewardModel, about: dict[str, Any], card: str) -> None:
    folder.chmod(0o777 & ~_umask())
    backbone: Any = model.backbone
    backbone.model.save_pretrained(str(folder))
    backbone.save(folder)
    parts: dict[str, Any] = {"reward_head": model.head.state_dict() if model.config.paradigm.HEAD else {}}
    language: Any = getattr(model.paradigm, "language", None)
    parts["language_head"] = language.state_dict() if about["writes"] else {}
    for name, state in parts.items():
        if state:
            weights = {key: value.detach().cpu().contiguous() for key, value in state.items()}
            save_file(weights, str(folder / f"{name}.safetensors"), metadata={"format": "pt"})
    (folder / "reward_config.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(LOADER, folder / LOADER.name)
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o666 & ~_umask())  # the library writes it for its owner alone


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reward_config(model: RewardModel) -> dict[str, Any]:
    """What :mod:`sweeps.export.reward_model` must know."""
    config, backbone = model.config, model.backbone
    parts: tuple[tuple[str, str, Callable[[], bool]], ...] = (
        ("head", config.head.name, lambda: type(config.head) is (MLPHeadConfig if config.paradigm.HEAD else NoHeadConfig)),
        ("paradigm", config.paradigm.name, lambda: type(config.paradigm) in PARADIGMS),
        ("backbone", config.backbone.name, lambda: isinstance(backbone, ChatBackbone) and type(backbone).__module__.startswith("core.")),
    )
    for kind, name, known in parts:
        if not known():
            raise DefinitionError(
                f"a {kind} of one's own cannot be exported: a folder without this project could not compute it",
                found=name,
                allowed="the heads, paradigms and backbones that ship with the project",
            )
    assert isinstance(backbone, ChatBackbone)
    head = config.head
    return {
        "format": FORMAT,
        "model": backbone.model_class.__name__,
        "processor": backbone.processor_class.__name__ if backbone.processor is not None else None,
        "dtype": config.train.dtype,
        "max_length": config.train.max_length,
        "paradigm": config.paradigm.name,
        "writes": config.paradigm.PROMPT is not None,
        "max_new_tokens": getattr(config.paradigm, "max_new_tokens", 0),
        "answer": PARADIGMS[type(config.paradigm)],
        "template": model.template,
        "system": backbone.dialect.system,
        "start": backbone.dialect.control["im_start"],
        "end": backbone.dialect.control["im_end"],
        "image": backbone.image_recipe(model.limits),
        "pooling": getattr(head, "pooling", "last"),
        "head": {"layers": head.layers, "activation": head.activation} if isinstance(head, MLPHeadConfig) else None,
    }
