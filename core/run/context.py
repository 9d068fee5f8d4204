"""One attempt as the trainer sees it: where it may write, what it records, and what the outside asks of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from core.errors import IntegrityError, TrialFailed
from core.training.context import Ask, Seat
from core.workspace.claim import checkpoints
from core.workspace.files import publish_folder, verify
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt, Trial, Workspace
from core.workspace.requests import asked

POLL_SECONDS = 0.5
PROGRESS_SECONDS = 0.5


class AttemptContext:
    """Implements :class:`core.training.context.RunContext` on an attempt's folder.

    Args:
        workspace: for HOLD.
        trial: the trial.
        attempt: the attempt that this process owns.
        journal: its journal.
        resume: the newest valid checkpoint, verified.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads.
        seat: which of the trial's processes this one is.
        keep: checkpoints kept while training.
        after: what stays at the end, ``weights`` or ``resume``.
        flags: what is said beside the result.
        fingerprints: of code and environment; :meth:`note` adds the data's.
        echo: called with every journal line (live output of ``sweep run``).
        needs: what the trial needs, by reference (see :mod:`core.definition.needs`).
    """

    def __init__(
        self,
        workspace: Workspace,
        trial: Trial,
        attempt: Attempt,
        journal: JournalWriter,
        *,
        resume: Path | None,
        device: str,
        threads: int,
        seat: Seat,
        keep: int,
        after: Literal["weights", "resume"],
        fingerprints: Mapping[str, str],
        flags: Sequence[str] = (),
        echo: Callable[[dict[str, Any]], None] | None = None,
        needs: Mapping[str, str] | None = None,
    ) -> None:
        self.cache = workspace.cache
        self._needs = dict(needs or {})
        self.folder = attempt.folder
        self.resume = resume
        self.device = device
        self.threads = threads
        self.seat = seat
        self.signalled: Ask | None = None
        self._workspace = workspace
        self._trial = trial
        self._attempt = attempt
        self._journal = journal
        self._keep = keep
        self._after = after
        self._fingerprints = dict(fingerprints)
        self._flags = list(flags)
        self._facts: dict[str, Any] = {}
        self._echo = echo
        self._began = time.monotonic()
        self._polled = 0.0
        self._shown = 0.0
        self._last: Ask | None = None
        self._checkpoints = asked(trial).checkpoints
        self._steps = 0
        self._next = attempt.folder.with_name(f"{attempt.number + 1:04d}")

    @property
    def steps(self) -> int:
        """The last step that metrics were recorded for."""
        return self._steps

    def metrics(self, group: Literal["train", "validation"], step: int, values: Mapping[str, float]) -> None:
        """Record metrics after an optimiser step."""
        self._steps = max(self._steps, step)
        self._write("metrics", group=group, step=step, values=dict(values))

    def progress(self, step: int, total: int, **values: Any) -> None:
        """Say how far training is, at most twice a second."""
        now = time.monotonic()
        if now - self._shown >= PROGRESS_SECONDS or step >= total:
            self._shown = now
            self._write("progress", step=step, total=total, values=values)

    def note(self, **facts: Any) -> None:
        """Record facts that are known only now: the data's fingerprint, counts of examples."""
        self._facts.update(facts)

    def asked(self) -> Ask | None:
        """A signal's wish at once; requests and HOLD are looked up at most twice a second."""
        if self.signalled is not None:
            return self.signalled
        now = time.monotonic()
        if now - self._polled < POLL_SECONDS:
            return None
        self._polled = now
        if self._workspace.held:
            return "pause"
        if self._next.exists():
            # somebody had proof that this attempt was dead; it goes on from our last checkpoint
            return "stop"
        wish = asked(self._trial)
        if wish.stop is not None:
            return wish.stop
        if wish.checkpoints > self._checkpoints:
            self._checkpoints = wish.checkpoints
            return "checkpoint"
        return None

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make a checkpoint, then let older ones of this attempt go."""
        target = self._attempt.checkpoint(step)
        extra = {"attempt": self._attempt.number, "step": step}
        began = time.monotonic()
        if publish_folder(target, staging(self._attempt, step), write, extra):
            self._write("checkpoint", step=step, folder=target.name, seconds=round(time.monotonic() - began, 3))
        self._prune(keep=self._keep)

    def publish(self, write: Callable[[Path], None], metrics: Mapping[str, float]) -> None:
        """Publish the result by one rename; then verify it and let the resume state go."""

        def fill(folder: Path) -> None:
            (folder / "weights").mkdir()
            write(folder / "weights")
            record = {
                "v": 1,
                "metrics": dict(metrics),
                "attempt": self._attempt.number,
                "steps": self._steps,
                "seconds": round(time.monotonic() - self._began, 3),
                "fingerprints": self._fingerprints | {k: v for k, v in self._facts.items() if k == "data"},
                "facts": {k: v for k, v in self._facts.items() if k != "data"},
                "flags": self._flags,
            }
            (folder / "metrics.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")

        publish_folder(self._trial.result, self.folder / ".result", fill, {"attempt": self._attempt.number})
        problems = verify(self._trial.result)
        if problems:
            raise TrialFailed("disk_quota", "the result on disk is not what was written: " + "; ".join(problems))
        if self._after == "weights":
            self._prune(keep=0)

    def need(self, reference: str) -> Path:
        """The folder of what a need published."""
        return needed(self._workspace, self._needs, reference)

    def _prune(self, keep: int) -> None:
        for _, _, folder in checkpoints(self._trial)[keep:]:
            # renamed first: a reader never meets a checkpoint that is half deleted
            doomed = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, doomed)
                shutil.rmtree(doomed, ignore_errors=True)

    def _write(self, kind: Literal["progress", "metrics", "checkpoint"], **fields: Any) -> None:
        line = self._journal.write(kind, **fields)
        if self._echo is not None:
            self._echo(line)


def needed(workspace: Workspace, needs: Mapping[str, str], reference: str) -> Path:
    """The folder of what a need published.

    Raises:
        IntegrityError: the plan does not say what the reference is.
    """
    target = needs.get(reference)
    if target is None:
        raise IntegrityError("the plan does not say what this need is", found=reference, allowed=sorted(needs))
    kind, _, place = target.partition(":")
    return workspace.trial(place).result / "weights" if kind == "trial" else Path(place)


def staging(attempt: Attempt, step: int) -> Path:
    """Where a checkpoint is written before it is published."""
    return attempt.checkpoints / f".step-{step:08d}"


class Follower:
    """The attempt as a rank sees it that records nothing: it writes its part of a checkpoint where rank 0 has made room for it.

    Args:
        attempt: the attempt, owned by the leader of the ranks.
        resume: the checkpoint to go on from.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of this rank.
        seat: which rank it is.
        workspace: for what the trial needs.
        needs: what the trial needs, by reference.
    """

    def __init__(
        self,
        attempt: Attempt,
        *,
        resume: Path | None,
        device: str,
        threads: int,
        seat: Seat,
        workspace: Workspace,
        needs: Mapping[str, str],
    ) -> None:
        self.cache = workspace.cache
        self._workspace = workspace
        self._needs = needs
        self.folder = attempt.folder
        self.resume = resume
        self.device = device
        self.threads = threads
        self.seat = seat
        self._attempt = attempt

    def metrics(self, group: Literal["train", "validation"], step: int, values: Mapping[str, float]) -> None:
        """Rank 0 records."""

    def progress(self, step: int, total: int, **values: Any) -> None:
        """Rank 0 records."""

    def note(self, **facts: Any) -> None:
        """Rank 0 records."""

    def asked(self) -> Ask | None:
        """Rank 0 is asked."""
        return None

    def need(self, reference: str) -> Path:
        """The folder of what a need published."""
        return needed(self._workspace, self._needs, reference)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Write this rank's part; rank 0 publishes."""
        write(staging(self._attempt, step))

    def publish(self, write: Callable[[Path], None], metrics: Mapping[str, float]) -> None:
        """Rank 0 publishes."""
