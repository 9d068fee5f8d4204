"""What training asks of the place it runs in, so that the trainer knows nothing of attempts, journals or signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from core.training.layout import Layout

Ask = Literal["stop", "cancel", "prune", "pause", "checkpoint", "preempted", "time_limit"]
"""What the outside asks of a running trial: ``checkpoint`` means save and go on, the others mean save and leave."""


class Interrupted(Exception):
    """The trainer has saved a checkpoint and left because it was asked to; ``ask`` says by whom."""

    def __init__(self, ask: Ask, step: int) -> None:
        super().__init__(f"{ask} at step {step}")
        self.ask = ask
        self.step = step


@dataclass(frozen=True)
class Seat:
    """Which of a trial's processes this one is.

    Attributes:
        rank: from 0; rank 0 records what happens.
        ranks: how many there are.
        local: its number on its node: the GPU that it takes.
        nodes: nodes that they are on.
        meeting: the file in which rank 0 says where it is found; ``None`` for a trial of one process.
        layout: how they divide the model (see :mod:`core.training.layout`).
    """

    rank: int = 0
    ranks: int = 1
    local: int = 0
    nodes: int = 1
    meeting: Path | None = None
    layout: Layout = field(default_factory=Layout)


class RunContext(Protocol):
    """One attempt, as seen by the trainer of one rank. Only rank 0's records: the others' does nothing where it would write."""

    folder: Path
    """The attempt's own folder: the only place that the trainer may write to, and only through the methods below."""
    resume: Path | None
    """Folder of the newest valid checkpoint of this trial, verified; ``None`` for a fresh start."""
    device: str
    """``cpu`` or ``cuda``."""
    threads: int
    """CPU threads of this process."""
    seat: Seat
    """Which of the trial's processes this one is."""
    cache: Path
    """A folder that all trials share, for what can be made again."""

    def metrics(self, group: Literal["train", "validation"], step: int, values: Mapping[str, float]) -> None:
        """Record metrics after optimiser step ``step`` (1 is the first)."""

    def progress(self, step: int, total: int, **values: Any) -> None:
        """Say how far training is (throttled by the context); ``values`` such as loss, pairs_per_second."""

    def note(self, **facts: Any) -> None:
        """Record what is known only once the data have been read: ``data`` (their fingerprint), ``counts`` of examples by source."""

    def asked(self) -> Ask | None:
        """What the outside asks for now; cheap, called once a step and between the batches of a validation. ``checkpoint`` is said once."""

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make a checkpoint: ``write`` fills a fresh folder, which is then digested, synced, renamed and journalled."""

    def need(self, reference: str) -> Path:
        """The folder of what a need published: a trial's weights, or a model."""

    def publish(self, write: Callable[[Path], None], metrics: Mapping[str, float]) -> None:
        """Publish the result once: ``write`` fills a fresh folder with weights; the final metrics go beside them."""
