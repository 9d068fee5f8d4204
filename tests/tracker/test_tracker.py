"""The MLflow tracker against a real store: one run per trial, one point per (metric, step), whatever is cut off or repeated."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from core.errors import EnvironmentFault
from core.workspace.layout import Workspace
from core.workspace.requests import drop
from dashboards.mlflow.library import open_client
from dashboards.mlflow.links import links
from dashboards.mlflow.tracker import MLflowTracker
from tests.written import Writer, launch, planned, publish, score, trial_id


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables: MLflow needs seconds to make them."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def place(tmp_path: Path, empty_store: Path) -> Workspace:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    folder = workspace.root / "mlflow"
    folder.mkdir()
    with sqlite3.connect(empty_store) as source, sqlite3.connect(folder / "mlflow.db") as target:
        source.backup(target)
    source.close()
    target.close()
    return workspace


def test_a_process_killed_while_it_makes_the_store_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "mlflow.db"
    make = f"from dashboards.mlflow.library import open_client; open_client('sqlite:///{path}')"
    maker = subprocess.Popen([sys.executable, "-c", make], start_new_session=True)
    end = time.monotonic() + 60
    while not any(part.stat().st_size > 0 for part in tmp_path.glob("cache/rewardsweep/mlflow/.making-*/*.db")):
        assert maker.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    os.killpg(maker.pid, signal.SIGKILL)
    maker.wait()
    assert not path.exists() and not list(tmp_path.glob("cache/rewardsweep/mlflow/*.db"))
    assert [e.name for e in open_client(f"sqlite:///{path}").search_experiments()] == ["Default"]


def test_a_store_is_made_where_the_user_has_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [e.name for e in open_client(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()] == ["Default"]


def test_sending_runs_loads_nothing_that_a_login_node_need_not_hold(place: Workspace) -> None:
    send = """
