"""R1-Reward (arXiv 2505.02835), ``yifanzhang114/R1-Reward`` on the hub: a Qwen2.5-VL-7B that judges pairs in writing.

The prompt, the area of images (1003520 // 2 pixels) and the longest text (4,096 tokens) are those of ``inference/*/r1_reward.py`` in
github.com/yfzhang114/r1_reward. Where those scripts show each pair in one order, with the preferred response first, both orders are shown
here; and where they take the last 1 or 2 of a text without ``<answer>``, such a text counts as unparsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from transformers import Qwen2_5_VLForConditionalGeneration

from core.data.examples import PreferenceExample
from core.definition.trial import TrialConfig
from core.models.config import PROMPTS, NoHeadConfig
from core.models.external.base import ExternalModel, new_tokens
from core.models.heads import NoHead
from core.models.judgement import Judgement, Sampling
from core.models.judges import GenerativeCot
from core.models.qwen2_5_vl import Qwen25VL
from core.models.reward_model import RewardModel, read_template
from core.models.twin import random_model, twin_tokenizer

TEMPLATE = PROMPTS / "r1_reward.txt"
MEMBER = "qwen2.5-vl-7b"


class R1Reward(ExternalModel):
    """Our paradigm `generative_cot` with the public weights and their own prompt."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model
        self.tokenizer = model.backbone.tokenizer

    @classmethod
    def load(cls, folder: Path, config: TrialConfig, device: str) -> Self:
        """See :meth:`ExternalModel.load`."""
        own = config.backbone
        judge = TrialConfig.model_validate(
            {
                "paradigm": {"name": "generative_cot", "max_new_tokens": new_tokens(config)},
                "backbone": {"name": MEMBER, "max_pixels": own.max_pixels, "min_pixels": own.min_pixels, "frames": own.frames},
                "head": {"name": "none"},
                "data": {"sources": {}, "held_out": 0},
                "loss": {},
                "prompt": {"file": str(TEMPLATE)},
                "train": {"steps": 0, "max_length": config.train.max_length, "dtype": config.train.dtype},
            }
        )
        backbone = Qwen25VL.from_folder(folder, attention=config.execution.attention)
        paradigm = GenerativeCot(judge.paradigm, backbone, "last")  # type: ignore[arg-type]  # the one that was named above
        head = NoHead(backbone.hidden_size, NoHeadConfig())
        return cls(RewardModel(judge, backbone, paradigm, head, read_template(judge.prompt, judge.paradigm)).to(device).eval())

    @classmethod
    def write_twin(cls, folder: Path, config: TrialConfig) -> None:
        """See :meth:`ExternalModel.write_twin`."""
        tokenizer = twin_tokenizer(Qwen25VL.dialect, [TEMPLATE.read_text(encoding="utf-8")])
        shape = Qwen25VL.twin_shape(MEMBER, tokenizer)
        random_model(Qwen2_5_VLForConditionalGeneration, shape, config.seed, "sdpa").save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        Qwen25VL.twin_processor().save_pretrained(str(folder))

    def judge(
        self,
        examples: Sequence[PreferenceExample],
        *,
        batch: int = 16,
        max_pixels: int | None = None,
        frames: int | None = None,
        sampling: Sampling | None = None,
    ) -> list[list[Judgement]]:
        """See :meth:`ExternalModel.judge`."""
        return self.model.judge(examples, batch=batch, max_pixels=max_pixels, frames=frames, sampling=sampling)
