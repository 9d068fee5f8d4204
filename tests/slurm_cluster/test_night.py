"""A night on the real cluster: it ends with nobody of ours left on the launch host, the next one goes on, and an admin stops it all."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from cluster import Cluster
from conftest import PROFILE, ClusterStudy
from tests_launch import short, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.launch]

LONG = ("head.layers=1", "rehearsal.steps=20000", "rehearsal.pairs=400", "execution.threads=1")
"""A trial that no night of this test can finish."""


def lines(study: ClusterStudy, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in all journals, oldest attempt first."""
    found = []
    for path in sorted(study.workspace.glob("trials/*/*/attempts/*/journal.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [line for line in found if line["kind"] == kind]


def queue(cluster: Cluster) -> str:
    """Jobs that have not ended; one that SLURM is just warning is SIGNALING, and no longer listed as RUNNING."""
    return cluster.run("squeue", "--noheader", "--me", "--states=PENDING,RUNNING,COMPLETING,SIGNALING").strip()


def goes_on(study: ClusterStudy, after: int) -> bool:
    """Whether an attempt beyond the first ``after`` has begun and made steps."""
    paths = sorted(study.workspace.glob("trials/*/*/attempts/*/journal.jsonl"))
    return len(paths) > after and '"kind":"metrics"' in paths[-1].read_text()


def closed() -> str:
    """A window that does not open while a test runs."""
    hour = (datetime.now(UTC).hour + 12) % 24
    return f"{hour:02d}:00-{hour:02d}:30"


def test_a_night_ends_by_itself_the_next_goes_on_and_an_admin_stops_it(study: ClusterStudy, cluster: Cluster) -> None:
    site = study.folder / "site"
    site.mkdir()
    more = f"  signal_lead: 30s\n  shared_dir: {site}\n"
    (study.folder / "clusters.yaml").write_text(PROFILE.rstrip("\n") + "\n" + more, encoding="utf-8")
    study.run(
        "nightly", "add", "small.yaml", "--rehearse", "--cluster", "test", "--name", "night", "--window", closed(), "--zone", "UTC",
        *short(*LONG), *LONG,
    )  # fmt: skip
    assert "outside of its nights" in study.run("tick", "small", "--files-only")
    # a slow machine may not get to its first step in so short a night: then the next one does
    for number in range(1, 5):
        study.run("nightly", "run-now", "night", "--for", "80s")
        # from here on no process of ours runs on the launch host
        closes = json.loads((study.workspace / "nights" / "night" / f"{_day(study, number)}.json").read_text())["closes"]
        wait_for(lambda: not queue(cluster), 110)
        assert time.time() < closes, "they left before the window's end"
        if any(line["state"] == "time_limit" for line in lines(study, "ended")):
            break
    ended = lines(study, "ended")
    assert [line["state"] for line in ended] == ["time_limit"]
    saved = lines(study, "checkpoint")[-1]["step"]

    study.run("nightly", "run-now", "night", "--for", "20min")
    wait_for(lambda: goes_on(study, 1))
    assert lines(study, "started")[-1]["resumed"] == {"attempt": 1, "step": saved}, "the next night goes on"
    study.run("admin", "stop", "--cluster", "test", "--why", "a drill")
    wait_for(lambda: not queue(cluster), 60)
    assert lines(study, "ended")[-1]["state"] == "interrupted"
    assert [trial["state"] for trial in study.trials()] == ["held"]
    study.run("tick", "small", "--files-only")
    assert not queue(cluster), "nothing is submitted"
    assert "a drill" in study.json("admin", "usage", "--cluster", "test")["holds"][0]["says"]
    saved = lines(study, "checkpoint")[-1]["step"]

    study.run("admin", "resume", "--cluster", "test")
    study.run("nightly", "tick")
    wait_for(lambda: goes_on(study, 2))
    assert lines(study, "started")[-1]["resumed"] == {"attempt": 2, "step": saved}, "and nothing is lost"
    history = study.json("nightly", "history", "night")
    assert sum(row["workers"] for row in history) >= 3


def _day(study: ClusterStudy, number: int) -> str:
    (found,) = [path.stem for path in (study.workspace / "nights" / "night").glob(f"*.{number}.json")]
    return found


def test_a_keeper_makes_the_passes_and_sends_its_successor_from_its_node(study: ClusterStudy, cluster: Cluster) -> None:
    more = "  keeper: {partition: low, time: 10min, memory: 1G}\n"
    (study.folder / "clusters.yaml").write_text(PROFILE.rstrip("\n") + "\n" + more, encoding="utf-8")
    words = ("nightly", "add", "small.yaml", "--rehearse", "--cluster", "test", "--name", "kept", "--window", closed(), "--zone", "UTC")
    study.run(*words, *short())
    script = study.folder / "keeper.sh"
    script.write_text(study.run("nightly", "timer", "keeper", "--cluster", "test"), encoding="utf-8")
    (study.folder / "clusters.yaml").unlink()  # a node sees neither the project's folder nor the user's configuration
    cluster.run("sbatch", str(script))
    log = study.workspace / "nights" / "keeper.log"

    def jobs() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in cluster.run("squeue", "--noheader", "--format=%T %i %j").splitlines():
            state, job, name = line.split()
            if name.startswith("rs-keeper-"):
                found.setdefault(state, []).append(job)
        return found

    wait_for(lambda: log.exists() and "serving the nightly grids" in log.read_text(), 60)
    (first,), (second,) = jobs()["RUNNING"], jobs()["PENDING"]
    cluster.run("scancel", first)
    wait_for(lambda: "RUNNING" not in jobs(), 30)
    # it waits for its time, however early the first has ended: one that cannot do its work is no storm of jobs
    wait_for(lambda: cluster.run("squeue", "--noheader", f"--jobs={second}", "--format=%r").strip() == "BeginTime", 30)
    cluster.run("scontrol", "update", f"JobId={second}", "StartTime=now")
    wait_for(lambda: jobs().get("RUNNING") == [second] and len(jobs().get("PENDING", ())) == 1, 60)
    wait_for(lambda: log.read_text().count("serving the nightly grids") == 2, 60)
