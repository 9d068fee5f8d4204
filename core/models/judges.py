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
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name for it)
from torch import Tensor, nn

from core.data.examples import PreferenceExample
from core.errors import DefinitionError, TrialFailed
from core.models.backbone import Backbone, Batch, Encoded, Limits, Part
from core.models.chat_backbone import ChatBackbone
from core.models.config import GenerativeConfig, GenerativeCotConfig
from core.models.judgement import Judgement, Sampling
from core.models.paradigms import Paradigm, Readout
from core.models.writing import LanguageHead, likelihood, text_stream, write, writing_backbone

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

    after = ""
    """Text behind the number."""

    def __init__(self, config: GenerativeConfig | GenerativeCotConfig, backbone: Backbone, pooling: str) -> None:
        super().__init__(config, backbone, pooling)
        self.config: GenerativeConfig | GenerativeCotConfig = config
        chat = writing_backbone(backbone, config.name).chat
        self.language = LanguageHead(writing_backbone(backbone, config.name))
        numbers = [chat.text(number) for number in ("1", "2")]
        if any(len(ids) != 1 for ids in numbers):
            raise DefinitionError("the tokenizer of this backbone has no single token for 1 and 2", found=numbers)
        self.numbers = [ids[0] for ids in numbers]
        self.tail = [*chat.text(self.after), chat.control["im_end"]] if self.after else [chat.control["im_end"]]

    def pair(self, backbone: Backbone, example: PreferenceExample, limits: Limits, template: str | None) -> Encoded:
        """One row: both responses in the slots that the hash says, and the text to be written."""
        slot, shown = preferred_slot(example), self.shown(example)
        chat = writing_backbone(backbone, self.config.name)
        text = [*self.thought(chat, example), self.numbers[slot], *self.tail]
        return chat.compose(example, [text], limits, template, shown=shown, written=(0 if example.tie else len(text),))

    def shown(self, example: PreferenceExample) -> tuple[int, int]:
        """The best and the worst response in the slots in which training shows them."""
        best, worst = example.best(), example.worst()
        return (best, worst) if preferred_slot(example) == 0 else (worst, best)

    def thought(self, chat: ChatBackbone, example: PreferenceExample) -> list[int]:
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
            streams = [text_stream(sampling, examples[index], pair, order, sample) for index, pair, order, sample in part]
            texts = write(model, self.language, prompts, self.config.max_new_tokens, streams, sampling.temperature)
            for (index, pair, order, sample), ids in zip(part, texts, strict=True):
                text = str(model.backbone.tokenizer.decode(ids))  # type: ignore[union-attr, operator]
                out[index].append(self.verdict(text, pair, order, sample))
        return out

    def question(self, model: RewardModel, example: PreferenceExample, shown: Sequence[int], limits: Limits) -> Encoded:
        """The prompt of one comparison, with nothing written yet."""
        room = Limits(limits.max_length - self.config.max_new_tokens, limits.min_pixels, limits.max_pixels, limits.frames)
        return writing_backbone(model.backbone, self.config.name).compose(example, [[]], room, model.template, shown=shown)

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


class GenerativeCot(Generative):
    """The model thinks in writing, then answers: ``<think>...</think><answer>1</answer>`` (R1-Reward, arXiv 2505.02835).

    Training reads the reasoning that the data or a task `annotate` brought, in the slots that the hash says; a pair without one
    teaches nothing, as R1-Reward leaves out what its writer failed at. The accuracy of validation is that of the answer behind the
    reasoning that was given, not of one that the model has written itself.
    """

    after = "</answer>"

    def check(self, examples: Sequence[PreferenceExample]) -> None:
        """Some pair has reasoning."""
        if examples and all(reasoning(example) is None for example in examples):
            raise TrialFailed(
                "data_error",
                "no pair has reasoning to learn from; `paradigm.reasoning` names a need that writes it, and its `annotate/unusable` says "
                "how many texts ended in the wrong answer",
            )

    def pair(self, backbone: Backbone, example: PreferenceExample, limits: Limits, template: str | None) -> Encoded:
        """One row; nothing is learnt from a pair without reasoning."""
        encoded = super().pair(backbone, example, limits, template)
        return encoded if reasoning(example) is not None else replace(encoded, written=(0,))

    def thought(self, chat: ChatBackbone, example: PreferenceExample) -> list[int]:
        """The reasoning, and the beginning of the answer."""
        return chat.chat.text(f"<think>{reasoning(example) or ''}</think><answer>")

    def parse(self, text: str) -> int | None:
        """The slot of the last ``<answer>``; none behind a thought that does not end."""
        found = re.findall(r"<answer>\s*([12])\s*</answer>", text)
        return int(found[-1]) - 1 if found else None


def reasoning(example: PreferenceExample) -> str | None:
    """What was written about the pair, its responses in the slots that :func:`preferred_slot` says."""
    found = example.extra.get("reasoning")
    return found if isinstance(found, str) else None
