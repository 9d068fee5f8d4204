"""The outcomes of a sweep from the index alone: of one that has ended, or as they were last recorded."""

from __future__ import annotations

from core.analysis.outcomes import BaselineOutcome, ScoringOutcome, TrialOutcome
from core.control.states import OPEN
from core.store import Index, Score
from core.store.finished import Finished, finished
from core.workspace.layout import Workspace
from core.workspace.registration import Revision
from dashboards.mlflow.links import links as run_links

NOTE = "Read from the index alone, all trials having ended: results of other code are not marked as stale (without --quick they are)."

SAID = (*OPEN, "pruned")
"""States of which the recorded reason is told."""


def outcomes(
    workspace: Workspace, revision: Revision, index: Index, *, moving: bool = False
) -> tuple[list[TrialOutcome], list[BaselineOutcome]] | None:
    """The trials and baselines of a revision; ``None`` where the files must be asked, because something may still change.

    A sweep that may still gain trials (a search, a rule for further seeds) is asked of its files. ``moving`` takes every sweep as it was
    last recorded.
    """
    if revision.family is not None and not moving:
        return None
    found = finished(index, revision.sweep.id, revision.number, moving=moving)
    if found is None:
        return None
    links = run_links(workspace, index, revision.sweep.id)
    data = {(score.benchmark, score.revision) for trial in found for score in trial.scores}
    baselines: dict[str, list[ScoringOutcome]] = {}
    for score in index.baselines():
        if (score.benchmark, score.revision) in data:
            baselines.setdefault(score.owner, []).append(scoring_outcome(score))
    trials = [_outcome(trial, links.get(trial.id)) for trial in found]
    return trials, [BaselineOutcome(name, tuple(scorings)) for name, scorings in baselines.items()]


def scoring_outcome(score: Score) -> ScoringOutcome:
    """A finished scoring as a report takes it."""
    skipped = score.partial["skipped"] if score.partial else 0
    return ScoringOutcome(score.benchmark, score.revision, score.n, skipped, score.metrics, score.key)


def _outcome(trial: Finished, link: str | None) -> TrialOutcome:
    reason = f"sweep explain {trial.id[:10]}" if trial.state == "failed" else trial.reason if trial.state in SAID else None
    gpus = max(1, int(trial.shape.partition("n")[2].partition("g")[0]))  # a shape's key begins with `1n8g`
    return TrialOutcome(
        id=trial.id, cell=trial.cell, seed=trial.seed, state=trial.state, flags=trial.flags, cause=trial.cause, reason=reason,
        run_url=link, metrics=trial.metrics, scorings=tuple(map(scoring_outcome, trial.scores)), evaluate=tuple(trial.asked),
        hours=None if trial.seconds is None else trial.seconds * gpus / 3600,
    )  # fmt: skip
