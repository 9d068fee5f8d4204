"""Writing: the language-model head over a backbone, and texts written with it, greedy or sampled.

Rows are padded on the left while the model writes, so that the next token of every row stands in the last column. What is drawn for
a row comes from a stream of its own: other rows in the batch never change a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name for it)
from torch import Tensor, nn
from transformers import DynamicCache

from core.data.examples import PreferenceExample
from core.data.streams import generator
from core.errors import DefinitionError
from core.models.backbone import Backbone, Batch, Encoded, Part
from core.models.chat_backbone import ChatBackbone
from core.models.judgement import Sampling

if TYPE_CHECKING:
    from core.models.reward_model import RewardModel


class LanguageHead(nn.Module):
    """Hidden states to logits over the vocabulary; tied to the backbone's embeddings where the pretrained model ties them."""

    def __init__(self, backbone: ChatBackbone) -> None:
        super().__init__()
        weight = backbone.language_weight()
        self.weight = nn.Parameter(weight) if weight is not None else None
        self._embedding = [] if weight is not None else [backbone.model.get_input_embeddings()]  # a list: not a submodule of ours

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[rows, vocabulary]`` in fp32 of features ``[rows, hidden]``."""
        weight = self.weight if self.weight is not None else self._embedding[0].weight
        return F.linear(features.float(), weight.float())

    def part(self, name: Part) -> Iterator[nn.Parameter]:
        """Its own weight, which is part of the language model."""
        if name == "language" and self.weight is not None:
            yield self.weight


def writing_backbone(backbone: Backbone, paradigm: str) -> ChatBackbone:
    """The backbone, which must be one that can write.

    Raises:
        DefinitionError: it is not.
    """
    if not isinstance(backbone, ChatBackbone):
        raise DefinitionError(
            f"the paradigm {paradigm} writes text, and this backbone has no language-model head",
            found=type(backbone).__name__,
        )
    return backbone


def text_stream(sampling: Sampling, example: PreferenceExample, *which: object) -> np.random.Generator | None:
    """What one text about an example is drawn from, by what it is about; ``None``: greedy."""
    return None if sampling.votes == 1 else generator(sampling.seed, "sampling", example.digest(), str(which))


def likelihood(hidden: Tensor, batch: Batch, head: nn.Module) -> Tensor:
    """``[rows]``: the mean negative log-likelihood of the tokens of each row that the model learns to write; 0 where there are none."""
    place = torch.arange(hidden.shape[1], device=hidden.device)
    inside = (place >= (batch.response_end - batch.written)[:, None]) & (place < batch.response_end[:, None])
    rows, columns = inside.nonzero(as_tuple=True)
    logits = head(hidden[rows, columns - 1])
    losses = F.cross_entropy(logits, batch.ids[rows, columns], reduction="none")
    total = torch.zeros(len(hidden), device=hidden.device).index_add(0, rows, losses)
    return total / batch.written.clamp(min=1)


def on_the_left(batch: Batch) -> Batch:
    """The rows of a batch with their padding moved to the left."""
    length = batch.ids.shape[1]
    shift = length - batch.mask.sum(1)
    place = (torch.arange(length, device=batch.ids.device)[None] - shift[:, None]) % length
    moved = {name: getattr(batch, name).gather(1, place) for name in ("ids", "types", "mask")}
    positions = batch.positions.gather(2, place[None].expand(3, -1, -1)) * moved["mask"]
    return replace(
        batch, **moved, positions=positions, response_start=batch.response_start + shift, response_end=batch.response_end + shift
    )


@torch.no_grad()
def write(
    model: RewardModel,
    head: nn.Module,
    prompts: Sequence[Encoded],
    most: int,
    streams: Sequence[np.random.Generator | None],
    temperature: float,
) -> list[list[int]]:
    """Continue prompts until each has ended its turn.

    Args:
        model: whose backbone reads.
        head: hidden states to logits.
        prompts: a text is written behind each of their rows.
        most: tokens of the longest text; a text that is cut there lacks its end.
        streams: of each row what its tokens are drawn from; ``None`` takes the likeliest token.
        temperature: of the draws.

    Returns:
        The ids that were written in each row, the token that ends the turn left out.
    """
    backbone = model.backbone
    assert isinstance(backbone, ChatBackbone)
    end = backbone.chat.control["im_end"]
    batch = on_the_left(model.collate(prompts)).to(model.device)
    rows = len(batch.ids)
    cache = DynamicCache()
    mask, following = batch.mask, batch.positions.amax((0, 2)) + 1
    written: list[list[int]] = [[] for _ in range(rows)]
    open_rows = set(range(rows))
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.config.train.dtype == "bf16"):
        hidden = backbone.read(batch, mask, cache)
    for step in range(most):
        with torch.autocast(model.device.type, enabled=False):
            logits = head(hidden[:, -1])
        chosen = _choose(logits, streams, temperature)
        for row in sorted(open_rows):
            if chosen[row] == end:
                open_rows.discard(row)
            else:
                written[row].append(chosen[row])
        if not open_rows or step == most - 1:
            break
        ids = torch.tensor(chosen, device=mask.device)[:, None]
        mask = torch.cat([mask, mask.new_ones(rows, 1)], 1)
        positions = (following + step)[None, :, None].expand(3, rows, 1)
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.config.train.dtype == "bf16"):
            hidden = backbone.read_on(ids, positions, mask, cache)
    return written


def _choose(logits: Tensor, streams: Sequence[np.random.Generator | None], temperature: float) -> list[int]:
    likeliest: list[int] = logits.argmax(-1).tolist()
    if all(stream is None for stream in streams):
        return likeliest
    weights = torch.softmax(logits.double() / temperature, -1).cumsum(-1).cpu().numpy()
    last = weights.shape[1] - 1
    return [
        likeliest[row] if stream is None else min(int(np.searchsorted(weights[row], stream.random() * weights[row, -1], "right")), last)
        for row, stream in enumerate(streams)
    ]
