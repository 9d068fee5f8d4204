"""The MLflow tracker: mirrors what journals, results and score tables say; every pass may be repeated, or cut off anywhere.

One run per trial, ever. It is found by its tag before it is created, its parent is the run of the sweep that registered the trial
first, and each sweep that has it is a tag ``sweep.<id>``. Time stamps are those of the journal, values of
benchmarks are in percent. A trial is sent once it has started. Where a trial is trained anew by other code (`--stale rerun`,
or a fresh start after an edit) its old run gives up the tag, keeps its points under the name ``... (superseded)``, and
a new one begins: curves of two codes never mix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from core.control.ports import TrackerReport
from core.control.read import Reader
from core.control.states import TrialState
from core.definition.plan import PlannedTrial, cell_name
from core.errors import EnvironmentFault, IntegrityError
from core.store import Index
from core.store.rows import Seen, look
from core.workspace.files import read_json
from core.workspace.journal import read_lines
from core.workspace.layout import Scoring, Sweep, Trial, Workspace
from core.workspace.lineage import MetricFeed, segments
from core.workspace.registration import Revision, newest
from core.workspace.requests import asked, user
from dashboards.mlflow.beside import config_of, send_benchmark, send_model, send_plots, send_training_data
from dashboards.mlflow.library import Metric, MlflowClient, MlflowException, Param, open_client
from dashboards.mlflow.place import SendingLock, own_store, store_of
from dashboards.mlflow.runs import (
    KEY_LENGTH,
    PARAM_LENGTH,
    SENT,
    TRIAL,
    TrialRun,
    content,
    find,
    flattened,
    metric_key,
    milliseconds,
)  # fmt: skip
from dashboards.mlflow.sweeps import FirstSweeps, Parents

STATUS: dict[TrialState, str] = {"completed": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "pruned": "KILLED"}
"""MLflow's status for a trial's state; any other state is RUNNING."""
ROOT = "rewardsweep.root"
"""Tag: ``attempt:code`` of the attempt with which the trial's metrics begin."""


