"""Reading ahead: examples are decoded and tokenised in a background thread while the model computes.

The order of what comes out is the order of what goes in, whatever the threads do, so that reading ahead never changes a result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from core.data.examples import PreferenceExample
from core.models.backbone import Batch
from core.models.reward_model import RewardModel
from core.training.ranks import Ranks

AHEAD = 2
"""Micro batches that are prepared before they are asked for."""


@dataclass(frozen=True)
class MicroBatch:
    """Pairs of one forward pass, in the rows that the paradigm makes of them.

    Attributes:
        examples: the pairs.
        batch: their rows.
        count: pairs that count, the first ones; the others fill up a rank's part of a batch.
        tokens: tokens of the pairs that count.
    """

    examples: Sequence[PreferenceExample]
    batch: Batch
    count: int
    tokens: int


@dataclass(frozen=True)
class Part:
    """What one rank does in one forward pass.

    Attributes:
        examples: its pairs.
        count: pairs that count, the first ones.
        media: kinds of media of the pairs of all ranks in this pass.
    """

    examples: Sequence[PreferenceExample]
    count: int
    media: frozenset[str]


def divide(ranks: Ranks, examples: Sequence[PreferenceExample], size: int) -> list[Part]:
    """This rank's passes over a batch, of at most ``size`` pairs each; all ranks make equally many."""
    if ranks.count == 1:
        return [Part(part, len(part), frozenset()) for part in cut(examples, size)]
    own, count = ranks.part(examples)
    passes = list(zip(*(cut(part, size) for part in ranks.parts(examples)), strict=True))
    media = [frozenset(item.kind for part in turn for example in part for item in example.media) for turn in passes]
    return [Part(part, max(0, min(len(part), count - turn * size)), media[turn]) for turn, part in enumerate(cut(own, size))]


def prepare(model: RewardModel, part: Part, pin: bool) -> MicroBatch:
    """Encode the pairs as the paradigm reads them."""
    encoded = [model.encode_pair(example) for example in part.examples]
    batch = model.collate(encoded, model.backbone.towers(part.media))
    tokens = sum(item.tokens for item in encoded[: part.count])
    return MicroBatch(part.examples, batch.pin() if pin else batch, part.count, tokens)


def read_ahead(pool: ThreadPoolExecutor, work: Iterable[Callable[[], MicroBatch]]) -> Iterator[MicroBatch]:
    """Run the work in the pool, at most :data:`AHEAD` items before they are asked for, and yield results in order."""
    waiting: deque[Future[MicroBatch]] = deque()
    try:
        for item in work:
            waiting.append(pool.submit(item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def cut(examples: Sequence[PreferenceExample], size: int) -> list[Sequence[PreferenceExample]]:
    """Consecutive parts of ``size`` examples."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]
