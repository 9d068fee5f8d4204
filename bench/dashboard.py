"""How long a reader of many runs waits, beside MLflow's own run table on the same runs in the same minutes, and what fifty readers cost.

    python bench/dashboard.py                    # 5,000 runs with 30 metrics each; needs Debian's chromium
    python bench/dashboard.py --runs 500 --repeat 3

``rows`` is the time from opening the address to the first 50 rows in the DOM, with all 30 metrics as columns, in a fresh browser context
(cold cache), median of the repetitions. The page itself notes the moment, so that no pause between two looks of ours is in it. Both
servers run at once and are asked in turn; the window is tall enough that MLflow's table, which draws only what is seen, has 50 rows too.
``pages`` is the time until each page is there with its rows or its plot, the first and a later time; a table without the statistics that
take longer is there, and ``whole`` is when those have come too. ``readers`` is the server's memory while fifty readers refresh pages of
their own for a minute. ``fresh`` is the time to the first 50 rows of the sweep's ablation table on a
server that has only just started and knows nothing yet. The load of the machine stands beside the figures.

MLflow's store is filled by bulk inserts into its own tables: making 5,000 runs through its client takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

from core.definition.plan import PlannedTrial
from core.workspace.layout import Workspace
from core.workspace.registration import register

METRICS = 30
ROWS = 50
COME = 20.0
"""Seconds in which all readers have got their first pages, whose pictures and answers the server keeps."""
PAUSE = 1.0
"""Seconds between two looks of a reader; a page that is open asks every four."""
CONFIG = {
    "task": "reward_model",
    "paradigm": {"name": "naive"},
    "backbone": {"name": "qwen2.5-vl-7b"},
    "optim": {"lr": 3e-06},
    "rehearsal": None,
}
OURS = "#rows tr"
TABLE = "#table tbody tr"
THEIRS = "a[href*='/runs/']"
WATCH = """
new MutationObserver((changes, watch) => {
  if (document.querySelectorAll("%s").length < %d) return;
  window.rowsThere = performance.timeOrigin + performance.now();
  watch.disconnect();
}).observe(document, { childList: true, subtree: true });
"""


def names() -> list[str]:
    return ["validation/accuracy", "train/loss", *(f"validation/group_{number:02d}" for number in range(METRICS - 2))]


def values(number: int) -> dict[str, float]:
    return {name: 0.5 + (number * 37 + place * 11) % 1000 / 2000 for place, name in enumerate(names())}


def write_workspace(root: Path, runs: int) -> Workspace:
    """A finished sweep, file by file as workers leave it, but without waiting for the disk."""
    place = Workspace.open(root, create=True)
    trials = [
        PlannedTrial(f"{number % 256:02x}{number:030x}", {"optim.lr": number // 5, "head.layers": number % 5}, 0, {**CONFIG, "seed": 0})
        for number in range(runs)
    ]
    meta = {
        "name": "many", "project": "many", "rehearsal": False, "digest": "many", "source": "many.yaml", "overrides": [], "reported": [],
        "objective": {"metric": "validation/accuracy", "mode": "max"},
    }  # fmt: skip
    register(place, place.sweep("many"), meta=meta, definition="name: many\n", code=[], trials=trials)
    prints = {"code": "c", "env": "e", "data": "d"}
    for number, planned in enumerate(trials):
        trial = place.trial(planned.id)
        attempt = trial.folder / "attempts" / "0001"
        attempt.mkdir(parents=True)
        trial.result.mkdir()
        (trial.folder / "config.json").write_text(json.dumps(planned.config))
        (attempt / "owner.json").write_text(json.dumps({"v": 1, "worker": "w", "attempt": 1, "host": "gone", "pid": 1}))
        grouped: dict[str, dict[str, float]] = {}
        for name, value in values(number).items():
            grouped.setdefault(name.split("/")[0], {})[name.split("/", 1)[1]] = value
        lines = [{"kind": "started", "attempt": 1, "resumed": None, "fingerprints": prints}]
        lines += [
            {"kind": "metrics", "group": group, "step": step, "values": found} for step in (10, 20) for group, found in grouped.items()
        ]
        lines += [{"kind": "ended", "state": "completed"}]
        text = "".join(json.dumps({"v": 1, "n": n, "t": 1.79e9 + number + n, **line}) + "\n" for n, line in enumerate(lines, start=1))
        (attempt / "journal.jsonl").write_text(text)
        record = {"v": 1, "metrics": values(number), "attempt": 1, "steps": 20, "seconds": 6.0, "fingerprints": prints, "flags": []}
        (trial.result / "metrics.json").write_text(json.dumps(record))
        (trial.result / "manifest.json").write_text("{}")
    return place


def write_mlflow(place: Workspace, runs: int) -> str:
    """The same runs in the workspace's MLflow store; returns the experiment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
        from sqlalchemy import create_engine, insert

        from dashboards.mlflow.library import open_client
        from dashboards.mlflow.place import own_store, store_of

        store = store_of(place)
        own_store(store)
        experiment = open_client(store.uri).create_experiment("many", artifact_location=store.artifacts)
    ids = [f"{number:032x}" for number in range(runs)]
    at = 1_790_000_000_000
    points = [
        {"run_uuid": id, "key": name, "value": value, "timestamp": at + number, "step": 20, "is_nan": False}
        for number, id in enumerate(ids)
        for name, value in values(number).items()
    ]
    rows: dict[Any, list[dict[str, Any]]] = {
        SqlRun: [
            {
                "run_uuid": id, "name": f"optim.lr={number // 5} head.layers={number % 5} seed=0", "source_type": "UNKNOWN",
                "user_id": "bench",
                "status": "FINISHED", "start_time": at + number, "end_time": at + number + 6000, "lifecycle_stage": "active",
                "artifact_uri": f"{store.artifacts}/{id}/artifacts", "experiment_id": int(experiment),
            }
            for number, id in enumerate(ids)
        ],
        SqlMetric: points,
        SqlLatestMetric: points,
        SqlParam: [{"run_uuid": id, "key": key, "value": "x"} for id in ids for key in ("optim.lr", "head.layers", "backbone.name")],
        SqlTag: [{"run_uuid": id, "key": "mlflow.runName", "value": f"run {number}"} for number, id in enumerate(ids)],
    }  # fmt: skip
    engine = create_engine(store.uri)
    with engine.begin() as connection:
        for table, found in rows.items():
            connection.execute(insert(table), found)
    engine.dispose()
    return str(experiment)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_rows(browser: Any, address: str, rows: str) -> float:
    """Seconds until the rows are there, in a context that has seen nothing before."""
    context = browser.new_context(viewport={"width": 1600, "height": 3600})
    page = context.new_page()
    page.add_init_script(WATCH % (rows, ROWS))
    started = time.time()
    page.goto(address, wait_until="commit")
    page.locator(rows).nth(ROWS - 1).wait_for(state="attached", timeout=120_000)
    there = float(page.evaluate("window.rowsThere"))
    context.close()
    return there / 1000 - started


