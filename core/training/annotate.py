"""The task `annotate`: a model writes the critiques or the reasoning that a paradigm learns from.

The examples are all those of the trial's sources. Of each, the paradigm says what is asked: a critique of every response, or reasoning
about the pair in the slots in which training shows it. A text that cannot be used (no verdict, or the wrong one) is asked for again,
at most `annotate.tries` times, the first time greedy and then sampled; how many it took is kept as the example's difficulty
(R1-Reward, section 3).

Every text is kept in the workspace's cache under the hash of all that it depends on: an attempt that was stopped goes on where it was,
and the same question is never paid for twice.

A rehearsal has no model that can write, so its tiny one is first taught what a good annotator would write about generated preferences.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from core.data import load_data, truth
from core.data.annotations import FILE, Annotation, write_annotations
from core.data.examples import PreferenceExample
from core.data.mixture import TrainingData
from core.data.streams import reseed
from core.definition.trial import AnnotateConfig, TrialConfig
from core.errors import DefinitionError
from core.models.critics import Critic, asked
from core.models.judgement import Sampling
from core.models.judges import GenerativeCot, preferred_slot
from core.models.reward_model import RewardModel, build, read_template
from core.models.writing import text_stream, write, writing_backbone
from core.training.context import Interrupted, RunContext
from core.training.endpoint import Endpoint
from core.workspace.files import write_atomic

GREEDY = 0
"""The try that is not sampled."""


@dataclass(frozen=True)
class Question:
    """One text that is asked for: a critique of the response ``index``, or reasoning about the pair (``None``)."""

    example: PreferenceExample
    index: int | None


class Writer(Protocol):
    """Whatever writes."""

    name: str
    """What its texts depend on beside the question, for the cache."""
    batch: int
    """Questions that are worth asking at once."""

    def write(self, questions: Sequence[Question], number: int) -> list[str]:
        """A text for each question; ``number`` is the try, from 0."""


def annotate(config: TrialConfig, context: RunContext) -> dict[str, float]:
    """Write what the trial's paradigm learns from, and publish it.

    Returns:
        ``annotate/texts``, ``annotate/unusable`` (questions without a usable text) and ``annotate/tries`` (their mean).

    Raises:
        DefinitionError: the paradigm learns from no written text.
        TrialFailed: ``data_error``: a row is refused, or the endpoint refuses a question.
        Interrupted: asked to leave; what was written is in the cache.
        EnvironmentFault: weights, data or the endpoint's key are missing.
    """
    torch.set_num_threads(context.threads)
    config = config.effective()
    settings = config.annotate or AnnotateConfig()
    about = config.paradigm.ANNOTATES
    if about is None:
        raise DefinitionError("this paradigm learns from no written text", found=config.paradigm.name, allowed="critic, generative_cot")
    data = load_data(config)
    context.note(data=data.fingerprint, counts=data.counts)
    examples = [*data.train, *data.held_out]
    writer: Writer = Endpoint(config, settings) if settings.model is not None and config.rehearsal is None else Local(config, context, data)
    questions = [
        Question(example, index)
        for example in examples
        for index in (range(len(example.responses)) if about == "critiques" else (None,))
        if not (about == "reasoning" and example.tie)
    ]
    kept: dict[int, str] = {}
    tries = [0] * len(questions)
    open_ = list(range(len(questions)))
    for number in range(settings.tries):
        left: list[int] = []
        for start in range(0, len(open_), writer.batch):
            part = open_[start : start + writer.batch]
            for place, text in zip(part, _texts(writer, [questions[place] for place in part], number, context.cache), strict=True):
                tries[place] = number + 1
                usable = use(questions[place], text)
                if usable is None:
                    left.append(place)
                else:
                    kept[place] = usable
            context.progress(len(kept), len(questions), tries=number + 1)
            if (ask := context.asked()) is not None and ask != "checkpoint":
                raise Interrupted(ask, len(kept))
        open_ = left
    metrics = {
        "annotate/texts": float(len(kept)),
        "annotate/unusable": float(len(questions) - len(kept)),
        "annotate/tries": sum(tries) / max(1, len(tries)),
    }
    found: dict[str, tuple[dict[str, str], int]] = {}
    for place, question in enumerate(questions):
        texts, most = found.setdefault(question.example.digest(), ({}, 0))
        if place in kept:
            texts["" if question.index is None else question.example.responses[question.index].text] = kept[place]
        found[question.example.digest()] = (texts, max(most, tries[place]))
    lines = [Annotation(example, texts, most) for example, (texts, most) in found.items()]
    context.publish(lambda folder: write_annotations(folder / FILE, lines), metrics)
    return metrics


def use(question: Question, text: str) -> str | None:
    """What of a text is kept; ``None`` where it cannot be used: an empty critique, or reasoning that ends in the wrong answer."""
    if question.index is not None:
        return text.strip() or None
    thought = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
    answers = re.findall(r"<answer>\s*([12])\s*</answer>", text)
    right = str(preferred_slot(question.example) + 1)
    return thought[1].strip() if thought and answers and answers[-1] == right else None


def _texts(writer: Writer, questions: Sequence[Question], number: int, cache: Path) -> list[str]:
    """The texts of one try, out of the cache where they are there."""
    files = [cache / "annotations" / key[:2] / f"{key}.txt" for key in (_key(writer, question, number) for question in questions)]
    known = {index: file.read_text(encoding="utf-8") for index, file in enumerate(files) if file.is_file()}
    missing = [index for index in range(len(questions)) if index not in known]
    for index, text in zip(missing, writer.write([questions[index] for index in missing], number) if missing else [], strict=True):
        files[index].parent.mkdir(parents=True, exist_ok=True)
        write_atomic(files[index], text)
        known[index] = text
    return [known[index] for index in range(len(questions))]


def _key(writer: Writer, question: Question, number: int) -> str:
    example = question.example
    slot = preferred_slot(example) if question.index is None else example.responses[question.index].text
    parts: list[Any] = [writer.name, example.digest(), slot, number]
    parts += [hashlib.sha256(medium.data).hexdigest() if medium.data is not None else str(medium.path) for medium in example.media]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Local:
    """Writes with the trial's own backbone, here."""

    batch = 32

    def __init__(self, config: TrialConfig, context: RunContext, data: TrainingData) -> None:
        self.model = build(config, device=context.device)
        template = hashlib.sha256((read_template(config.prompt, config.paradigm) or "").encode()).hexdigest()
        backbone = config.backbone.model_dump(mode="json", exclude={"path"})
        self.name = json.dumps(["local", backbone, config.paradigm.name, template, config.seed, bool(config.rehearsal), data.fingerprint])
        self.settings = config.annotate or AnnotateConfig()
        self.seed = config.seed
        if config.rehearsal is not None:
            teach(self.model, data.train)
        self.model.eval()

    @torch.no_grad()
    def write(self, questions: Sequence[Question], number: int) -> list[str]:
        """See :class:`Writer`."""
        model, paradigm = self.model, self.model.paradigm
        assert isinstance(paradigm, Critic | GenerativeCot)
        sampling = Sampling(votes=1 if number == GREEDY else 2, temperature=self.settings.temperature, seed=self.seed)
        chat = writing_backbone(model.backbone, paradigm.config.name)
        room = replace(model.limits, max_length=model.limits.max_length - paradigm.config.max_new_tokens)
        prompts, streams = [], []
        for question in questions:
            example, index = question.example, question.index
            streams.append(text_stream(sampling, example, index, number))
            if isinstance(paradigm, GenerativeCot):
                prompts.append(paradigm.question(model, example, paradigm.shown(example), model.limits))
            else:
                assert index is not None
                prompts.append(chat.compose(example, [asked(chat, example, index, model.template)], room, None))
        found = write(model, paradigm.language, prompts, paradigm.config.max_new_tokens, streams, sampling.temperature)
        return [str(chat.tokenizer.decode(ids)) for ids in found]


