"""Reading a workspace into the views that :mod:`core.control.derive` judges.

A :class:`Reader` remembers what cannot change any more (ended attempts, published results) and how far it has read each
journal, so that a watcher of ten thousand trials pays for what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from core.control.derive import DEFAULTS, AttemptView, UnitStatus, derive
from core.control.jobs import recorded
from core.control.policy import Policy
from core.control.ports import JobAnswer
from core.control.states import ATTEMPT_STATES
from core.errors import IntegrityError
from core.workspace import process
from core.workspace.files import MANIFEST
from core.workspace.journal import JournalCache, Summary
from core.workspace.layout import Attempt, Scoring, Trial, Unit, Workspace
from core.workspace.requests import Asked, asked


def _load(summary: Summary) -> float | None:
    """Seconds from the first line to the first step, both by the attempt's own clock."""
    return summary.first - float(summary.started["t"]) if summary.first is not None and summary.started is not None else None


class Reader:
    """Derives states from the files of one workspace.

    Args:
        workspace: the workspace.
        jobs: the scheduler's last answers by job key; a worker on a compute node may have none.
        policy: what follows a failure.
    """

    def __init__(self, workspace: Workspace, jobs: Mapping[str, JobAnswer] | None = None, policy: Policy = DEFAULTS) -> None:
        self.workspace = workspace
        self.policy = policy
        self.jobs = jobs or {}
        self._journals = JournalCache()
        self._ended: dict[Attempt, AttemptView] = {}
        self._published: set[Unit] = set()

    def published(self, trial: Trial) -> bool:
        """Whether a trial has its result."""
        if trial not in self._published and (trial.result / MANIFEST).exists():
            self._published.add(trial)
        return trial in self._published

    def trial(self, trial: Trial, *, held: bool = False, blocked: str | None = None) -> UnitStatus:
        """The status of a trial's training."""
        if trial in self._published:
            return derive(self.attempts(trial), published=True, policy=self.policy)
        published = (trial.result / MANIFEST).exists()
        if published:
            self._published.add(trial)
        wish = asked(trial)
        return derive(self.attempts(trial, wish), published=published, asked=wish, held=held, blocked=blocked, policy=self.policy)

    def scoring(self, scoring: Scoring, *, held: bool = False, blocked: str | None = None, wish: Asked | None = None) -> UnitStatus:
        """The status of a scoring."""
        if scoring in self._published:
            return derive(self.attempts(scoring), published=True, policy=self.policy)
        published = scoring.summary.exists()
        if published:
            self._published.add(scoring)
        return derive(self.attempts(scoring, wish), published=published, asked=wish, held=held, blocked=blocked, policy=self.policy)

    def attempts(self, unit: Unit, wish: Asked | None = None) -> list[AttemptView]:
        """The attempts of a unit, oldest first."""
        return [self._attempt(attempt, wish or Asked()) for attempt in unit.attempts()]

    def _attempt(self, attempt: Attempt, wish: Asked) -> AttemptView:
        known = self._ended.get(attempt)
        if known is not None:
            return known
        try:
            owner = attempt.owner()
        except (FileNotFoundError, IntegrityError) as error:
            return AttemptView(attempt.number, "unknown", message=f"owner.json: {error}")
        # the evidence is gathered before the journal is read: a process that ends in between has written its last line
        gone = process.evidence_of_end(owner)
        answer = self._answer(owner.get("job"))
        summary = self._journals.summary(attempt.journal)
        ended = summary.ended
        base = AttemptView(
            attempt.number, "unknown", steps=summary.steps, checkpoint=summary.checkpoint, last=summary.last, owner=owner,
            started=summary.started, progress=summary.progress, validation=summary.validation, score=summary.score,
            measured=summary.measured, saving=summary.saving, load=_load(summary),
        )  # fmt: skip
        if ended is not None and ended.get("state") in ATTEMPT_STATES:
            view = replace(
                base, state=ended["state"], evidence="its journal's last line", cause=ended.get("cause"),
                message=ended.get("message"), ask=ended.get("ask"), signature=ended.get("signature"),
            )  # fmt: skip
        elif attempt.number in wish.dead:
            view = replace(base, state="lost", evidence="declared dead by a user")
        elif gone is not None:
            view = replace(base, state="lost", evidence=gone)
        elif answer is not None and (verdict := answer.verdict(int(owner.get("restart", 0)))) is not None:
            view = replace(base, state=verdict[0], evidence=verdict[1], cause=answer.cause if verdict[0] == "failed" else None)
        elif process.is_here(owner) or (answer is not None and answer.alive and not answer.silent):
            return replace(base, state="running")
        else:
            return base
        self._ended[attempt] = view
        return view

    def _answer(self, job: str | None) -> JobAnswer | None:
        """The scheduler's answer for a worker; one who asks no scheduler reads what others have written down."""
        if job is None:
            return None
        return self.jobs.get(job) or recorded(self.workspace.jobs / job)