def load() -> str:
    """How busy the machine is: its mean load over one and over five minutes."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} over a minute, {five:.1f} over five, {os.cpu_count()} cores"


def started(place: Workspace, port: int, *words: str) -> subprocess.Popen[str]:
    """`sweep ui`, as soon as it has printed the dashboard's link."""
    line = ["ui", "--port", str(port), "--workspace", str(place.root), *words]
    ui = subprocess.Popen([sys.executable, "-m", "sweeps.cli.main", *line], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert ui.stdout is not None
    print(ui.stdout.readline().rstrip())
    return ui


def ended(ui: subprocess.Popen[str]) -> None:
    ui.send_signal(signal.SIGINT)
    ui.wait(60)


def cpu(process: psutil.Process) -> float:
    """User and system seconds of the server so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure_pages(base: str, trial: str, process: psutil.Process) -> dict[str, tuple[float, float, float, float]]:
    """{page: (seconds until it is there for the first time, until all of it is, until it is there again, CPU seconds of that)}."""
    views = (
        "table",
        "grid",
        "grid&by=metric",
        "curves",
        "intervals",
        "importance",
        "parallel",
        "trials",
        "trials&order=validation/accuracy&down=1",
    )
    pages = {"overview": "/", "cluster": "/cluster", "trial": f"/trial/{trial}", **{view: f"/sweep/many?view={view}" for view in views}}

    def there(path: str, unless: str) -> float:
        started = time.perf_counter()
        while True:
            answer = requests.get(base + path, timeout=120)
            answer.raise_for_status()
            if unless not in answer.text:
                return time.perf_counter() - started
            time.sleep(0.05)

    found = {}
    for name, path in pages.items():
        first = there(path, "This page shows it as soon as")
        whole = first + there(path, "being worked out")
        before = cpu(process)
        found[name] = (first, whole, there(path, "being worked out"), cpu(process) - before)
    return found


def readers(base: str, process: psutil.Process, seconds: float) -> tuple[list[float], int]:
    """Memory of the server in MiB before fifty readers come, and ten times once each has his first pages and refreshes them as a browser
    does; and their requests."""
    paths = [f"/sweep/many?view=trials&page={number + 1}&order=train/loss" for number in range(40)]
    paths += [f"/sweep/many?view={view}" for view in ("table", "grid", "intervals", "parallel", "curves")] * 2
    end = time.monotonic() + COME + seconds

    def read(path: str) -> int:
        asked = 0
        with requests.Session() as session:
            while time.monotonic() < end:
                answer = session.get(base + path, timeout=120)  # opened anew, then renewed by its script
                version = re.search(r'data-version="([^"]+)"', answer.text)
                for _ in range(3):
                    time.sleep(PAUSE)
                    session.get(base + path, headers={"X-Version": version[1] if version else ""}, timeout=120)
                asked += 4
        return asked

    memory = [process.memory_info().rss / 2**20]
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(read, path) for path in paths]
        time.sleep(COME)
        for _ in range(10):
            time.sleep(seconds / 10)
            memory.append(process.memory_info().rss / 2**20)
        return memory, sum(one.result() for one in asked)


def wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description="The dashboard beside MLflow's run table.")
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--readers", type=float, default=60.0, help="seconds for which fifty readers refresh")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="bench-dashboard-") as folder:
        place = write_workspace(Path(folder) / "runs", given.runs)
        experiment = write_mlflow(place, given.runs)
        own, other = free_port(), free_port()
        ui = started(place, own, "--mlflow-port", str(other))
        base, mlflow = f"http://127.0.0.1:{own}", f"http://127.0.0.1:{other}"
        try:
            began = time.perf_counter()
            wait_until(lambda: f"{given.runs}/{given.runs}" in requests.get(base, timeout=60).text)
            print(f"index filled from the files of {given.runs} trials in {time.perf_counter() - began:.1f} s")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                ours, theirs = [], []
                print(f"rows: {load()}")
                for _ in range(given.repeat):
                    ours.append(first_rows(browser, f"{base}/sweep/many?view=trials&columns=all", OURS))
                    theirs.append(first_rows(browser, f"{mlflow}/#/experiments/{experiment}/runs?compareRunsMode=TABLE", THEIRS))
                browser.close()
            a, b = statistics.median(ours), statistics.median(theirs)
            print(f"rows: dashboard {a:.2f} s ({min(ours):.2f} to {max(ours):.2f})")
            print(f"rows: MLflow {b:.2f} s ({min(theirs):.2f} to {max(theirs):.2f}), {b / a:.1f} times as long")
            server = psutil.Process(ui.pid)
            print(f"pages: {load()}")
            for name, (first, whole, again, used) in measure_pages(base, f"{7:02x}{7:030x}", server).items():
                print(f"pages: {name}: {first:.2f} s, whole {whole:.2f} s, again {again:.2f} s (CPU {used:.2f} s)")
            before = cpu(server)
            memory, asked = readers(base, server, given.readers)
            print(f"readers: {asked} requests of 50 readers in {COME + given.readers:.0f} s, CPU {cpu(server) - before:.1f} s")
            print(f"readers: {memory[0]:.0f} MiB before they came, then " + " ".join(f"{one:.0f}" for one in memory[1:]))
        finally:
            ended(ui)
        fresh = []
        print(f"fresh: {load()}")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for _ in range(given.repeat):
                ui = started(place, own, "--no-mlflow")
                try:
                    fresh.append(first_rows(browser, f"{base}/sweep/many", TABLE))
                finally:
                    ended(ui)
            browser.close()
        print(f"fresh: first {ROWS} rows of the table {statistics.median(fresh):.2f} s ({min(fresh):.2f} to {max(fresh):.2f})")


if __name__ == "__main__":
    main()
