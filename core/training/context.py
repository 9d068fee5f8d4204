"""What training asks of the place it runs in, so that the trainer knows nothing of attempts, journals or signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

Ask = Literal["stop", "cancel", "prune", "pause", "checkpoint", "preempted", "time_limit"]
"""What the outside asks of a running trial: ``checkpoint`` means save and go on, the others mean save and leave."""


class Interrupted(Exception):
    """The trainer has saved a checkpoint and left because it was asked to; ``ask`` says by whom."""

    def __init__(self, ask: Ask, step: int) -> None:
        super().__init__(f"{ask} at step {step}")
        self.ask = ask
        self.step = step


class RunContext(Protocol):
    """One attempt, as seen by the trainer."""

    folder: Path
    """The attempt's own folder: the only place that the trainer may write to, and only through the methods below."""
    resume: Path | None
    """Folder of the newest valid checkpoint of this trial, verified; ``None`` for a fresh start."""
    device: str
    """``cpu`` or ``cuda``."""
    threads: int
    """CPU threads of this attempt."""
    cache: Path
    """A folder that all trials share, for what can be made again."""

    def metrics(self, group: Literal["train", "validation"], step: int, values: Mapping[str, float]) -> None:
        """Record metrics after optimiser step ``step`` (1 is the first)."""

    def progress(self, step: int, total: int, **values: Any) -> None:
        """Say how far training is (throttled by the context); ``values`` such as loss, pairs_per_second."""

    def note(self, **facts: Any) -> None:
        """Record what is known only once the data have been read: ``data`` (their fingerprint), ``counts`` of examples by source."""

    def asked(self) -> Ask | None:
        """What the outside asks for now; cheap, called once a step."""

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make a checkpoint: ``write`` fills a fresh folder, which is then digested, synced, renamed and journalled."""

    def need(self, reference: str) -> Path:
        """The folder of what a need published: a trial's weights, or a model."""

    def publish(self, write: Callable[[Path], None], metrics: Mapping[str, float]) -> None:
        """Publish the result once: ``write`` fills a fresh folder with weights; the final metrics go beside them."""