class MLflowTracker:
    """Implements :class:`core.control.ports.Tracker`.

    Args:
        workspace: whose trials are sent.
        project: the project of the sweep that is synced.
        rehearsal: whether that sweep is a rehearsal: those go to experiments of their own.

    Raises:
        EnvironmentFault: the store is a local file that another host owns.
    """

    def __init__(self, workspace: Workspace, project: str, rehearsal: bool) -> None:
        self.store = store_of(workspace)
        own_store(self.store)
        self._workspace = workspace
        self._project = project
        self._rehearsal = rehearsal
        self._lock = SendingLock(workspace)
        self._reader = Reader(workspace)
        self._first = FirstSweeps(workspace)
        self._client: MlflowClient | None = None
        self._index: Index | None = None
        self._names: dict[str, str] = {}
        self._forget()

    def _forget(self) -> None:
        """Drop what was remembered of MLflow: another process may have sent, or a call may have been cut off."""
        self._parents: Parents | None = None
        self._runs: dict[str, TrialRun] = {}
        self._feeds: dict[str, MetricFeed] = {}

    def sync(self, workspace: Workspace, sweep_id: str, trials: Sequence[PlannedTrial]) -> TrackerReport:
        """Send what is new of these trials, once. A store that is away is named in ``trouble``; the next pass sends the rest."""
        done = _Pass()
        try:
            with self._lock.held() as alone:
                if not alone:
                    self._forget()
                self._sync(workspace.sweep(sweep_id), trials, done)
        except (MlflowException, RequestException, SQLAlchemyError, TimeoutError, EnvironmentFault) as error:
            self._forget()
            text = error.message if isinstance(error, EnvironmentFault) else str(error)
            done.trouble = f"{self.store.uri}: {text.strip().splitlines()[0][:300]}"
        return TrackerReport(done.runs, done.points, done.trouble)

    def url(self, trial_id: str) -> str | None:
        """Link to the trial's run, where this tracker has met it; a local store's opens while `sweep ui` runs."""
        name = self._names.get(trial_id)
        return self.store.link(name) if name is not None else None

    def close(self) -> None:
        """Let go of the store and the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
        self._client = None
        self._forget()

    def _sync(self, sweep: Sweep, trials: Sequence[PlannedTrial], done: _Pass) -> None:
        last = newest(sweep)
        if last is None:
            return
        if self._client is None:
            self._client = open_client(self.store.uri)
        if self._index is None:
            self._index = Index.open(self._workspace)
        if self._parents is None:
            self._parents = Parents(self._client, self._workspace, self.store)
        experiment = self._parents.experiment(self._project, self._rehearsal)
        marks = self._index.tracker_marks(experiment.key, sweep.id)
        self._names |= {trial: run for trial, (run, _) in marks.items()}
        try:
            settled = [self._one(planned, last, marks, done) for planned in trials]
            self._parents.of(last).set_status("FINISHED" if all(settled) else "RUNNING")
        finally:
            if done.marks:
                self._index.record_tracker_marks(experiment.key, sweep.id, done.marks)

    def _one(self, planned: PlannedTrial, last: Revision, marks: Mapping[str, tuple[str, str]], done: _Pass) -> bool:
        """Send what is new of one planned trial; returns whether it has come to an end."""
        trial = self._workspace.trial(planned.id)
        seen = look(trial)
        known = marks.get(planned.id)
        mark = _mark(seen, asked(trial).count if seen.attempts else 0)
        if known is not None and known[1] == mark:
            return True
        state = self._reader.trial(trial).state
        if not seen.attempts:
            return state in STATUS
        try:
            run = self._trial(trial, planned, state, last, done)
        except (IntegrityError, KeyError, FileNotFoundError) as error:
            self._feeds.pop(trial.id, None)
            done.trouble = f"trial {planned.id[:10]}: {error!r}"
            return False
        now = (run, mark if state in STATUS else "") if run is not None else None
        if now is not None and now != known:
            done.marks[planned.id] = now
        return state in STATUS

    def _trial(self, trial: Trial, planned: PlannedTrial, state: TrialState, last: Revision, done: _Pass) -> str | None:
        """Send what is new of one trial; returns the run's name, ``None`` where no attempt has started."""
        feed = self._feeds.setdefault(trial.id, MetricFeed(trial))
        lines = feed.read()
        chain = segments(feed.starts)
        if not chain:
            return None
        root = feed.started[chain[0].attempt]
        code = (root.get("fingerprints") or {}).get("code", "")
        run = self._runs.get(trial.id) or self._run(trial, planned, last, done, root["t"], f"{chain[0].attempt}:{code}")
        if _other_code(run.tags.get(ROOT), chain[0].attempt, code):
            _supersede(run)
            lines = MetricFeed(trial).read()
            run = self._run(trial, planned, last, done, root["t"], f"{chain[0].attempt}:{code}")
        self._runs[trial.id] = run
        self._names[trial.id] = run.name
        if run.deleted:
            return run.name
        done.points += run.send_lines(lines)
        newest_start = feed.started[chain[-1].attempt].get("fingerprints") or {}
        tags = {f"sweep.{last.sweep.id}": "true", "rewardsweep.attempt": str(chain[-1].attempt)}
        run.send(tags=tags | {f"fingerprint.{name}": str(value) for name, value in newest_start.items()})
        if state == "completed":
            _send_result(run, trial)
            send_model(run, trial, config_of(trial))
            send_plots(run, trial)
        for key in look(trial).scorings:
            done.points += _send_scores(run, trial.scoring(key), key)
        run.set_status(STATUS.get(state, "RUNNING"), feed.last)
        if state in STATUS:
            del self._feeds[trial.id]  # a further attempt reads it anew
        return run.name

    def _run(self, trial: Trial, planned: PlannedTrial, last: Revision, done: _Pass, began: float, root: str) -> TrialRun:
        """The trial's run, created with its parameters and tags where there is none."""
        assert self._client is not None and self._parents is not None
        found = find(self._client, self._parents.experiments(), {TRIAL: trial.id})
        if found is not None:
            if not found.deleted and not found.tags.get(SENT + "config"):
                _send_config(found, trial)
            return found
        home = self._first.of(trial.id) or last
        parent = self._parents.of(home)
        config = read_json(trial.config)
        name = f"{cell_name(planned.cell)} seed={planned.seed}"
        tags = {
            TRIAL: trial.id, "mlflow.parentRunId": parent.id, "mlflow.user": user(), "rewardsweep.cell": cell_name(planned.cell),
            "rewardsweep.seed": str(planned.seed), "rewardsweep.paradigm": str(config["paradigm"]["name"]),
            "rewardsweep.backbone": str(config["backbone"]["name"]), "rewardsweep.rehearsal": str(last.rehearsal).lower(),
            f"sweep.{home.sweep.id}": "true", ROOT: root,
        }  # fmt: skip
        made = self._client.create_run(parent.experiment, start_time=milliseconds(began), tags=_short(tags), run_name=name[:KEY_LENGTH])
        done.runs += 1
        run = TrialRun.of(self._client, made)
        _send_config(run, trial)
        return run


