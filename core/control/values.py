"""The final value of a metric of a trial, from its published files."""

from __future__ import annotations

from core.definition.plan import PlannedTrial
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Scoring, Workspace

TRAINING = ("validation", "train")
"""What stands before the name of a metric that training reports."""


def scoring_of(workspace: Workspace, planned: PlannedTrial, benchmark: str) -> Scoring | None:
    """The scoring of a trial on a benchmark that its sweep asks for."""
    from core.definition.identity import scoring_key  # pydantic and the schema: not for a mere look

    for entry in planned.evaluate:
        if entry["benchmark"]["name"] == benchmark:
            return workspace.trial(planned.id).scoring(scoring_key(planned.id, entry["benchmark"], entry["revision"]))
    return None


def final_value(workspace: Workspace, planned: PlannedTrial, metric: str) -> float | None:
    """The metric of a finished trial: of its training (a fraction), or of a benchmark (percent); ``None`` where it has none."""
    group, _, name = metric.partition("/")
    if group in TRAINING:
        result = workspace.trial(planned.id).result
        return read_json(result / "metrics.json")["metrics"].get(metric) if (result / MANIFEST).exists() else None
    scoring = scoring_of(workspace, planned, group)
    return read_json(scoring.summary)["metrics"].get(name) if scoring is not None and scoring.summary.exists() else None
