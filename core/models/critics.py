"""The paradigm critic: it writes a critique of a response, and a head then scores response and critique (MM-RLHF, arXiv 2502.10391).

The response is the assistant's turn, the template asks for the critique in a further turn of the user, and the critique is the
assistant's second turn, at whose last token the head reads the reward.

Training reads the critique that the data or a task `annotate` brought (teacher forcing) and minimises
``critique_weight * (NLL(critique of the preferred) + NLL(critique of the other))`` beside the terms of `loss` over the rewards;
MM-RLHF's code weighs both with 1. Scoring writes a critique first: a greedy one, or as many as the votes ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from core.data.examples import PreferenceExample
from core.errors import TrialFailed
from core.models.backbone import Backbone, Batch, Encoded, Limits, Part
from core.models.chat_backbone import ChatBackbone
from core.models.config import CriticConfig
from core.models.judgement import Judgement, Sampling
from core.models.paradigms import Pointwise, Readout
from core.models.writing import LanguageHead, likelihood, text_stream, write, writing_backbone

if TYPE_CHECKING:
    from core.models.reward_model import RewardModel


class Critic(Pointwise):
    """Writes a critique, then scores; a critique that reaches its longest length is scored as it stands."""

    def __init__(self, config: CriticConfig, backbone: Backbone, pooling: str) -> None:
        super().__init__(config, backbone, pooling)
        self.config: CriticConfig = config
        self.language = LanguageHead(writing_backbone(backbone, config.name))

    def pair(self, backbone: Backbone, example: PreferenceExample, limits: Limits, template: str | None) -> Encoded:
        """Two rows: each response, and the critique of it behind it."""
        chat = writing_backbone(backbone, self.config.name)
        texts, written = [], []
        for index in (example.best(), example.worst()):
            critique = example.responses[index].critique
            if critique is None:
                raise TrialFailed(
                    "data_error",
                    f"{example.origin or example.id}: response {index + 1} has no critique to learn from: give the rows "
                    "`chosen_reason` and `rejected_reason`, or `paradigm.critiques` a need that writes them",
                )
            ids = chat.chat.response(critique)
            texts.append(asked(chat, example, index, template) + ids)
            written.append(len(ids))
        return chat.compose(example, texts, limits, None, written=written)

    def forward(self, hidden: Tensor, batch: Batch, head: nn.Module) -> Readout:
        """Rewards at the end of the critiques, and the weighted negative log-likelihood of both critiques of a pair."""
        rewards = head(self.features(hidden, batch))
        tokens = batch.response_end - batch.response_start
        if not self.training and not bool(batch.written.any()):
            return Readout(rewards, tokens)
        losses = likelihood(hidden, batch, self.language).view(-1, 2).sum(1)
        return Readout(rewards, tokens, self.config.critique_weight * losses)

    def judge(self, model: RewardModel, examples: Sequence[PreferenceExample], limits: Limits, sampling: Sampling) -> list[list[Judgement]]:
        """A critique of every response per vote, and the reward that the head reads behind it."""
        chat = writing_backbone(model.backbone, self.config.name)
        out: list[list[Judgement]] = [[] for _ in examples]
        for sample in range(sampling.votes):
            critiques = self.write(model, examples, limits, sampling, sample)
            rows = [
                chat.compose(
                    example,
                    [[*asked(chat, example, index, model.template), *ids, chat.chat.control["im_end"]] for index, ids in enumerate(found)],
                    limits,
                    None,
                )
                for example, found in zip(examples, critiques, strict=True)
            ]
            rewards = iter(model(model.collate(rows).to(model.device)).rewards.tolist())
            for verdicts, found in zip(out, critiques, strict=True):
                texts = tuple(str(chat.tokenizer.decode(ids)) for ids in found)
                verdicts.append(Judgement(tuple(range(len(found))), tuple(next(rewards) for _ in found), texts, sample=sample))
        return out

    def write(
        self, model: RewardModel, examples: Sequence[PreferenceExample], limits: Limits, sampling: Sampling, sample: int
    ) -> list[list[list[int]]]:
        """Ids of a critique of every response of every example."""
        chat = writing_backbone(model.backbone, self.config.name)
        room = replace(limits, max_length=limits.max_length - self.config.max_new_tokens)
        prompts = [
            chat.compose(example, [asked(chat, example, index, model.template) for index in range(len(example.responses))], room, None)
            for example in examples
        ]
        streams = [text_stream(sampling, example, index, sample) for example in examples for index in range(len(example.responses))]
        found = iter(write(model, self.language, prompts, self.config.max_new_tokens, streams, sampling.temperature))
        return [[next(found) for _ in example.responses] for example in examples]

    def part(self, name: Part) -> Iterator[nn.Parameter]:
        """See :meth:`Paradigm.part`."""
        return self.language.part(name)


def asked(chat: ChatBackbone, example: PreferenceExample, index: int, request: str | None) -> list[int]:
    """Ids of a response and of the turn that asks for its critique, up to where the critique begins."""
    turns, control = chat.chat, chat.chat.control
    break_ = turns.text("\n")
    user = [control["im_start"], *turns.text("user\n"), *turns.text(request or ""), control["im_end"], *break_]
    return [*turns.response(example.responses[index].text), *break_, *user, control["im_start"], *turns.text("assistant\n")]