class _Pass:
    """What one pass has done so far."""

    def __init__(self) -> None:
        self.runs = 0
        self.points = 0
        self.trouble: str | None = None
        self.marks: dict[str, tuple[str, str]] = {}


def _mark(seen: Seen, requests: int) -> str:
    """Names all that a trial's folder said when it was sent."""
    facts = (sorted(seen.attempts.items()), seen.result, sorted(seen.scorings.items()), requests)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _short(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:PARAM_LENGTH] for key, value in tags.items()}


def _other_code(known: str | None, attempt: int, code: str) -> bool:
    """Whether the run's points were begun by another attempt with other code."""
    if known is None:
        return False
    number, _, known_code = known.partition(":")
    return number != str(attempt) and known_code != code


def _supersede(run: TrialRun) -> None:
    name = run.tags.get("mlflow.runName", "")
    run.client.set_tag(run.id, "rewardsweep.superseded", run.tags[TRIAL])
    run.client.set_tag(run.id, "mlflow.runName", f"{name} (superseded)")
    run.client.delete_tag(run.id, TRIAL)
    run.set_status("KILLED")


def _send_config(run: TrialRun, trial: Trial) -> None:
    config = read_json(trial.config)
    params = [Param(metric_key(path), text[:PARAM_LENGTH]) for path, text in flattened(config)]
    run.client.log_artifact(run.id, str(trial.config))
    run.send(params=params, tags={SENT + "config": content(trial.config)})


def _send_result(run: TrialRun, trial: Trial) -> None:
    path = trial.result / "metrics.json"
    if run.send_file(path, "", "metrics"):
        record = read_json(path)
        tags = {f"fingerprint.{name}": str(value) for name, value in record["fingerprints"].items()}
        tags["rewardsweep.flags"] = " ".join(record["flags"])
        send_training_data(run, record, config_of(trial))
        run.send(tags=tags | {SENT + "metrics": content(path)})


def _send_scores(run: TrialRun, scoring: Scoring, key: str) -> int:
    """Send a finished scoring: its table and summary as artifacts, its metrics once; returns the number of points."""
    sent = f"scores.{key}"
    if run.tags.get(SENT + sent) == content(scoring.summary):
        return 0
    summary = read_json(scoring.summary)
    benchmark = summary["benchmark"]
    for path in (scoring.table, scoring.summary):
        if path.exists():
            run.send_file(path, f"scores/{benchmark}-{key[:8]}", sent, because=scoring.summary)
    send_benchmark(run, summary)
    # two scorings of one benchmark (another revision, other pixels) never share a name
    first = run.tags.get(f"bench.{benchmark}.scoring", key)
    shown = benchmark if first == key else f"{benchmark}.{key[:8]}"
    at = milliseconds(_scored_at(scoring))
    step = max(run.mark("train"), 0)
    named = {metric_key(f"bench/{shown}/{name}"): value for name, value in summary["metrics"].items() if value is not None}
    points = [Metric(name, float(value), at, step) for name, value in named.items() if name not in run.single]
    tags = {f"bench.{shown}.scoring": key, f"bench.{shown}.revision": str(summary["revision"])}
    if summary["partial"]:
        tags[f"bench.{shown}.partial"] = ", ".join(f"{name} {count}" for name, count in summary["partial"].items())
    run.send(points, tags | {SENT + sent: content(scoring.summary)})
    return len(points)


def _scored_at(scoring: Scoring) -> float:
    """When a scoring ended: the last line of its last journal, or the time of its summary."""
    for attempt in reversed(scoring.attempts()):
        lines, _ = read_lines(attempt.journal)
        if lines:
            return float(lines[-1]["t"])
    return scoring.summary.stat().st_mtime
