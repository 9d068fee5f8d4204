"""What the Qwen-VL families share: patches of any resolution, M-RoPE positions, and one pass of the vision tower per medium.

Without ``mm_token_type_ids`` transformers gives images one-dimensional positions: positions are computed in ``encode``, from types
that must agree with the ids.

torchvision is not needed: images go through the Pillow image processor, the frames of a video too, two by two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import Qwen2VLImageProcessorPil
from transformers.modeling_outputs import BaseModelOutputWithPooling

from core.data.examples import Media
from core.data.media import MediaError, load_frames, load_image
from core.models.backbone import Batch, Limits, Part, Patches, counted_for_nothing
from core.models.chat import SYSTEM, TURNS, Dialect
from core.models.chat_backbone import ChatBackbone
from core.models.patching import Patcher
from core.models.twin import MAX_PIXELS

FRAMES_PER_SECOND = 2.0
"""Assumed rate of sampled frames, from which positions in time follow: a frame folder does not say, 2 is the family's default."""

CONTROL = {**TURNS, **{name: f"<|{name}|>" for name in ("vision_start", "vision_end", "image_pad", "video_pad")}}
"""Control tokens of the family."""

MERGERS = ("merger.", "deepstack_merger_list.")
"""Beginnings of the names of the weights that carry what the vision tower sees into the language model."""


