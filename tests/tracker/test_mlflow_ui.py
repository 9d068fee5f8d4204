"""`sweep ui`: the real MLflow server over a workspace's store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from core.errors import EnvironmentFault, UsageError
from core.workspace.layout import Workspace
from dashboards.mlflow.tracker import MLflowTracker
from dashboards.mlflow.ui import check_port, running
from tests.written import Writer, launch, planned, trial_id


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs", create=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(address: str, path: str, body: dict[str, object]) -> dict:
    request = Request(f"{address}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_it_serves_the_runs_takes_more_through_http_and_ctrl_c_ends_every_process(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = launch(place, "heads", [planned(1)])
    writer = Writer(place.trial(trial_id(1)), 1).steps(1, 3)
    tracker = MLflowTracker(place, "basereward", False)
    assert tracker.sync(place, "heads", list(revision.plan())).trouble is None
    link = tracker.url(trial_id(1))
    tracker.close()
    assert link is not None
    experiment, run = link.split("/")[-3], link.split("/")[-1]
    port, own = free_port(), free_port()
    command = [
        sys.executable,
        "-m",
        "sweeps.cli.main",
        "ui",
        "--port",
        str(own),
        "--mlflow-port",
        str(port),
        "--workspace",
        str(place.root),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"dashboard: http://127.0.0.1:{own}/  (Ctrl-C ends it)\n"
        assert process.stdout.readline() == f"MLflow:    http://127.0.0.1:{port}\n"
        address = f"http://127.0.0.1:{port}"
        found = ask(address, "runs/search", {"experiment_ids": [experiment], "filter": f"tags.`rewardsweep.trial` = '{trial_id(1)}'"})
        assert [r["info"]["run_id"] for r in found["runs"]] == [run]
        with urlopen(f"{address}/api/2.0/mlflow/artifacts/list?run_id={run}", timeout=20) as answer:
            assert [f["path"] for f in json.load(answer)["files"]] == ["config.json"]
        writer.steps(4, 6)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        tracker = MLflowTracker(place, "basereward", False)
        report = tracker.sync(place, "heads", list(revision.plan()))
        assert (report.runs, report.points, report.trouble) == (0, 6, None)
        assert tracker.url(trial_id(1)) == f"{address}/#/experiments/{experiment}/runs/{run}"
        tracker.close()
        with urlopen(f"{address}/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=train/loss", timeout=20) as answer:
            assert sorted(point["step"] for point in json.load(answer)["metrics"]) == [1, 2, 3, 4, 5, 6]
    finally:
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        except (URLError, OSError):
            break
        time.sleep(0.2)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_busy_port_is_refused_and_the_next_free_one_named(place: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault) as caught:
            running(place, port).__enter__()
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert caught.value.next is not None
    assert int(caught.value.next.removeprefix("sweep ui --mlflow-port ")) > port
    assert not (place.root / "mlflow").exists()


def test_an_impossible_port_is_refused(place: Workspace) -> None:
    with pytest.raises(UsageError):
        check_port("127.0.0.1", 70000)


def test_a_server_that_is_named_is_shown_and_not_started(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    with running(place, free_port()) as address:
        assert address == "http://tracking.example:5000"


def test_a_server_that_does_not_start_says_why(place: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{broken}")
    with pytest.raises(EnvironmentFault) as caught:
        running(place, free_port()).__enter__()
    assert str(caught.value.place).endswith("mlflow-ui.log")
    assert os.path.exists(str(caught.value.place))
