"""Paradigms that compare: both responses stand in one prompt, and the model says which is better.

Training shows each pair once. Which slot holds the preferred response follows from a hash of the pair, so that both slots are
preferred equally often and nothing can be learnt from the slot. Scoring shows both orders. Ties of the data teach nothing.

While training, the reward of a response is the log-probability of its slot's number at the place of the answer, so that accuracy and
margin mean what they mean for a scalar reward.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name for it)
from torch import Tensor, nn

from core.data.examples import PreferenceExample
from core.data.streams import generator
from core.errors import DefinitionError
from core.models.backbone import Backbone, Batch, Encoded, Limits, Part
from core.models.config import GenerativeConfig
from core.models.judgement import Judgement, Sampling
from core.models.paradigms import Paradigm, Readout
from core.models.writing import LanguageHead, likelihood, write, writing_backbone

if TYPE_CHECKING:
    from core.models.reward_model import RewardModel

ROWS = 32
"""Texts that are written at once."""


def preferred_slot(example: PreferenceExample) -> int:
    """0 or 1: the slot of the preferred response while training, by hash of the example."""
    return hashlib.sha256(f"slot {example.digest()}".encode()).digest()[0] % 2


def comparisons(example: PreferenceExample) -> list[tuple[int, int]]:
    """The pairs of responses that are compared: those of different known ranks, or all where nothing is known of any."""
    ranks = example.label.ranks
    pairs = list(itertools.combinations(range(len(ranks)), 2))
    if all(rank is None for rank in ranks):
        return pairs
    return [(a, b) for a, b in pairs if ranks[a] is not None and ranks[b] is not None and ranks[a] != ranks[b]]


class Generative(Paradigm):
    """The model writes ``1`` or ``2`` (BaseReward, section 4.1, after Seed1.5-VL); zero-shot, or trained on the number."""

    before = after = ""
    """Text around the number."""

    def __init__(self, config: GenerativeConfig, backbone: Backbone, pooling: str) -> None:
        super().__init__(config, backbone, pooling)
        self.config: GenerativeConfig = config
        chat = writing_backbone(backbone, config.name).chat
        self.language = LanguageHead(writing_backbone(backbone, config.name))
        numbers = [chat.text(number) for number in ("1", "2")]
        if any(len(ids) != 1 for ids in numbers):
            raise DefinitionError("the tokenizer of this backbone has no single token for 1 and 2", found=numbers)
        self.numbers = [ids[0] for ids in numbers]
        self.tail = [*chat.text(self.after), chat.control["im_end"]] if self.after else [chat.control["im_end"]]

    def pair(self, backbone: Backbone, example: PreferenceExample, limits: Limits, template: str | None) -> Encoded:
        """One row: both responses in the slots that the hash says, and the text to be written."""
        slot = preferred_slot(example)
        shown = (example.best(), example.worst()) if slot == 0 else (example.worst(), example.best())
        chat = writing_backbone(backbone, self.config.name)
        text = [*self.thought(chat, example), self.numbers[slot], *self.tail]
        return chat.compose(example, [text], limits, template, shown=shown, written=(0 if example.tie else len(text),))

    def thought(self, backbone: object, example: PreferenceExample) -> list[int]:
        """Ids of what is written before the number."""
        return []

    def forward(self, hidden: Tensor, batch: Batch, head: nn.Module) -> Readout:
        """Log-probabilities of the right and the wrong number, and the negative log-likelihood of the text."""
        rows = torch.arange(len(hidden), device=hidden.device)
        place = batch.response_end - 1 - len(self.tail)
        numbers = torch.tensor(self.numbers, device=hidden.device)
        logs = F.log_softmax(self.language(hidden[rows, place - 1]), -1)[:, numbers]
        right = (batch.ids[rows, place] == numbers[1]).long()
        rewards = torch.stack([logs[rows, right], logs[rows, 1 - right]], 1).flatten()
        return Readout(rewards, torch.ones_like(rewards), likelihood(hidden, batch, self.language))

    def judge(self, model: RewardModel, examples: Sequence[PreferenceExample], limits: Limits, sampling: Sampling) -> list[list[Judgement]]:
        """Both orders of every comparison, each with as many votes as asked for."""
        asked: list[tuple[int, tuple[int, int], int, int]] = [
            (index, pair, order, sample)
            for index, example in enumerate(examples)
            for pair in comparisons(example)
            for order in (0, 1)
            for sample in range(sampling.votes)
        ]
        out: list[list[Judgement]] = [[] for _ in examples]
        for start in range(0, len(asked), ROWS):
            part = asked[start : start + ROWS]
            prompts = [self.question(model, examples[index], pair[:: 1 - 2 * order], limits) for index, pair, order, _ in part]
            streams = [self.stream(sampling, examples[index], pair, order, sample) for index, pair, order, sample in part]
            texts = write(model, self.language, prompts, self.config.max_new_tokens, streams, sampling.temperature)
            for (index, pair, order, sample), ids in zip(part, texts, strict=True):
                text = str(model.backbone.tokenizer.decode(ids))  # type: ignore[union-attr, operator]
                out[index].append(self.verdict(text, pair, order, sample))
        return out

    def question(self, model: RewardModel, example: PreferenceExample, shown: Sequence[int], limits: Limits) -> Encoded:
        """The prompt of one comparison, with nothing written yet."""
        room = Limits(limits.max_length - self.config.max_new_tokens, limits.min_pixels, limits.max_pixels, limits.frames)
        return writing_backbone(model.backbone, self.config.name).compose(example, [[]], room, model.template, shown=shown)

    def stream(self, sampling: Sampling, example: PreferenceExample, *which: object) -> np.random.Generator | None:
        """What one text is drawn from; ``None``: greedy."""
        return None if sampling.votes == 1 else generator(sampling.seed, "sampling", example.digest(), str(which))

    def verdict(self, text: str, pair: tuple[int, int], order: int, sample: int) -> Judgement:
        """A text as scores of the two responses: 1 for the one it names, 0 for the other, none where it names none."""
        slot = self.parse(text)
        winner = None if slot is None else (slot + order) % 2
        scores = (None, None) if winner is None else (float(winner == 0), float(winner == 1))
        return Judgement(pair, scores, (text, text), compared=True, order=order, sample=sample)

    def parse(self, text: str) -> int | None:
        """The slot that a text names: the whole text is the number, blanks and a full stop aside."""
        found = re.fullmatch(r"\s*([12])\s*\.?\s*", text)
        return None if found is None else int(found[1]) - 1

    def part(self, name: Part) -> Iterator[nn.Parameter]:
        """See :meth:`Paradigm.part`."""
        return self.language.part(name)
