"""Measure what encoding each pair's image once saves, against encoding it once per response.

``python bench/vision_once.py`` builds a small Qwen2.5-VL (256 wide, 6 + 6 layers, random weights), takes generated pairs with
images of 224 x 224, and times forward and backward passes of both ways in turn, in CPU seconds of one thread. Both give the
same rewards, which is asserted first. The numbers depend on the share of the vision tower in the work: on a GPU and on the real
model they differ.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from PIL import Image
from transformers import Qwen2_5_VLModel

from core.data.examples import Media
from core.data.generated import generate_pairs
from core.definition.trial import TrialConfig
from core.models.backbone import Batch
from core.models.qwen2_5_vl import Qwen25VL
from core.models.reward_model import RewardModel, build
from core.models.twin import twin_tokenizer

PAIRS = 2
SIDE = 224
ROUNDS = 5


def small_model(freeze: list[str]) -> RewardModel:
    """A model in which the vision tower is about as deep as the language model."""
    base = {
        "backbone": "qwen2.5-vl-7b",
        "data": {"sources": {"a": {}}},
        "train": {"steps": 1, "max_length": 2048, "freeze": freeze},
        "rehearsal": {},
    }
    config = TrialConfig.model_validate(base)
    tokenizer = twin_tokenizer(Qwen25VL.dialect)
    shape = Qwen25VL.twin_shape("qwen2.5-vl-7b", tokenizer).to_dict()
    shape["text_config"] |= {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 16}
    shape["text_config"] |= {"num_key_value_heads": 16, "layer_types": None}
    shape["vision_config"] |= {"depth": 6, "hidden_size": 256, "intermediate_size": 512, "num_heads": 8, "out_hidden_size": 256}
    model = Qwen2_5_VLModel._from_config(Qwen2_5_VLModel.config_class(**shape), attn_implementation="sdpa", dtype=torch.float32)
    backbone = Qwen25VL(model, tokenizer, Qwen25VL.twin_processor(), twin=False)
    small = build(config.effective())
    head = torch.nn.Linear(256, 1)
    wide = RewardModel(config.effective(), backbone, small.paradigm, torch.nn.Sequential(head, torch.nn.Flatten(0)), None)
    wide.freeze()
    return wide


def doubled(batch: Batch) -> Batch:
    """The same rows with every image handed over once per response."""
    assert batch.images is not None and batch.image_grid is not None
    pixels = torch.split(batch.images, batch.image_grid.prod(1).tolist())
    return replace(
        batch,
        images=torch.cat([pixels[index] for index in batch.image_use]),
        image_grid=batch.image_grid[list(batch.image_use)],
        image_use=tuple(range(len(batch.image_use))),
    )


def seconds(work: Callable[[Batch], object], batch: Batch) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work(batch)
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    examples = []
    for example in generate_pairs(PAIRS, 0, split="train"):
        out = io.BytesIO()
        with Image.open(io.BytesIO(example.media[0].data or b"")) as image:
            image.resize((SIDE, SIDE)).save(out, format="PNG")
        examples.append(replace(example, media=(Media("image", data=out.getvalue()),)))
    for freeze in ([], ["vision"]):
        model = small_model(freeze)
        limits = replace(model.limits, max_length=2048, max_pixels=SIDE * SIDE)
        once = model.collate([model.encode(example, (0, 1), limits) for example in examples])
        twice = doubled(once)
        assert torch.allclose(model(once).rewards, model(twice).rewards, atol=1e-5)

        def step(batch: Batch, model: RewardModel = model) -> None:
            model(batch).rewards.sum().backward()

        ratios = []
        for _ in range(ROUNDS):
            slow = seconds(step, twice)
            ratios.append(slow / seconds(step, once))
        result = {
            "frozen": freeze,
            "row_tokens": int(once.mask.sum()) // (2 * PAIRS),
            "image_tokens": int((once.types == 1).sum()) // (2 * PAIRS),
            "speedup": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
