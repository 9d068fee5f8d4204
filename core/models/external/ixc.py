"""IXC-2.5-Reward (arXiv 2501.12368), ``internlm/internlm-xcomposer2d5-7b-reward`` on the hub: a scalar reward of one chat.

The folder brings its own Python. Its README (github.com/InternLM/InternLM-XComposer, InternLM-XComposer-2.5-Reward) gives the interface
that is used here: ``AutoModel`` with ``trust_remote_code``, ``model.tokenizer`` set by the caller, and in fp16
``model.get_score(chat, image_paths, hd_num=9)``, where ``chat`` is a list of ``{"role", "content"}``. R1-Reward's ``get_IXC_reward.py``,
whence the published numbers, calls it so for each response, and counts equal scores as right; here they are wrong, as for every other
model.

The Python in that folder was written for transformers 4; a folder that this version cannot load is named with what transformers says.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from core.data.examples import PreferenceExample
from core.data.media import MediaError, load_image, refuse
from core.data.streams import stream_seed
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.chat import TURNS, Dialect
from core.models.external.base import ExternalModel
from core.models.external.config import IXCRewardConfig
from core.models.judgement import Judgement, Sampling
from core.models.twin import twin_tokenizer

TWIN_CODE = Path(__file__).with_name("ixc_twin.txt")
"""The Python of the tiny twin, which has the public interface; text here, because it is no module of ours."""


class IXCReward(ExternalModel):
    """The public model behind ``get_score``."""

    def __init__(self, model: Any, tokenizer: Any, config: IXCRewardConfig) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config

    @classmethod
    def load(cls, folder: Path, config: TrialConfig, device: str) -> Self:
        """See :meth:`ExternalModel.load`."""
        assert isinstance(config.backbone, IXCRewardConfig)
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=True, local_files_only=True)
            half = torch.float16 if device == "cuda" else torch.float32
            model = AutoModel.from_pretrained(str(folder), dtype=half, trust_remote_code=True, local_files_only=True)
        except Exception as error:  # the folder's own Python may raise anything
            raise EnvironmentFault(
                f"the model folder cannot be loaded: {type(error).__name__}: {error}",
                found=str(folder),
                allowed="internlm-xcomposer2d5-7b-reward, whose Python may want an older transformers",
            ) from error
        if not hasattr(model, "get_score"):
            raise EnvironmentFault(
                "the model has no get_score", found=f"{type(model).__name__} in {folder}", allowed="internlm-xcomposer2d5-7b-reward"
            )
        model.tokenizer = tokenizer
        return cls(model.to(device).eval(), tokenizer, config.backbone)

    @classmethod
    def write_twin(cls, folder: Path, config: TrialConfig) -> None:
        """See :meth:`ExternalModel.write_twin`."""
        shutil.copyfile(TWIN_CODE, folder / "modeling_ixc_twin.py")
        tokenizer = twin_tokenizer(Dialect("IXC-2.5-Reward", None, TURNS))
        tokenizer.save_pretrained(str(folder))
        classes = {"AutoConfig": "modeling_ixc_twin.TwinConfig", "AutoModel": "modeling_ixc_twin.TwinReward"}
        about = {"model_type": "ixc_twin", "auto_map": classes, "vocab_size": len(tokenizer)}
        (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "backbone"))
            shape = AutoConfig.from_pretrained(str(folder), trust_remote_code=True)
            AutoModel.from_config(shape, trust_remote_code=True).save_pretrained(str(folder))
        (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")  # as it was, without what transformers has added

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
        """One reward per response, one call each; the model tiles images itself, whatever ``max_pixels`` says."""
        with tempfile.TemporaryDirectory() as folder:
            return [[self._judged(example, Path(folder))] for example in examples]

    def _judged(self, example: PreferenceExample, folder: Path) -> Judgement:
        images = image_files(example, folder)
        scores = []
        for response in example.responses:
            half = torch.autocast("cuda", dtype=torch.float16) if self.model.device.type == "cuda" else nullcontext()
            with half:
                scores.append(float(self.model.get_score(chat_of(example, response.text), images, hd_num=self.config.hd_num)))
        if not all(map(math.isfinite, scores)):
            raise TrialFailed("nan_loss", f"{example.origin or example.id}: the model's scores are {scores}")
        count = len(scores)
        return Judgement(tuple(range(count)), tuple(scores), (None,) * count)


def chat_of(example: PreferenceExample, response: str) -> list[dict[str, str]]:
    """The chat in the form that ``get_score`` takes: turns of user and assistant, what the system says in front of the first one."""
    system = [turn.text for turn in example.history if turn.role == "system"]
    turns = [(turn.role, turn.text) for turn in example.history if turn.role != "system"] + [("user", example.prompt)]
    chat = [{"role": role, "content": text.replace("<image>", "").strip()} for role, text in turns]
    chat[0]["content"] = "\n".join([*system, chat[0]["content"]])
    return [*chat, {"role": "assistant", "content": response}]


def image_files(example: PreferenceExample, folder: Path) -> list[str]:
    """Paths of the images; those that are in memory, or inside another file, are written into ``folder`` first.

    Raises:
        TrialFailed: ``data_error``: an image cannot be read, or a medium is a video.
    """
    found = []
    for number, media in enumerate(example.media):
        try:
            if media.kind != "image":
                raise MediaError("IXC-2.5-Reward reads images, and the example has a video")
            picture = load_image(media)
        except MediaError as error:
            raise refuse(example, error) from error
        if media.path is not None and media.data is None and media.member is None:
            found.append(str(media.path))
        else:
            file = folder / f"{number}.png"
            picture.save(file)
            found.append(str(file))
    return found