import sys, threading
from dashboards.mlflow.library import NOT_NEEDED, Metric, open_client
client = open_client(sys.argv[1])
run = client.create_run("0")
client.log_batch(run.info.run_id, metrics=[Metric("loss", 0.5, 1, 1)])
assert client.search_runs(["0"])[0].data.metrics == {"loss": 0.5}
assert not [name for name in NOT_NEEDED if name in sys.modules]
import numpy, pandas  # and what asks for them afterwards has them
"""
    subprocess.run([sys.executable, "-c", send, f"sqlite:///{place.root / 'mlflow' / 'mlflow.db'}"], check=True, timeout=120)


class Look:
    """What a reader sees in MLflow."""

    def __init__(self, workspace: Workspace) -> None:
        self.client = MlflowClient(tracking_uri=f"sqlite:///{workspace.root / 'mlflow' / 'mlflow.db'}")

    def runs(self, words: str = ""):
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return self.client.search_runs(experiments, words)

    def trial(self, number: int):
        (run,) = self.runs(f"tags.`rewardsweep.trial` = '{trial_id(number)}'")
        return run

    def steps(self, number: int, key: str) -> list[int]:
        return [point.step for point in self.client.get_metric_history(self.trial(number).info.run_id, key)]

    def points(self, number: int, key: str) -> dict[int, float]:
        history = self.client.get_metric_history(self.trial(number).info.run_id, key)
        assert len({p.step for p in history}) == len(history)
        return {p.step: p.value for p in history}


@pytest.fixture
def mlflow(place: Workspace) -> Look:
    return Look(place)


def sync(place: Workspace, revision, *, tracker: MLflowTracker | None = None):
    mine = tracker or MLflowTracker(place, revision.meta["project"], revision.rehearsal)
    report = mine.sync(place, revision.sweep.id, list(revision.plan()))
    if tracker is None:
        mine.close()
    return report


def test_a_run_shows_what_the_files_say(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1), planned(2)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 20).end()
    publish(trial, 1, {"validation/accuracy": 0.9}, steps=20)
    score(trial.scoring("k" * 16), {"overall": 71.25, "official/general": None})
    report = sync(place, revision)
    assert (report.runs, report.trouble) == (1, None)

    run = mlflow.trial(1)
    assert run.info.run_name == "head.layers=1 seed=0"
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "3e-06"
    assert run.data.params["rehearsal"] == "null"
    assert run.data.tags["fingerprint.data"] == "da7a"
    assert run.data.tags["rewardsweep.cell"] == "head.layers=1"
    assert run.data.tags["bench.vl_rewardbench.revision"] == "r1250"
    assert run.data.metrics["bench/vl_rewardbench/overall"] == 71.25
    assert mlflow.steps(1, "validation/accuracy") == [10, 20]
    journal = [json.loads(line) for line in (trial.folder / "attempts/0001/journal.jsonl").read_text().splitlines()]
    assert run.info.start_time == journal[0]["t"] * 1000
    first = mlflow.client.get_metric_history(run.info.run_id, "train/loss")[0]
    assert (first.step, first.timestamp, first.value) == (1, journal[1]["t"] * 1000, journal[1]["values"]["loss"])
    files = {f.path for f in mlflow.client.list_artifacts(run.info.run_id)}
    assert files == {"config.json", "metrics.json", "plots", "scores"}
    assert {f.path for f in mlflow.client.list_artifacts(run.info.run_id, "plots")} == {
        "plots/train-loss.svg",
        "plots/validation-accuracy.svg",
    }
    assert [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs] == [("vl_rewardbench", "d")]
    scores = {f.path for f in mlflow.client.list_artifacts(run.info.run_id, "scores/vl_rewardbench-kkkkkkkk")}
    assert {Path(name).name for name in scores} == {"table.parquet", "summary.json"}


def test_the_sweep_is_the_parent_and_another_sweep_is_a_tag(place: Workspace, mlflow: Look) -> None:
    first = launch(place, "heads", [planned(1)])
    second = launch(place, "wider", [planned(1), planned(2)])
    Writer(place.trial(trial_id(1)), 1).steps(1, 2).end()
    sync(place, second)  # the sweep that registered it first is the parent, whoever sends it first
    sync(place, first)
    (parent,) = mlflow.runs("tags.`rewardsweep.sweep` = 'heads'")
    run = mlflow.trial(1)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {"sweep.heads", "sweep.wider"} <= set(run.data.tags)
    assert "launched by" in parent.data.tags["mlflow.note.content"]
    assert [f.path for f in mlflow.client.list_artifacts(parent.info.run_id, "revision-1")] == ["revision-1/definition.yaml"]


def test_a_rehearsal_goes_to_an_experiment_of_its_own_and_says_so(place: Workspace, mlflow: Look) -> None:
    sync(place, launch(place, "heads", [planned(1)], rehearsal=True))
    assert {e.name for e in mlflow.client.search_experiments()} == {"Default", "basereward-rehearsal"}
    (parent,) = mlflow.runs("tags.`rewardsweep.sweep` = 'heads-rehearsal'")
    assert "REHEARSAL" in parent.data.tags["mlflow.note.content"]


def test_a_second_pass_sends_nothing_and_a_later_one_only_what_is_new(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    writer = Writer(place.trial(trial_id(1)), 1).steps(1, 5)
    tracker = MLflowTracker(place, "basereward", False)
    assert sync(place, revision, tracker=tracker).points == 10
    assert sync(place, revision, tracker=tracker).points == 0
    writer.steps(6, 8)
    assert sync(place, revision, tracker=tracker).points == 6
    assert sync(place, revision).points == 0  # another process
    assert mlflow.steps(1, "train/loss") == list(range(1, 9))
    tracker.close()


def test_after_any_resumes_each_step_has_one_point(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 25)
    sync(place, revision)
    Writer(trial, 2, resumed=(1, 20)).steps(21, 30)
    sync(place, revision)
    Writer(trial, 3, start=False)  # died before it started
    Writer(trial, 4, resumed=(2, 28))  # died before its first metric
    sync(place, revision)
    Writer(trial, 5).steps(1, 40)  # a fresh start: no checkpoint was left
    sync(place, revision)
    points = mlflow.points(1, "train/loss")
    assert list(points) == list(range(1, 41))
    assert [int(points[step]) for step in (25, 26, 30, 31, 40)] == [1, 2, 2, 5, 5]
    assert list(mlflow.points(1, "validation/accuracy")) == [10, 20, 30, 40]


def test_hidden_lines_that_were_never_sent_are_not_sent(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 25)
    Writer(trial, 2, resumed=(1, 20)).steps(21, 30)
    sync(place, revision)
    assert [int(value) for value in mlflow.points(1, "train/loss").values()] == [1] * 20 + [2] * 10


def test_without_the_local_index_nothing_is_sent_twice(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 20).end()
    publish(trial, 1, {})
    score(trial.scoring("key"), {"overall": 50.0})
    sync(place, revision)
    for file in place.cache.iterdir():
        file.unlink()
    report = sync(place, revision)
    assert (report.runs, report.points) == (0, 0)
    assert mlflow.steps(1, "train/loss") == list(range(1, 21))
    assert len(mlflow.steps(1, "bench/vl_rewardbench/overall")) == 1


def test_points_that_were_stored_without_their_mark_are_not_repeated(
    place: Workspace, mlflow: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow stores points first and tags second: the process may die in between, and a resume gives the steps other times."""
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 12)
    sync(place, revision)
    run = mlflow.trial(1).info.run_id
    mlflow.client.set_tag(run, "rewardsweep.mark.train", "8")
    mlflow.client.delete_tag(run, "rewardsweep.mark.validation")
    Writer(trial, 2, resumed=(1, 5)).steps(6, 15)
    sync(place, revision)
    assert list(mlflow.points(1, "train/loss")) == list(range(1, 16))
    assert list(mlflow.points(1, "validation/accuracy")) == [10]


