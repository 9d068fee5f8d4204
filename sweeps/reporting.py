"""From a workspace to the report: the index's numbers, the derived states and what papers printed, joined."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.analysis import Report, build_report
from core.analysis.ensembles import EnsembleOutcome
from core.analysis.gates import Gate
from core.analysis.outcomes import BaselineOutcome, ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome
from core.analysis.verdicts import Claim
from core.control.decide import TrialStatus
from core.control.search.study import SearchState
from core.control.seeds.state import SeedsState
from core.control.states import OPEN
from core.errors import IntegrityError
from core.evaluation.benchmarks import get as benchmark
from core.evaluation.benchmarks import published_revisions, unreadable
from core.evaluation.credits import Credits, collect
from core.evaluation.score_table import ScoreTable
from core.store import Index, Score
from core.workspace.layout import Workspace
from core.workspace.registration import Revision
from dashboards.mlflow.links import links as run_links
from sweeps import finished, wiring
from sweeps.ensembles import Derived
from sweeps.existing import Existing, flags_of
from sweeps.finished import scoring_outcome
from sweeps.search_words import report_notes
from sweeps.watching import mirror_once

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Study:
    """What is known of a revision of a sweep: the outcomes of its trials and baselines, and of the ensembles that are made of them."""

    revision: Revision
    trials: Sequence[TrialOutcome]
    baselines: Sequence[BaselineOutcome]
    derived: Derived
    search: SearchState | None = None
    seeds: SeedsState | None = None


def study(workspace: Workspace, revision: Revision) -> Study:
    """The outcomes of a revision, from the index brought up to the files."""
    reader = wiring.reader(workspace, revision)
    state = reader.state()
    with open_index(workspace) as index:
        mirror_once(workspace, reader, state, index)
        cells = [trial for trial in state.trials if trial.planned.stage is None]
        ids = [trial.planned.id for trial in cells]
        metrics, scores = index.final_metrics(ids), index.scores(ids)
        baselines = index.baselines(key for _, key in reader.baselines)
        seconds = index.seconds(ids)
        links = run_links(workspace, index, revision.sweep.id)
    existing = Existing(workspace, revision.code())
    trials = []
    benchmarks = sorted({str(entry["benchmark"]["name"]) for trial in state.trials for entry in trial.planned.evaluate})
    for trial in cells:
        id = trial.planned.id
        wanted = set(trial.scorings)
        trials.append(
            TrialOutcome(
                id=id,
                cell=trial.planned.cell,
                seed=trial.planned.seed,
                state=trial.train.state,
                flags=tuple(flags_of(existing, trial)),
                cause=trial.train.cause,
                reason=_reason(trial),
                run_url=links.get(id),
                metrics=dict(metrics.get(id, {})) if trial.train.state == "completed" else {},
                scorings=tuple(scoring_outcome(score) for score in scores.get(id, []) if score.key in wanted),
                evaluate=tuple(str(entry["benchmark"]["name"]) for entry in trial.planned.evaluate),
                hours=seconds[id] * max(1, trial.planned.shape.gpus) / 3600 if id in seconds else None,
                example_seconds=_example_seconds(trial, scores.get(id, [])),
                unreadable={
                    name: why for name in benchmarks if (why := unreadable(trial.planned.config["backbone"]["name"], name)) is not None
                },
            )
        )
    by_name: dict[str, list[ScoringOutcome]] = {name: [] for name, _ in reader.baselines}
    for score in baselines:
        by_name.setdefault(score.owner, []).append(scoring_outcome(score))
    baseline_outcomes = [BaselineOutcome(name, tuple(found)) for name, found in by_name.items()]
    return Study(revision, trials, baseline_outcomes, Derived(workspace, revision, trials), state.search, state.seeds)


def finished_study(workspace: Workspace, revision: Revision) -> Study | None:
    """The outcomes of a revision from the index alone; ``None`` where it does not know that all trials have ended."""
    with open_index(workspace) as index:
        return recorded_study(workspace, revision, index, moving=False)


def recorded_study(workspace: Workspace, revision: Revision, index: Index, *, moving: bool = True) -> Study | None:
    """The outcomes of a revision as the index has them; without ``moving`` only where it knows that all trials have ended."""
    found = finished.outcomes(workspace, revision, index, moving=moving)
    return None if found is None else Study(revision, *found, Derived(workspace, revision, found[0]))


def gather(workspace: Workspace, revision: Revision, *, examples: bool = True, progress: Progress | None = None) -> Report:
    """The report of a revision of a sweep.

    Args:
        workspace: the workspace.
        revision: of the sweep.
        examples: whether the score tables are read: without them the table takes the index alone (and for ensembles the tables of their
            members), and has no statistics by example.
        progress: told what is being done, how much of it is done, and of how much.
    """
    found = None if examples else finished_study(workspace, revision)
    told = [finished.NOTE] if found is not None else []
    return build(workspace, found or study(workspace, revision), examples=examples, progress=progress, notes=told)


def build(workspace: Workspace, found: Study, *, examples: bool, progress: Progress | None = None, notes: Sequence[str] = ()) -> Report:
    """The report of what is known; ``examples`` and ``progress`` as in :func:`gather`, ``notes`` come first below the table."""
    revision, told = found.revision, list(notes)
    ensembles = found.derived.outcomes
    credits, unread = read_credits(workspace, found.trials, ensembles, progress) if examples else ([], [])
    report = build_report(
        revision.sweep.id,
        found.trials,
        rehearsal=revision.rehearsal,
        baselines=found.baselines,
        reported=[_reported(row) for row in revision.meta["reported"]],
        published=published_revisions(),
        order=_in_order(found.trials),
        objective=revision.meta["objective"]["metric"],
        credits=credits,
        ensembles=ensembles,
        gates={name: Gate(**gate) for name, gate in revision.meta.get("gates", {}).items()},
        claims=[Claim.from_json(claim) for claim in revision.meta.get("claims", [])],
        rule=found.seeds.rule if found.seeds is not None else None,
        standings=found.seeds.standings if found.seeds is not None else (),
        progress=None if progress is None else partial(progress, "intervals over examples"),
    )
    told += report_notes(found.search) if found.search is not None else []
    return replace(report, notes=(*told, *report.notes, *found.derived.notes, *unread))


def read_credits(
    workspace: Workspace,
    trials: Iterable[TrialOutcome],
    ensembles: Sequence[EnsembleOutcome] = (),
    progress: Progress | None = None,
) -> tuple[list[Credits], list[str]]:
    """The credits of all score tables of trials, and of ensembles with their members; and a sentence on each that could not be used."""
    members = [member for one in ensembles for part in one.members for member in part.trials]
    everything = {trial.id: trial for trial in (*trials, *members, *(trial for one in ensembles for trial in one.trials))}
    wanted = [(trial.id, scoring.key) for trial in everything.values() for scoring in trial.scorings if scoring.key is not None]
    made = {key: table for one in ensembles for key, table in one.tables.items()}
    unread: list[str] = []

    def tables() -> Iterator[tuple[str, ScoreTable]]:
        for number, (id, key) in enumerate(wanted, start=1):
            try:
                table = made.get((id, key)) or ScoreTable.read(workspace.trial(id).scoring(key).table)
            except IntegrityError as error:
                unread.append(f"No statistics by example for trial {id[:10]}: {error.message}: {error.place}.")
                continue
            yield id, table
            if progress is not None:
                progress("score tables", number, len(wanted))

    try:
        return collect(tables()), unread
    except ValueError as error:  # several orders or samples: no single credit per example
        return [], [f"No statistics by example: {error}."]


@contextmanager
def open_index(workspace: Workspace) -> Iterator[Index]:
    """The workspace's index; for a reader without the right to write there, one that is made for this question alone."""
    if os.environ.get("SWEEP_INDEX") or os.access(workspace.cache, os.W_OK):
        with Index.open(workspace) as index:
            yield index
        return
    with tempfile.TemporaryDirectory(prefix="sweep-index-") as folder, Index.open(workspace, f"sqlite:///{folder}/index.sqlite") as index:
        yield index


