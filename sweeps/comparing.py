"""From what a user names to two sides that can be compared: a sweep, a cell or an ensemble of a sweep, or a trial.

::

    head_ablation                                        a whole sweep: its cells against the same cells of another
    head_ablation:head.layers=2,head.activation=silu     one cell; a path may be given by its last parts (layers=2)
    head_ablation@2:layers=2,activation=silu             of an older revision
    :layers=2,activation=tanh                            as B: another cell of A's sweep
    head_ablation:ensemble=best3/mean                    a row of one of its ensembles; the rule may be left out where there is one
    3f2a9c                                               a trial, by the first digits of its id
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from core.analysis.build import default_columns
from core.analysis.compare import Comparison, Side, adjust, compare, values_of
from core.analysis.ensembles import EnsembleOutcome
from core.analysis.outcomes import ScoringOutcome, TrialOutcome
from core.analysis.sequential import Rule
from core.definition.claims import ENSEMBLE
from core.definition.plan import cell_name, with_commas
from core.errors import UsageError, nearest
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import newest, resolve
from sweeps.reporting import Progress, read_credits, study
from sweeps.selecting import meets

ID = re.compile(r"[0-9a-f]{4,32}")


@dataclass(frozen=True)
class Compared:
    """All comparisons that were asked for, and the cells of two sweeps that have no counterpart."""

    comparisons: Sequence[Comparison]
    only_a: Sequence[str] = field(default_factory=list)
    only_b: Sequence[str] = field(default_factory=list)


def compare_named(workspace: Workspace, a: str, b: str, patterns: Sequence[str], progress: Progress | None = None) -> Compared:
    """Compare what two names stand for; Holm over everything.

    Args:
        workspace: the workspace.
        a: as in this module's docstring.
        b: the same.
        patterns: of metrics; empty takes the headline metrics.
        progress: told how many score tables have been read.

    Raises:
        UsageError: a name stands for nothing or for several cells, no cell is in both sweeps, or no cell has such a metric.
    """
    if b.startswith(":"):
        b = a.partition(":")[0] + b
    (left, of_a), (right, of_b) = look_up(workspace, a), look_up(workspace, b)
    pairs, only_a, only_b = _matched(a, b, left, right)
    trials = {trial.id: trial for pair in pairs for side in pair for trial in side.trials}
    metrics = _metrics(trials.values(), patterns)
    used = [one for one in (*of_a, *of_b) if any(trial.id in trials for trial in one.trials)]
    credits, unread = read_credits(workspace, trials.values(), used, progress)
    made = adjust([one for x, y in pairs for one in compare(x, y, metrics, credits)])
    return Compared([replace(one, notes=(*one.notes, *unread)) for one in made], only_a, only_b)


def _matched(a: str, b: str, left: Mapping[str, Side], right: Mapping[str, Side]) -> tuple[list[tuple[Side, Side]], list[str], list[str]]:
    """One cell against another, or the cells that two sweeps share."""
    if len(left) == len(right) == 1:
        pair = (*left.values(), *right.values())
        return [(pair[0], pair[1])], [], []
    for name, found, other in ((a, left, right), (b, right, left)):
        if len(found) > 1 and len(other) == 1 and next(iter(other)) not in found:
            raise UsageError(f"{name} has {len(found)} cells, and one is compared with one", found=name, allowed=_written(name, found))
    both = [name for name in left if name in right]
    if not both:
        raise UsageError("the two sweeps have no cell in common", found=[f"{a}: {', '.join(left)}", f"{b}: {', '.join(right)}"])
    pairs = [(left[name], right[name]) for name in both]
    return pairs, [name for name in left if name not in right], [name for name in right if name not in left]


def _written(sweep: str, cells: Iterable[str]) -> list[str]:
    return [_name(sweep, cell) for cell in cells]


def sides_of(workspace: Workspace, name: str) -> dict[str, Side]:
    """The cells and ensembles that a name stands for, by their own names.

    Raises:
        UsageError: it stands for nothing, or for several cells where one is meant.
    """
    return look_up(workspace, name)[0]


def look_up(workspace: Workspace, name: str) -> tuple[dict[str, Side], Sequence[EnsembleOutcome]]:
    """As :func:`sides_of`, and the ensembles of the sweep that they are of."""
    sweep, colon, conditions = name.partition(":")
    known = {found.id for found in workspace.sweeps()}
    if not colon and ID.fullmatch(name.lower()) and name not in known and f"{name}-rehearsal" not in known:
        side = _trial(workspace, name.lower())
        return {side.name: side}, ()
    revision = resolve(workspace, sweep)
    found = study(workspace, revision)
    ensembles = found.derived.outcomes
    cells: dict[str, list[TrialOutcome]] = {}
    for trial in (*found.trials, *(trial for one in ensembles for trial in one.trials)):
        cells.setdefault(cell_name(trial.cell), []).append(trial)
    if colon:
        chosen = _chosen(name, conditions, cells, [one.name for one in ensembles])
        if len(chosen) != 1:
            raise UsageError(
                "no such cell" if not chosen else f"{len(chosen)} cells are like this, and one is compared", found=name,
                allowed=_written(sweep, chosen or cells), next=f"sweep report {sweep}",
            )  # fmt: skip
        cells = {cell: cells[cell] for cell in chosen}
    prefix = f"{revision.sweep.id}@{revision.number}"
    rule = Rule.from_json(revision.meta["seeds"]) if "seeds" in revision.meta else None
    return {cell: Side(_name(prefix, cell), revision.rehearsal, trials, rule) for cell, trials in cells.items()}, ensembles


def _name(sweep: str, cell: str) -> str:
    return f"{sweep}:{cell if cell.startswith(f'{ENSEMBLE}=') else with_commas(cell)}"


def _chosen(name: str, conditions: str, cells: Mapping[str, Sequence[TrialOutcome]], ensembles: Sequence[str]) -> list[str]:
    """The names of the cells that meet the conditions, or of the ensemble's row."""
    path, _, wanted = conditions.partition("=")
    if path == ENSEMBLE and ensembles:
        return [f"{ENSEMBLE}={row}" for row in ensembles if wanted in (row, row.rpartition("/")[0])]
    trained = {cell: trials[0].cell for cell, trials in cells.items() if ENSEMBLE not in trials[0].cell}
    found = _conditions(name, conditions, list(trained.values()))
    return [cell for cell, coordinates in trained.items() if meets(coordinates, found)]


