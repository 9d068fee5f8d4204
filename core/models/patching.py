"""Images as patches, the way that the Qwen-VL families' Pillow processor makes them and equal to it to the bit, in a quarter of its time.

The processor turns a picture into floats, rescales and normalises them, and cuts what it has. But a pixel has one of 256 values in each
channel: so the processor itself is asked once what it makes of each, and pictures are cut first and looked up in that table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize


class Patcher:
    """Cuts pictures as one processor does.

    Args:
        processor: the family's; one with other steps than resizing, rescaling and normalising is left to do the work itself.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        steps = (processor.do_resize, processor.do_rescale, processor.do_normalize)
        self.known = type(processor) is Qwen2VLImageProcessorPil and all(steps)
        levels = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), (3, 16, 16))
        floats = processor.rescale(np.ascontiguousarray(levels), processor.rescale_factor)
        values = processor.normalize(floats, processor.image_mean, processor.image_std)
        self.table = np.asarray(values, dtype=np.float32).reshape(3, 256)

    def cut(self, image: Image.Image, size: dict[str, int]) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
        """Patches ``[height * width, channels * time * patch * patch]`` of a picture in RGB, and the grid of them.

        Args:
            image: the picture.
            size: ``shortest_edge`` and ``longest_edge``: smallest and largest area in pixels.

        Raises:
            ValueError: the picture is more than 200 times as long as wide.
        """
        processor = self.processor
        if not self.known:
            values = processor(images=[image], size=size, return_tensors="np")
            time, height, width = (int(value) for value in values["image_grid_thw"][0])
            return np.ascontiguousarray(values["pixel_values"], dtype=np.float32), (time, height, width)
        patch, merge, times = processor.patch_size, processor.merge_size, processor.temporal_patch_size
        height, width = smart_resize(
            image.height, image.width, factor=patch * merge, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
        )
        if image.size != (width, height):
            image = image.resize((width, height), resample=processor.resample)
        rows, columns = height // patch, width // patch
        pixels = np.asarray(image).reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
        cut = pixels.transpose(6, 0, 3, 1, 4, 2, 5).reshape(3, rows * columns, 1, patch * patch)
        out = np.empty((rows * columns, 3, times, patch * patch), dtype=np.float32)
        for channel in range(3):  # a still picture fills all times of a patch
            out[:, channel] = self.table[channel][cut[channel]]
        return out.reshape(rows * columns, -1), (1, rows, columns)