@pytest.mark.parametrize(
    ("ended", "request_", "status"),
    [
        ({"state": "failed", "cause": "user_bug"}, None, "FAILED"),
        ({"state": "interrupted", "ask": "cancel"}, "cancel", "KILLED"),
        ({"state": "interrupted", "ask": "prune"}, "prune", "KILLED"),
        ({"state": "preempted"}, None, "RUNNING"),
    ],
)
def test_the_status_of_a_run_follows_the_trial(place: Workspace, mlflow: Look, ended, request_, status: str) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    writer = Writer(trial, 1).steps(1, 2)
    if request_:
        drop(trial, request_)
    writer.end(**ended)
    tracker = MLflowTracker(place, "basereward", False)
    sync(place, revision, tracker=tracker)
    run = mlflow.trial(1)
    assert run.info.status == status
    assert (run.info.end_time is not None) == (status != "RUNNING")
    drop(trial, "retry")
    Writer(trial, 2).steps(1, 3).end()
    publish(trial, 2, {})
    sync(place, revision, tracker=tracker)
    assert mlflow.trial(1).info.status == "FINISHED"
    assert mlflow.steps(1, "train/loss") == [1, 2, 3]
    tracker.close()


def test_a_trial_that_other_code_trains_anew_gets_a_new_run(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 20).end()
    sync(place, revision)
    Writer(trial, 2, code="0ther").steps(1, 10)
    sync(place, revision)
    assert [int(value) for value in mlflow.points(1, "train/loss").values()] == [2] * 10
    (old,) = mlflow.runs(f"tags.`rewardsweep.superseded` = '{trial_id(1)}'")
    assert old.info.run_name == "head.layers=1 seed=0 (superseded)"
    assert old.info.status == "KILLED"


def test_two_scorings_of_one_benchmark_have_names_of_their_own(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 2).end()
    publish(trial, 1, {})
    score(trial.scoring("aaaaaaaa1"), {"overall": 50.0})
    sync(place, revision)
    score(trial.scoring("bbbbbbbb2"), {"overall": 60.0}, revision="r1247")
    sync(place, revision)
    metrics = mlflow.trial(1).data.metrics
    assert metrics["bench/vl_rewardbench/overall"] == 50.0
    assert metrics["bench/vl_rewardbench.bbbbbbbb/overall"] == 60.0