def _conditions(name: str, text: str, cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """``layers=2,activation=silu`` by full path."""
    axes = list(dict.fromkeys(path for cell in cells for path in cell))
    wanted = {}
    for part in re.split(r",(?=[A-Za-z_][\w.-]*=)", text):
        written, equals, value = part.partition("=")
        found = [axis for axis in axes if axis == written] or [axis for axis in axes if axis.endswith(f".{written}")]
        if not equals or len(found) != 1:
            raise UsageError(
                "a cell is named by PATH=VALUE,PATH=VALUE" if not equals else "several axes end like this" if found else "no such axis",
                found=part or name, allowed=found or axes or "nothing varies in this sweep: name it without a cell",
                nearest=nearest(written, axes),
            )  # fmt: skip
        wanted[found[0]] = value
    return wanted


def _trial(workspace: Workspace, prefix: str) -> Side:
    """One trial, with all that it was scored on."""
    found = {trial.id: trial for trial in workspace.trials() if trial.id.startswith(prefix)}
    if len(found) != 1:
        message = "several trials start like this" if found else "no trial that was attempted starts like this, and no sweep is called so"
        allowed = [id[:16] for id in sorted(found)][:10] or [sweep.id for sweep in workspace.sweeps()] or None
        raise UsageError(message, found=prefix, allowed=allowed, next="sweep list")
    trial = next(iter(found.values()))
    config = read_json(trial.config)
    metrics = read_json(trial.result / "metrics.json")["metrics"] if (trial.result / MANIFEST).exists() else {}
    outcome = TrialOutcome(trial.id, _cell(workspace, trial), int(config["seed"]), "completed", metrics=metrics, scorings=_scorings(trial))
    return Side(f"trial {trial.id[:10]}", config.get("rehearsal") is not None, [outcome])


def _cell(workspace: Workspace, trial: Trial) -> Mapping[str, Any]:
    """Its coordinates in a sweep that plans it; none where no sweep does."""
    revisions = (newest(sweep) for sweep in workspace.sweeps())
    return next((planned.cell for revision in revisions if revision for planned in revision.plan() if planned.id == trial.id), {})


def _scorings(trial: Trial) -> tuple[ScoringOutcome, ...]:
    found: dict[str, ScoringOutcome] = {}
    for path in sorted((trial.folder / "scores").glob("*/summary.json")):
        one = replace(ScoringOutcome.from_summary(read_json(path)), key=path.parent.name)
        if one.benchmark in found:
            raise UsageError(
                f"trial {trial.id[:10]} was scored on {one.benchmark} in several ways",
                found=[str(found[one.benchmark].key), path.parent.name],
                allowed="name the sweep's cell: SWEEP:PATH=VALUE",
            )
        found[one.benchmark] = one
    return tuple(found.values())


def _metrics(trials: Any, patterns: Sequence[str]) -> list[str]:
    """The metrics that match, of those that any trial has.

    Raises:
        UsageError: a pattern matches none; where it names a metric without its grouping, the groupings are named.
    """
    known = list(dict.fromkeys(metric for trial in trials for metric in _names(trial)))
    if not patterns:
        return list(default_columns([metric for metric in known if values_known(trials, metric)], ()))
    chosen: list[str] = []
    for pattern in patterns:
        found = [metric for metric in known if fnmatchcase(metric, pattern)]
        below = [metric for metric in known if metric.startswith(f"{pattern}/")]
        if not found:
            raise UsageError(
                "the groupings of a metric are not comparable with each other: name one" if below else "no cell has this metric",
                found=pattern, allowed=below or known or "nothing: nothing has been scored yet", nearest=nearest(pattern, known),
            )  # fmt: skip
        chosen += [metric for metric in found if metric not in chosen]
    return chosen


def _names(trial: TrialOutcome) -> list[str]:
    return [*(f"{scoring.benchmark}/{name}" for scoring in trial.scorings for name in scoring.metrics), *trial.metrics]


def values_known(trials: Any, metric: str) -> bool:
    """Whether any trial has a value of the metric."""
    return any(values_of(Side("", False, [trial]), metric) for trial in trials)
