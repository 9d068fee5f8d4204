"""Scorers that need no model: what a benchmark gives away to length, to chance, and to nothing at all.

Each is a function from examples to one score per response. They read no media, so they score every row.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.data.examples import PreferenceExample
from core.data.streams import generator
from core.evaluation.score_table import example_keys


def length(examples: Sequence[PreferenceExample]) -> list[list[float]]:
    """Characters of the response."""
    return [[float(len(response.text)) for response in example.responses] for example in examples]


def random(examples: Sequence[PreferenceExample]) -> list[list[float]]:
    """Uniform in [0, 1), drawn from a stream of the example's own.

    The same example gets the same scores in any file, at any row, and each of its responses keeps its score when their order changes.
    """
    out = []
    for key, example in zip(example_keys(examples), examples, strict=True):
        order = sorted(range(len(example.responses)), key=lambda index: example.responses[index].text)
        drawn = generator(0, "baseline", "random", key).random(len(order))
        scores = [0.0] * len(order)
        for value, index in zip(drawn, order, strict=True):
            scores[index] = float(value)
        out.append(scores)
    return out


def constant(examples: Sequence[PreferenceExample]) -> list[list[float]]:
    """Zero for everything: what a benchmark's tie policy is worth."""
    return [[0.0 for _ in example.responses] for example in examples]
