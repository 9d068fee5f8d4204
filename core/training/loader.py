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

AHEAD = 2
"""Micro batches that are prepared before they are asked for."""


@dataclass(frozen=True)
class MicroBatch:
    """Pairs of one forward pass, in the rows that the paradigm makes of them."""

    examples: Sequence[PreferenceExample]
    batch: Batch


def prepare(model: RewardModel, examples: Sequence[PreferenceExample], pin: bool) -> MicroBatch:
    """Encode the pairs as the paradigm reads them."""
    batch = model.collate([model.encode_pair(example) for example in examples])
    return MicroBatch(examples, batch.pin() if pin else batch)


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
