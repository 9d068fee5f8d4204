"""A sweep in MLflow: its experiment, and the run that is the parent of its trials' runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from core.workspace.layout import Workspace
from core.workspace.registration import Revision, revision
from dashboards.mlflow.library import MlflowClient, MlflowException
from dashboards.mlflow.place import Store
from dashboards.mlflow.runs import SWEEP, TrialRun, find, milliseconds

PROJECT = "rewardsweep.project"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's UI opens an experiment as one of prompts and traces, with its runs called evaluations."""


@dataclass(frozen=True)
class Experiment:
    """An experiment; ``key`` names it among all stores, and another one that is made later in its place."""

    id: str
    key: str


class FirstSweeps:
    """Which revision registered a trial first, over all sweeps of a workspace; reads each plan once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._read: set[tuple[str, int]] = set()
        self._first: dict[str, Revision] = {}

    def of(self, trial: str) -> Revision | None:
        """The revision that asked for the trial first."""
        if trial not in self._first:
            self._read_on()
        return self._first.get(trial) or self._gained(trial)

    def _read_on(self) -> None:
        for sweep in self._workspace.sweeps():
            for number in sweep.revisions():
                if (sweep.id, number) in self._read:
                    continue
                self._read.add((sweep.id, number))
                new = revision(sweep, number)
                for planned in new.plan():
                    old = self._first.get(planned.id)
                    if old is None or _order(new) < _order(old):
                        self._first[planned.id] = new

    def _gained(self, trial: str) -> Revision | None:
        """Plans that have grown since they were read are read again, only for a trial that none had."""
        known_ones = (revision(self._workspace.sweep(sweep), number) for sweep, number in self._read)
        for known in sorted((known for known in known_ones if known.family is not None), key=_order):
            for planned in known.plan():
                self._first.setdefault(planned.id, known)
        return self._first.get(trial)


def _order(value: Revision) -> tuple[float, str, int]:
    return float(value.meta["created"]), value.sweep.id, value.number


class Parents:
    """Experiments and parent runs of a workspace's sweeps, looked up once, made where they are missing."""

    def __init__(self, client: MlflowClient, workspace: Workspace, store: Store) -> None:
        self._client = client
        self._workspace = workspace
        self._store = store
        self._experiments: dict[str, Experiment] = {}
        self._all: list[str] | None = None
        self._runs: dict[str, TrialRun] = {}

    def experiments(self) -> list[str]:
        """The ids of all experiments that hold sweeps: a trial's run may be in any."""
        if self._all is None:
            self._all = [found.experiment_id for found in self._client.search_experiments(filter_string=f"tags.`{PROJECT}` != ''")]
        return sorted({*self._all, *(experiment.id for experiment in self._experiments.values())})

    def experiment(self, project: str, rehearsal: bool) -> Experiment:
        """The experiment of a project; several processes may make it at once.

        Raises:
            MlflowException: a user has deleted it.
        """
        name = f"{project}-rehearsal" if rehearsal else project
        known = self._experiments.get(name)
        if known is not None:
            return known
        found = self._client.get_experiment_by_name(name)
        if found is None:
            tags = {**KIND, PROJECT: project, "rewardsweep.rehearsal": str(rehearsal).lower()}
            try:
                self._client.create_experiment(name, artifact_location=self._store.artifacts, tags=tags)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":
            raise MlflowException(f"the experiment {name!r} is deleted: `mlflow experiments restore -x {found.experiment_id}`")
        if PROJECT not in found.tags:
            self._client.set_experiment_tag(found.experiment_id, PROJECT, project)
        text = f"{self._store.uri}\n{found.experiment_id}\n{found.creation_time}"
        self._experiments[name] = Experiment(found.experiment_id, hashlib.sha256(text.encode()).hexdigest()[:32])
        return self._experiments[name]

    def of(self, last: Revision) -> TrialRun:
        """The run of a sweep, made where it is missing and brought up to this revision."""
        sweep = last.sweep.id
        run = self._runs.get(sweep)
        if run is None:
            experiment = self.experiment(last.meta["project"], last.rehearsal)
            tags = {SWEEP: sweep, "rewardsweep.workspace": str(self._workspace.root)}
            run = find(self._client, [experiment.id], tags)
            if run is None:
                began = milliseconds(revision(last.sweep, last.sweep.revisions()[0]).meta["created"])
                made = self._client.create_run(experiment.id, start_time=began, tags=tags, run_name=sweep)
                run = TrialRun.of(self._client, made)
            self._runs[sweep] = run
        if not run.deleted and int(run.tags.get("rewardsweep.revision", 0)) < last.number:
            self._client.log_artifact(run.id, str(last.folder / "definition.yaml"), f"revision-{last.number}")
            run.send(
                tags={"mlflow.note.content": note(last), "mlflow.user": str(last.meta["by"]), "rewardsweep.revision": str(last.number)}
            )
        return run


def note(last: Revision) -> str:
    """What the page of a sweep's run says, in Markdown."""
    meta = last.meta
    lines = [f"**{meta['name']}**, revision {last.number}: {meta['trials']} trials, launched by {meta['by']}."]
    if meta.get("description"):
        lines.append(str(meta["description"]))
    if last.rehearsal:
        lines.insert(0, "**REHEARSAL**: tiny random models, generated images and benchmarks; no number here is a result.")
    source = " ".join([str(meta.get("source", "")), *meta.get("overrides", [])]).strip()
    if source:
        lines.append(f"From `{source}`; the definition as launched is among the artifacts.")
    lines.append(f"`sweep report {last.sweep.id}` prints its table.")
    return "\n\n".join(lines)
