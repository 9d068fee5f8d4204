"""What a paradigm says about the responses of an example, and how it is asked (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judgement:
    """One verdict on responses of an example.

    Attributes:
        responses: indices of the responses that were judged.
        scores: one per judged response, finite; ``None`` where what the model wrote could not be parsed.
        texts: what the model wrote, one per judged response; ``None`` where it writes nothing.
        compared: whether the responses were shown together; otherwise each was judged alone.
        order: which order of the responses was shown, from 0.
        sample: which of several samples, from 0.
    """

    responses: tuple[int, ...]
    scores: tuple[float | None, ...]
    texts: tuple[str | None, ...]
    compared: bool = False
    order: int = 0
    sample: int = 0


@dataclass(frozen=True)
class Sampling:
    """How a paradigm that writes is sampled: ``votes`` texts each, drawn at ``temperature``; one vote is greedy."""

    votes: int = 1
    temperature: float = 1.0
    seed: int = 0
