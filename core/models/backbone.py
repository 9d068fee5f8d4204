"""What a backbone is: examples become rows of tokens, rows become hidden states.

``encode`` runs per example, on the CPU and in loader threads: it reads the media, renders the chat and tokenises. ``collate``
joins examples into a :class:`Batch`, one row per response, example by example, padded on the right. ``forward`` gives the
hidden states. The media of an example are encoded once, however many responses it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.data.examples import PreferenceExample

Part = Literal["vision", "merger", "language"]


@dataclass(frozen=True)
class Limits:
    """Bounds of encoding. Pixels and frames that are ``None`` are the backbone's own.

    Attributes:
        max_length: tokens of prompt and response together.
        min_pixels: smallest area of an image after resizing.
        max_pixels: largest area of an image after resizing.
        frames: frames of a video.
    """

    max_length: int
    min_pixels: int | None = None
    max_pixels: int | None = None
    frames: int = 32


@dataclass(frozen=True)
class Patches:
    """One image or video, cut into patches.

    Attributes:
        kind: ``image`` or ``video``.
        pixels: ``[patches, channels * temporal * patch * patch]``, fp32.
        grid: patches in time, height and width.
    """

    kind: Literal["image", "video"]
    pixels: NDArray[np.float32]
    grid: tuple[int, int, int]


@dataclass(frozen=True)
class Encoded:
    """One example as tokens.

    Attributes:
        prompt: ids of the prompt, media places expanded.
        types: 0 for text, 1 for image and 2 for video places, as long as ``prompt``.
        positions: ``[3, len(prompt)]``, time, height and width of each token.
        responses: ids of each response, its end-of-turn token included.
        media: the media in the order of their places.
        written: of each response, how many of its last tokens are text that the model learns to write; empty where there is none.
    """

    prompt: NDArray[np.int64]
    types: NDArray[np.int64]
    positions: NDArray[np.int64]
    responses: tuple[NDArray[np.int64], ...]
    media: tuple[Patches, ...]
    written: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of the prompt, media included, and of all responses."""
        return len(self.prompt) + sum(map(len, self.responses))


@dataclass(frozen=True)
class Batch:
    """Rows of several examples, one per response, padded on the right.

    Attributes:
        ids: ``[rows, length]``.
        types: ``[rows, length]``, 0 text, 1 image, 2 video.
        mask: ``[rows, length]``, 1 where a token is.
        positions: ``[3, rows, length]``.
        response_start: ``[rows]``, index of the first response token.
        response_end: ``[rows]``, index after the last one.
        written: ``[rows]``, how many of the last response tokens are text that the model learns to write.
        images: ``[patches, values]`` of all images, each once; ``None`` without images. With an empty ``image_use`` they stand in no
            row, and are computed for the sake of the other ranks alone.
        image_grid: ``[images, 3]``.
        image_use: the image of each image place, row by row: indices into ``image_grid``.
        videos: like ``images``; ``video_grid`` and ``video_use`` likewise.
        responses: responses of each example, in the order of the rows.
        tokens: tokens of the examples (see :attr:`Encoded.tokens`).
    """

    ids: Tensor
    types: Tensor
    mask: Tensor
    positions: Tensor
    response_start: Tensor
    response_end: Tensor
    written: Tensor
    images: Tensor | None
    image_grid: Tensor | None
    image_use: tuple[int, ...]
    videos: Tensor | None
    video_grid: Tensor | None
    video_use: tuple[int, ...]
    responses: tuple[int, ...]
    tokens: int

    def to(self, device: str | torch.device) -> Batch:
        """The batch on a device; copies to a GPU overlap with computing where the batch is pinned."""
        if torch.device(device) == self.ids.device:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> Batch:
        """The batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: object) -> Batch:
        assert callable(change)
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: change(value) for name, value in tensors.items() if isinstance(value, Tensor)})


class Backbone(nn.Module, ABC):
    """Base of all backbones. ``hidden_size`` is the width of the hidden states."""

    hidden_size: int

    @abstractmethod
    def encode(self, example: PreferenceExample, responses: Sequence[int], limits: Limits, template: str | None) -> Encoded:
        """Read the media and tokenise (safe to call from several threads).

        Args:
            example: the preference.
            responses: indices of the responses to encode, in this order.
            limits: bounds; the prompt's text is cut from the left, a response never.
            template: text around the prompt, with ``{prompt}`` in it.

        Raises:
            TrialFailed: ``data_error`` with file and row: a medium cannot be read, or a response does not fit.
        """

    def towers(self, media: Collection[str]) -> frozenset[str]:
        """The kinds of places in a batch (``image``, ``video``) that examples with these kinds of media have."""
        return frozenset(media)

    @abstractmethod
    def collate(self, examples: Sequence[Encoded], towers: Collection[str] = ()) -> Batch:
        """Join examples into rows.

        ``towers``: kinds of places for which a medium is computed even where the examples have none, and counts for nothing: ranks
        that divide a model make the same calls, so that none waits for another in a tower that it does not need.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Hidden states ``[rows, length, hidden]`` after the last layer's norm."""

    @abstractmethod
    def part(self, name: Part) -> list[nn.Parameter]:
        """The parameters of one part of the model."""

    @abstractmethod
    def language(self) -> nn.Module:
        """The language model: where adapters stand."""

    @abstractmethod
    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass from now on."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all but the weights: configuration, tokenizer, image processor."""


def counted_for_nothing(hidden: Tensor, unused: Sequence[Tensor]) -> Tensor:
    """The hidden states as they are, with features that stand in no row in their graph: what made them gets the gradient zero."""
    for feature in unused:
        hidden = hidden + 0.0 * feature.sum()
    return hidden