def _in_order(trials: Iterable[TrialOutcome]) -> list[str]:
    """The metrics of the benchmarks that are asked for, in the order of the definition, each benchmark's as it lists them."""
    names = dict.fromkeys(name for trial in trials for name in trial.evaluate)
    return [f"{name}/{metric}" for name in names for metric in benchmark(name).metric_names]


def _example_seconds(trial: TrialStatus, scores: Sequence[Score]) -> float | None:
    """Seconds per example of the attempts that made its scorings, by their journals."""
    n = {score.key: score.n for score in scores}
    found = []
    for key, status in trial.scorings.items():
        last = status.last
        if status.state == "completed" and last is not None and last.started is not None and last.last is not None and n.get(key):
            found.append((last.last - float(last.started["t"])) / n[key])
    return sum(found) / len(found) if found else None


def _reported(row: Mapping[str, Any]) -> ReportedRow:
    values = {name: ReportedValue(v["value"], v["comparable"], v["note"]) for name, v in row["values"].items()}
    about = next((v["about"] for v in row["values"].values()), None)
    return ReportedRow(row["source"], values, row.get("cell"), row.get("model"), about, row.get("ensemble"))


def _reason(trial: TrialStatus) -> str | None:
    """Why values of a trial are missing, where there is more to say than its state."""
    if trial.train.state == "failed":
        return f"sweep explain {trial.planned.id[:10]}"
    if trial.train.state == "completed":
        failed = next((s for s in trial.scorings.values() if s.state == "failed"), None)
        return f"its scoring failed: {failed.cause}; sweep explain {trial.planned.id[:10]}" if failed else None
    return trial.train.reason if trial.train.state in OPEN or trial.train.state == "pruned" else None
