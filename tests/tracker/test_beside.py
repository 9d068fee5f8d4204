"""A real training run's data sets and model in MLflow, each once, whatever is cut off or repeated; and a server that comes and goes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow.tracking import MlflowClient

from core.workspace.layout import Workspace
from dashboards.mlflow.library import open_client
from dashboards.mlflow.tracker import MLflowTracker
from tests.store.test_index_postgresql import server as postgresql  # noqa: F401 (a fixture)
from tests.written import Writer, launch, planned, publish, score, trial_id


def published(place: Workspace, number: int) -> None:
    """A published result with weights and the facts of its data, as a worker leaves it."""
    trial = place.trial(trial_id(number))
    publish(trial, 1, {"validation/accuracy": 0.9}, steps=20)
    record = json.loads((trial.result / "metrics.json").read_text())
    record["facts"] = {"counts": {"r1_reward": {"train": 512, "held_out": 128}}}
    (trial.result / "metrics.json").write_text(json.dumps(record))
    (trial.result / "weights").mkdir()


def sync(place: Workspace, revision) -> str | None:
    tracker = MLflowTracker(place, revision.meta["project"], revision.rehearsal)
    trouble = tracker.sync(place, revision.sweep.id, list(revision.plan())).trouble
    tracker.close()
    return trouble


def runs(client: MlflowClient, words: str = ""):
    return client.search_runs([e.experiment_id for e in client.search_experiments()], words)


def test_the_model_has_a_signature_and_the_data_are_inputs_each_once(tmp_path: Path) -> None:
    place = Workspace.open(tmp_path / "runs", create=True)
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 20).end()
    published(place, 1)
    score(trial.scoring("k" * 16), {"overall": 71.25})
    assert sync(place, revision) is None
    client = open_client(f"sqlite:///{place.root / 'mlflow' / 'mlflow.db'}")
    (run,) = runs(client, f"tags.`rewardsweep.trial` = '{trial.id}'")
    for tag in ("model", "data", "plots", "scores." + "k" * 16, "metrics"):  # as if the process had died before it said so
        if f"rewardsweep.sent.{tag}" in run.data.tags:
            client.delete_tag(run.info.run_id, f"rewardsweep.sent.{tag}")
    for file in (place.cache).glob("index-*"):
        file.unlink()
    assert sync(place, revision) is None
    (run,) = runs(client, f"tags.`rewardsweep.trial` = '{trial.id}'")
    inputs = {(i.dataset.name, i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs}
    assert inputs == {("r1_reward", "da7a", "training"), ("vl_rewardbench", "d", "evaluation")}
    assert len(run.inputs.dataset_inputs) == 2
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert (model.source_run_id, str(model.status), model.model_type) == (run.info.run_id, "READY", "reward model")
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(model.model_id, 20)]
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    assert model.tags["rewardsweep.weights"] == str(trial.result / "weights")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.models import Model

        described = Model.load(str(Path(model.artifact_location.removeprefix("file://")) / "MLmodel"))
    assert [column.name for column in described.signature.inputs] == ["prompt", "responses", "images"]
    assert [column.name for column in described.signature.outputs] == ["rewards"]


class Server:
    """A real MLflow server over PostgreSQL, that can go away and come back at the same address."""

    def __init__(self, database: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._words = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts"),
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "ab") as log:
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            self._process = subprocess.Popen(self._words, env=environment, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 240
        while time.monotonic() < end:
            assert self._process.poll() is None, self._log.read_text()
            try:
                urlopen(f"{self.address}/health", timeout=5).close()
                return
            except (URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None


@pytest.fixture
def mlflow_server(postgresql: str, tmp_path: Path) -> Iterator[Server]:  # noqa: F811
    made = Server(postgresql.replace("postgresql://", "postgresql+psycopg://"), tmp_path)
    made.start()
    yield made
    made.stop()


def _one_of_many(root: str, name: str) -> None:
    place = Workspace.open(Path(root))
    from core.workspace.registration import newest

    revision = newest(place.sweep(name))
    assert revision is not None
    trouble = sync(place, revision)
    assert trouble is None, trouble


@pytest.mark.launch
@pytest.mark.timeout(900)
def test_a_server_on_postgresql_that_goes_away_loses_nothing_and_gets_nothing_twice(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.address)
    places = [Workspace.open(tmp_path / f"runs-{number}", create=True) for number in range(3)]
    for number, place in enumerate(places, start=1):
        launch(place, place.root.name, [planned(number)], project="shared")
        Writer(place.trial(trial_id(number)), 1).steps(1, 3)
    # many start at once: the experiment is made once, and nobody fails
    context = multiprocessing.get_context("spawn")
    many = [context.Process(target=_one_of_many, args=(str(place.root), place.root.name)) for place in places]
    for process in many:
        process.start()
    for process in many:
        process.join(300)
        assert process.exitcode == 0
    client = open_client(mlflow_server.address)
    assert [e.name for e in client.search_experiments()].count("shared") == 1
    place = places[0]
    revision = launch(place, place.root.name, [planned(1)], project="shared")
    trial = place.trial(trial_id(1))
    mlflow_server.stop()
    writer = Writer(trial, 1)
    for step in range(4, 40):
        writer.metrics(step)
        if step % 12 == 0:
            assert sync(place, revision) is not None, "the trouble is said, and the sweep goes on"
    writer.end()
    published(place, 1)
    mlflow_server.start()
    assert sync(place, revision) is None
    assert sync(place, revision) is None
    (run,) = runs(client, f"tags.`rewardsweep.trial` = '{trial.id}'")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(1, 40))
    assert run.info.status == "FINISHED"
    assert len(client.search_logged_models([run.info.experiment_id])) == 1