def test_a_run_that_a_user_deleted_stays_deleted(place: Workspace, mlflow: Look) -> None:
    revision = launch(place, "heads", [planned(1)])
    writer = Writer(place.trial(trial_id(1)), 1).steps(1, 2)
    sync(place, revision)
    mlflow.client.delete_run(mlflow.trial(1).info.run_id)
    writer.steps(3, 4)
    report = sync(place, revision)
    assert (report.runs, report.points, report.trouble) == (0, 0, None)


def _send(root: Path, ready) -> None:
    workspace = Workspace(root)
    tracker = MLflowTracker(workspace, "basereward", False)
    assert tracker.sync(workspace, "heads", []).trouble is None  # mlflow is loaded and the store is open
    ready.wait(60)
    report = tracker.sync(workspace, "heads", [planned(n) for n in range(1, 6)])
    tracker.close()
    assert report.trouble is None, report.trouble


def test_two_processes_at_once_make_one_run_of_each_trial(place: Workspace, mlflow: Look) -> None:
    launch(place, "heads", [planned(n) for n in range(1, 6)])
    for number in range(1, 6):
        Writer(place.trial(trial_id(number)), 1).steps(1, 15)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(2)
    both = [spawn.Process(target=_send, args=(place.root, ready)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    for number in range(1, 6):
        assert mlflow.steps(number, "train/loss") == list(range(1, 16))
    assert len(mlflow.runs()) == 6
    assert [e.name for e in mlflow.client.search_experiments()] == ["basereward", "Default"]


def test_a_tracker_notices_that_another_one_has_sent_meanwhile(place: Workspace, mlflow: Look) -> None:
    """What it remembers of MLflow is old then: a step that was resumed meanwhile would get a second point."""
    revision = launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    writer = Writer(trial, 1).steps(1, 5)
    mine, other = (MLflowTracker(place, "basereward", False) for _ in range(2))
    sync(place, revision, tracker=mine)
    writer.steps(6, 12)
    sync(place, revision, tracker=other)
    Writer(trial, 2, resumed=(1, 5)).steps(6, 14)
    sync(place, revision, tracker=mine)
    assert list(mlflow.points(1, "train/loss")) == list(range(1, 15))
    assert list(mlflow.points(1, "validation/accuracy")) == [10]
    mine.close()
    other.close()


def test_a_server_that_is_away_is_reported_and_loses_nothing(place: Workspace, mlflow: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = launch(place, "heads", [planned(1)])
    Writer(place.trial(trial_id(1)), 1).steps(1, 5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    report = sync(place, revision)
    assert report.points == 0
    assert report.trouble is not None
    assert report.trouble.startswith("http://127.0.0.1:9: ")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sync(place, revision).points == 10
    assert mlflow.steps(1, "train/loss") == [1, 2, 3, 4, 5]


def test_a_local_store_of_another_host_is_refused(place: Workspace) -> None:
    (place.root / "mlflow" / "HOST").write_text(json.dumps({"host": "elsewhere", "machine": "m"}))
    with pytest.raises(EnvironmentFault) as caught:
        MLflowTracker(place, "basereward", False)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "elsewhere" in str(caught.value)


def test_each_run_has_a_link_without_mlflow(place: Workspace, mlflow: Look) -> None:
    from core.store import Index

    revision = launch(place, "heads", [planned(1), planned(2)])
    Writer(place.trial(trial_id(1)), 1).steps(1, 2)
    tracker = MLflowTracker(place, "basereward", False)
    sync(place, revision, tracker=tracker)
    info = mlflow.trial(1).info
    wanted = f"http://127.0.0.1:5000/#/experiments/{info.experiment_id}/runs/{info.run_id}"
    assert tracker.url(trial_id(1)) == wanted
    assert tracker.url(trial_id(2)) is None
    with Index.open(place) as index:
        assert links(place, index, "heads") == {trial_id(1): wanted}
    tracker.close()