class QwenVL(ChatBackbone):
    """A member of a Qwen-VL family."""

    dialect = Dialect("Qwen2-VL", SYSTEM, CONTROL)
    processor_class = Qwen2VLImageProcessorPil

    patch: ClassVar[int] = 14
    """Width and height of a patch of the twin, as in the family."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, twin: bool) -> None:
        super().__init__(model, tokenizer, processor, twin=twin)
        self.patcher = Patcher(processor)

    @classmethod
    def twin_processor(cls) -> Any:
        """The family's image processor with the twin's limits."""
        size = {"shortest_edge": (2 * cls.patch) ** 2, "longest_edge": MAX_PIXELS}
        return Qwen2VLImageProcessorPil(patch_size=cls.patch, temporal_patch_size=2, merge_size=2, size=size)

    @classmethod
    def twin_ids(cls, tokenizer: Any) -> dict[str, int]:
        """The ids of control tokens that the families' configurations ask for."""
        names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
        names |= {f"{name}_token_id": name for name in ("vision_start", "vision_end")}
        return {key: tokenizer.convert_tokens_to_ids(CONTROL[name]) for key, name in names.items()}

    def part(self, name: Part) -> list[nn.Parameter]:
        """The parameters of ``vision`` (without its mergers), ``merger`` or ``language``."""
        if name == "language":
            return list(self.model.language_model.parameters())
        return [value for key, value in self.model.visual.named_parameters() if key.startswith(MERGERS) == (name == "merger")]

    # -- encoding: on the CPU, in loader threads ------------------------------------------------------------------------

    def patches(self, media: Media, limits: Limits) -> Patches:
        """An image, or the frames of a video two by two, in the resolution that the limits leave."""
        if media.kind == "image":
            out = self._process([load_image(media)], self._size(limits, self.processor.size))
            return Patches("image", out[0][0], out[0][1])
        frames = load_frames(media, limits.frames)
        frames += [frames[-1]] * (len(frames) % 2)
        frames = [frame if frame.size == frames[0].size else frame.resize(frames[0].size) for frame in frames]
        # Smallest and largest area of a video's frame in the families' own video processors: 128 and 768 tokens.
        token = (self.processor.patch_size * self.processor.merge_size) ** 2
        out = self._process(frames, self._size(limits, {"shortest_edge": 128 * token, "longest_edge": 768 * token}))
        _, height, width = out[0][1]
        values = np.stack([pixels for pixels, _ in out]).reshape(len(out) // 2, 2, height * width, 3, 2, -1)
        # The image processor repeats a picture over both time slots of a patch: here the second slot is the next frame.
        merged = np.stack([values[:, 0, :, :, 0], values[:, 1, :, :, 0]], axis=3)
        return Patches("video", merged.reshape(len(out) // 2 * height * width, -1), (len(out) // 2, height, width))

    def _process(self, images: list[Image.Image], size: dict[str, int]) -> list[tuple[NDArray[np.float32], tuple[int, int, int]]]:
        try:
            return [self.patcher.cut(image, size) for image in images]
        except ValueError as error:
            raise MediaError(f"the image cannot be processed: {error}") from error

    def _size(self, limits: Limits, own: Any) -> dict[str, int]:
        low = limits.min_pixels if limits.min_pixels is not None else own["shortest_edge"]
        high = limits.max_pixels if limits.max_pixels is not None else own["longest_edge"]
        if self.twin:
            high = min(high, MAX_PIXELS)
            low = (self.processor.patch_size * self.processor.merge_size) ** 2
        return {"shortest_edge": min(low, high), "longest_edge": high}

    def place(self, patches: Patches) -> list[int]:
        """One place per feature, between the tokens that begin and end a medium."""
        control = self.chat.control
        places = int(np.prod(patches.grid)) // self.processor.merge_size**2
        return [control["vision_start"], *[control[f"{patches.kind}_pad"]] * places, control["vision_end"]]

    def image_recipe(self, limits: Limits) -> dict[str, Any]:
        """See :meth:`ChatBackbone.image_recipe`."""
        before, place, after = (CONTROL[name] for name in ("vision_start", "image_pad", "vision_end"))
        size = self._size(limits, self.processor.size)
        return {
            "arguments": {"size": size},
            "merge": self.processor.merge_size,
            "before": before,
            "place": place,
            "after": after,
            "text": "",
        }

    def positions(self, ids: NDArray[np.int64], types: NDArray[np.int64], media: Sequence[Patches]) -> NDArray[np.int64]:
        """``[3, length]``: M-RoPE positions of the prompt; those of videos are transformers' own."""
        if not media:
            return super().positions(ids, types, media)
        if all(item.kind == "image" for item in media):
            return image_positions(types, [item.grid for item in media], self.processor.merge_size)
        grids = {kind: [item.grid for item in media if item.kind == kind] for kind in ("image", "video")}
        seconds = self.processor.temporal_patch_size / FRAMES_PER_SECOND
        positions, _ = self.model.get_rope_index(
            torch.from_numpy(ids)[None],
            torch.from_numpy(types)[None],
            image_grid_thw=torch.tensor(grids["image"]) if grids["image"] else None,
            video_grid_thw=torch.tensor(grids["video"]) if grids["video"] else None,
            second_per_grid_ts=[seconds] * len(grids["video"]) if grids["video"] else None,
        )
        return np.asarray(positions[:, 0].numpy())

    # -- computing ------------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Tensor:
        """See :meth:`Backbone.forward`; the vision tower runs once per medium, whatever the number of responses."""
        if not batch.ids.is_cuda:  # on a GPU these comparisons would wait for the device; `collate` has made them
            self.check(batch)
        unused = self.idle(batch)
        hidden: Tensor = self.model(
            input_ids=batch.ids,
            attention_mask=self.mask(batch),
            position_ids=batch.positions,
            use_cache=False,
            **self.seen(batch),
        ).last_hidden_state
        return counted_for_nothing(hidden, unused)

    def seen(self, batch: Batch) -> dict[str, Any]:
        """See :meth:`ChatBackbone.seen`."""
        media: dict[str, Any] = {}
        if batch.images is not None and batch.image_use:
            seen = self.model.get_image_features(batch.images, batch.image_grid, return_dict=True)
            media["image"] = self.repeat(seen, batch.image_use)
        if batch.videos is not None and batch.video_use:
            seen = self.model.get_video_features(batch.videos, batch.video_grid, return_dict=True)
            media["video"] = self.repeat(seen, batch.video_use)
        return {"mm_token_type_ids": batch.types, "mm_encoder_outputs": media}

    def idle(self, batch: Batch) -> list[Tensor]:
        """See :meth:`ChatBackbone.idle`."""
        found: list[Tensor] = []
        if batch.images is not None and not batch.image_use:
            found += self.values(self.model.get_image_features(batch.images, batch.image_grid, return_dict=True))
        if batch.videos is not None and not batch.video_use:
            found += self.values(self.model.get_video_features(batch.videos, batch.video_grid, return_dict=True))
        return found

    def axes(self, positions: Tensor) -> Tensor:
        """Time, height and width."""
        return positions

    def mask(self, batch: Batch) -> Any:
        """What the model takes as attention mask.

        Rows are padded on the right, so that causal attention alone keeps every token from padding: no mask is needed, and none is
        built. Eager attention knows no causality without one.
        """
        eager = self.text_config._attn_implementation == "eager"
        return batch.mask if eager else {"full_attention": None, "sliding_attention": None}

    def values(self, seen: Any) -> list[Tensor]:
        """All that the vision tower hands to the language model."""
        return list(seen.pooler_output)

    def repeat(self, seen: Any, use: Sequence[int]) -> Any:
        """The features of each medium once per place in which it stands."""
        return BaseModelOutputWithPooling(pooler_output=[seen.pooler_output[index] for index in use])


def image_positions(types: NDArray[np.int64], grids: Sequence[tuple[int, int, int]], merge: int) -> NDArray[np.int64]:
    """``[3, length]``: M-RoPE positions of text with images, as ``get_rope_index`` of transformers' models gives them, without a tensor.

    A token of text stands one further in time, height and width than the one before; the places of an image share one time, count
    its rows and columns from there, and what follows them stands behind the longer side.

    Args:
        types: 0 for text, 1 for the places of images.
        grids: patches in time (1), height and width of each image.
        merge: patches of a place in each direction.
    """
    out = np.empty((3, len(types)), dtype=np.int64)
    done = following = 0
    for _, height, width in grids:
        rows, columns = height // merge, width // merge
        text = int(np.argmax(types[done:]))
        out[:, done : done + text] = np.arange(following, following + text)
        done, following = done + text, following + text
        place = out[:, done : done + rows * columns]
        place[0] = following
        place[1] = np.repeat(np.arange(rows), columns) + following
        place[2] = np.tile(np.arange(columns), rows) + following
        done, following = done + rows * columns, following + max(rows, columns)
    out[:, done:] = np.arange(following, following + len(types) - done)
    return out