def teach(model: RewardModel, examples: Sequence[PreferenceExample]) -> None:
    """Fit a tiny model to what a good annotator would write about generated preferences, for as many steps as its rehearsal trains."""
    config = model.config
    assert config.rehearsal is not None
    steps = round(config.rehearsal.steps * config.paradigm.REHEARSAL_STEPS)
    right = [true_texts(example) for example in examples]
    weights = [value for _, value in model.trained()]
    optimizer = torch.optim.AdamW(weights, lr=config.optim.lr, betas=config.optim.betas)
    model.train()
    for step in range(steps):
        reseed(config.seed, "teach", step)
        part = [right[index] for index in torch.randint(len(right), (config.train.batch,)).tolist()]
        own = model(model.collate([model.encode_pair(example) for example in part]).to(model.device)).own
        assert own is not None
        own.mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.optim.lr * min(1.0, (step + 1) / (0.1 * steps)) * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def true_texts(example: PreferenceExample) -> PreferenceExample:
    """A generated preference with the critiques and the reasoning that its label calls for."""
    shown = truth.colour_of(example.responses[example.best()].text) or ""
    said = [truth.colour_of(response.text) or "" for response in example.responses]
    responses = tuple(
        replace(response, critique=truth.critique(shown, colour)) for response, colour in zip(example.responses, said, strict=True)
    )
    return replace(example, responses=responses, extra={**example.extra, "reasoning": truth.reasoning(shown)})
