"""What a report's HTML page shows besides the report: learning curves, and the exact commands that made it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from core.definition.plan import PlannedTrial, cell_name
from core.store import Index
from core.workspace.layout import Workspace
from core.workspace.registration import Revision
from dashboards.plots import Curve
from dashboards.plots.style import NAMED
from dashboards.report.page import Extras
from sweeps.reporting import open_index

METRIC = "validation/accuracy"


def extras_of(workspace: Workspace, revision: Revision, patterns: Sequence[str]) -> Extras:
    """The extras of a revision's page.

    Args:
        workspace: the workspace.
        revision: of the sweep.
        patterns: of the metrics that the report was asked for.
    """
    cells: dict[str, list[PlannedTrial]] = {}
    for trial in revision.plan():
        cells.setdefault(cell_name(trial.cell), []).append(trial)
    with open_index(workspace) as index:
        found = [curve for name, trials in list(cells.items())[:NAMED] if (curve := _curve(index, name, trials)) is not None]
    meta = revision.meta
    launch = ["sweep", "launch", meta["source"], *meta["overrides"], *(["--rehearse"] if revision.rehearsal else [])]
    report = ["sweep", "report", f"{revision.sweep.id}@{revision.number}", "--format", "html", *(f"-m={pattern}" for pattern in patterns)]
    return Extras(found, METRIC, [shlex.join(map(str, launch)), shlex.join(report)])


def _curve(index: Index, name: str, trials: Sequence[PlannedTrial]) -> Curve | None:
    """The mean over the seeds at the steps that all of them have, from the lowest to the highest."""
    series = [{point.step: point.value for point in index.series(trial.id, METRIC)} for trial in trials]
    series = [points for points in series if points]
    if not series:
        return None
    steps = sorted(set.intersection(*(set(points) for points in series)))
    at = [[points[step] for points in series] for step in steps]
    band = len(series) > 1
    low, high = ([min(values) for values in at], [max(values) for values in at]) if band else ((), ())
    return Curve(name, [float(step) for step in steps], [sum(values) / len(values) for values in at], low, high)
