"""InternVL2 and InternVL3 in transformers' own classes: an image is cut into square tiles, each with a fixed number of features.

``max_pixels`` and ``min_pixels`` bound the number of tiles (448 x 448 pixels each, at most 12, and one more of the whole image
where there are several); images and frames are counted alike, and a frame of a video is one tile. transformers' classes read
checkpoints in its own layout: the hub's ``OpenGVLab/InternVL3-*B-hf``. The original repositories (``model_type``
``internvl_chat``) carry code and weights in another layout, and InternVL2-8B has no other: its weights must be
converted once, as transformers' ``convert_internvl_weights_to_hf.py`` does for its successors.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GotOcr2ImageProcessorPil, InternVLConfig, InternVLModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from core.data.examples import Media
from core.data.media import MediaError, load_frames, load_image
from core.models.backbone import Batch, Limits, Part, Patches, counted_for_nothing
from core.models.chat import TURNS, Dialect
from core.models.chat_backbone import ChatBackbone
from core.models.config import InternVLConfig as InternVLFamily
from core.models.twin import MAX_PIXELS, VISION_WIDTH, text_shape

WIDTHS = {"internvl2-8b": 80, "internvl3-1b": 32, "internvl3-2b": 48, "internvl3-8b": 64}
"""Hidden width of the twins (16 per attention head)."""

LANGUAGE = {"internvl2-8b": "llama"}
"""Members whose language model is not a Qwen2: InternVL2-8B's InternLM2.5 has the layers of a Llama."""

TILE = 56
"""Width and height of a tile of the twins in pixels."""

PATCH = 14
"""Width and height of a patch in pixels."""

MAX_TILES = 12
"""Most tiles of an image, without the one of the whole image (InternVL's own default)."""


class InternVL(ChatBackbone):
    """A member of the family."""

    dialect = Dialect("InternVL", None, {**TURNS, "image_start": "<img>", "image_end": "</img>", "image_pad": "<IMG_CONTEXT>"})
    model_class = InternVLModel
    processor_class = GotOcr2ImageProcessorPil
    other_architecture: ClassVar = InternVLFamily.OTHERS

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, twin: bool) -> None:
        super().__init__(model, tokenizer, processor, twin=twin)
        vision = model.config.vision_config
        self.tile = int(vision.image_size[0])
        self.features = int((self.tile // vision.patch_size[0] * model.config.downsample_ratio) ** 2)

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> InternVLConfig:
        """The twin's architecture."""
        width = WIDTHS[name]
        return InternVLConfig(
            text_config=text_shape(width, tokenizer) | {"model_type": LANGUAGE.get(name, "qwen2")},
            vision_config={
                "hidden_size": VISION_WIDTH,
                "intermediate_size": 2 * VISION_WIDTH,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "image_size": [TILE, TILE],
                "patch_size": [PATCH, PATCH],
                "layer_scale_init_value": 1.0,
                "initializer_range": 0.05,
            },
            image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=(TILE // PATCH // 2) ** 2,
        )

    @classmethod
    def twin_processor(cls) -> Any:
        """The family's image processor with the twin's tiles."""
        return GotOcr2ImageProcessorPil(
            size={"height": TILE, "width": TILE}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
        )

    def part(self, name: Part) -> list[nn.Parameter]:
        """The parameters of ``vision``, ``merger`` (the projector) or ``language``."""
        parts = {"vision": self.model.vision_tower, "merger": self.model.multi_modal_projector, "language": self.model.language_model}
        return list(parts[name].parameters())

    def towers(self, media: Collection[str]) -> frozenset[str]:
        """The model knows images alone: the frames of a video are some."""
        return frozenset({"image"} if media else ())

    def tiles(self, limits: Limits) -> tuple[int, int]:
        """Fewest and most tiles of an image."""
        area = self.tile**2
        high = min(limits.max_pixels or MAX_TILES * area, MAX_PIXELS if self.twin else MAX_TILES * area)
        most = max(1, min(MAX_TILES, high // area))
        return min(most, max(1, -(-(0 if self.twin else limits.min_pixels or 0) // area))), most

    def image_recipe(self, limits: Limits) -> dict[str, Any]:
        """See :meth:`ChatBackbone.image_recipe`."""
        control = self.dialect.control
        return {
            "arguments": self._arguments(limits, cut=True),
            "features": self.features,
            "before": control["image_start"],
            "place": control["image_pad"],
            "after": control["image_end"],
            "text": "\n",
        }

    def _arguments(self, limits: Limits, *, cut: bool) -> dict[str, Any]:
        """What the image processor is asked for."""
        low, high = self.tiles(limits)
        return {"crop_to_patches": cut and high > 1, "min_patches": low, "max_patches": high}

    def patches(self, media: Media, limits: Limits) -> Patches:
        """The tiles ``[tiles, 3, height, width]`` of an image, or one tile per frame of a video.

        Both are kind ``image``, for the model knows no other; the grid holds tiles, frames (0 for an image) and features of a tile.
        """
        arguments = self._arguments(limits, cut=media.kind == "image")
        pictures = [load_image(media)] if media.kind == "image" else load_frames(media, limits.frames)
        out = []
        for picture in pictures:
            try:
                values = self.processor(images=[picture], return_tensors="np", **arguments)
            except ValueError as error:
                raise MediaError(f"the image cannot be processed: {error}") from error
            out.append(np.asarray(values["pixel_values"], dtype=np.float32))
        pixels = np.concatenate(out)
        return Patches("image", pixels, (len(pixels), 0 if media.kind == "image" else len(pictures), self.features))

    def place(self, patches: Patches) -> list[int]:
        """An image is one run of places; the frames of a video are numbered, each with its own run."""
        control, (tiles, frames, features) = self.chat.control, patches.grid
        each = tiles // max(frames, 1) * features
        run = [control["image_start"], *[control["image_pad"]] * each, control["image_end"], *self.chat.text("\n")]
        if frames == 0:
            return run
        return [id for number in range(frames) for id in [*self.chat.text(f"Frame{number + 1}: "), *run]]

    def forward(self, batch: Batch) -> Tensor:
        """See :meth:`Backbone.forward`; the vision tower runs once per tile, whatever the number of responses."""
        if not batch.ids.is_cuda:  # on a GPU these comparisons would wait for the device; `collate` has made them
            self.check(batch)
        unused = self.idle(batch)
        # No mask: rows are padded on the right, and the language model builds its own causal mask where its attention needs one.
        hidden: Tensor = self.model(input_ids=batch.ids, use_cache=False, **self.seen(batch)).last_hidden_state
        return counted_for_nothing(hidden, unused)

    def seen(self, batch: Batch) -> dict[str, Any]:
        """See :meth:`ChatBackbone.seen`."""
        media: dict[str, Any] = {}
        if batch.images is not None and batch.image_grid is not None and batch.image_use:
            seen = self.model.get_image_features(batch.images, return_dict=True).pooler_output
            each = seen.split(batch.image_grid[:, 0].tolist())
            media["image"] = BaseModelOutputWithPooling(pooler_output=torch.cat([each[index] for index in batch.image_use]))
        return {"mm_encoder_outputs": media}

    def idle(self, batch: Batch) -> list[Tensor]:
        """See :meth:`ChatBackbone.idle`."""
        if batch.images is None or batch.image_use:
            return []
        return [self.model.get_image_features(batch.images, return_dict=True).pooler_output]
