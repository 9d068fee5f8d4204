"""Everything at once: a grid of forty trials on four nodes, and all that a cluster does to it in a bad night.

Two preemptions, a slurmd killed, a node set down, slurmctld killed and restarted, slurmdbd away, every array cancelled, the launcher
killed. It costs time. Each trial has one result in the end, and its numbers are those of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from conftest import SLOW, ClusterStudy
from tests_launch import Study, wait_for

from core.workspace.process import start_time

pytestmark = [pytest.mark.slurm, pytest.mark.launch, pytest.mark.drill]

DEFINITION = """\
version: 1
name: forty
seeds: 20
code: [slow.py]
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  loss: {slow: {seconds: 0}}
  train: {epochs: 1}
  execution: {threads: 1}
grid:
  head.layers: [1, 2]
checkpoint: {every: 4steps}
validation: {items: 8, every: 1}
"""
PROFILE = """\
test:
  kind: slurm
  partition: low
  time: 10min
  limits: {workers: 6, calls_per_minute: 60}
"""
STEPS = ("rehearsal.steps=24", "rehearsal.pairs=64", "rehearsal.items=8", "rehearsal.batch=8")
"""While the blows fall each step waits (``ClusterStudy.pace``): no machine is too slow to deal them before the trials are through."""
LAUNCH = ("launch", "forty.yaml", "--rehearse", *STEPS)


def ended(study: Study) -> list[dict[str, Any]]:
    """The last lines of all attempts that have one."""
    found = []
    for path in study.workspace.glob("trials/*/*/attempts/*/journal.jsonl"):
        found += [json.loads(line) for line in path.read_text().splitlines()[-1:] if '"kind":"ended"' in line]
    return found


def results(study: Study) -> int:
    return len(list(study.workspace.glob("trials/*/*/result/manifest.json")))


def busy(study: Study) -> list[str]:
    """Nodes on which an attempt trains: by the attempts' own files, and by their processes, which all are on this machine."""
    found = []
    for path in study.workspace.glob("trials/*/*/attempts/*/owner.json"):
        journal = path.with_name("journal.jsonl")
        text = journal.read_text() if journal.exists() else ""
        owner = json.loads(path.read_text())
        if '"kind":"started"' in text and '"kind":"ended"' not in text and start_time(owner["pid"]) == owner["start"]:
            found.append(owner["node"])
    return found


def submitted(study: Study) -> dict[str, str]:
    """{key of a worker: its job id}, of those that SLURM has taken; a question without an answer is none of them."""
    records = {path.parent.name: json.loads(path.read_text()) for path in study.workspace.glob("jobs/*/submitted.json")}
    return {key: record["job_id"] for key, record in records.items() if "job_id" in record}


@pytest.fixture
def calm(tmp_path: Path, cluster: Cluster) -> Iterator[ClusterStudy]:
    """The forty trials on this machine, where nobody disturbs them."""
    (tmp_path / "calm").mkdir()
    made = ClusterStudy(tmp_path / "calm", cluster.conf)
    made.write(DEFINITION, "forty")
    (made.folder / "slow.py").write_text(SLOW, encoding="utf-8")
    yield made
    made.end()


@pytest.mark.timeout(900)
def test_forty_trials_survive_a_bad_night(calm: ClusterStudy, cluster: Cluster, bad_night: ClusterStudy) -> None:
    study = bad_night
    launch = study.start(*LAUNCH, "--cluster", "test")
    wait_for(lambda: results(study) >= 2 and busy(study))
    # while the blows fall, the trials wait more than they compute: time for the same forty on this machine
    undisturbed = calm.start(*LAUNCH, "--workers", "1")
    # a slurmd dies under its worker; nobody hears of it for half a minute
    victim = wait_for(lambda: busy(study))[0]
    cluster.kill(victim)
    # preempted, while accounting is away
    cluster.kill("slurmdbd")
    preempt(study, cluster, victim)
    # every array is cancelled and the launcher killed in the same moment
    wait_for(lambda: busy(study))
    launch.kill()
    launch.communicate()
    sent = submitted(study)
    cluster.run("scancel", *{job_id.partition("_")[0] for job_id in sent.values()})
    launch = study.start(*LAUNCH)
    # it has met the controller, and what was cancelled has ended: what works now are its own workers
    wait_for(lambda: len(submitted(study)) > len(sent))
    done = results(study)
    wait_for(lambda: results(study) > done and busy(study))
    # the controller dies; silence is not death: nothing is started in anybody's place
    cluster.kill("slurmctld")
    sent, done = submitted(study), results(study)
    wait_for(lambda: results(study) >= min(40, done + 2))
    assert submitted(study) == sent
    cluster.start("slurmdbd")
    cluster.start("slurmctld")
    preempt(study, cluster, victim)
    # a node is set down under its worker
    down = wait_for(lambda: [node for node in busy(study) if node != victim] or (results(study) == 40 and ["none"]))[0]
    if down != "none":
        cluster.run("scontrol", "update", f"nodename={down}", "state=down", "reason=drill")
    cluster.start(victim)

    study.pace(0)
    output, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, output
    assert {trial["state"] for trial in study.trials("forty")} == {"completed"}
    assert results(study) == 40
    output, _ = undisturbed.communicate(timeout=240)
    assert undisturbed.returncode == 0, output
    assert study.final("forty") == calm.final("forty")
    states = [line["state"] for line in ended(study)]
    assert states.count("preempted") >= 2
    assert "failed" not in states, [line for line in ended(study) if line["state"] == "failed"]
    moved = [trial["id"] for trial in study.trials("forty") if trial["attempts"] > 1]
    told = [study.run("explain", trial[:10]) for trial in moved[:8]]
    assert any("preempted after step" in text for text in told)


def preempt(study: ClusterStudy, cluster: Cluster, away: str) -> None:
    """Jobs of higher priority take the nodes until an attempt has said that it was preempted; ``away`` is a node without slurmd."""

    def preempted() -> int:
        return sum(line["state"] == "preempted" for line in ended(study))

    before = preempted()
    while preempted() == before:
        assert results(study) < 40, "the trials were through before they could be preempted"
        # workers that are still warming up leave without an attempt: then once more
        wait_for(lambda: [node for node in busy(study) if node != away])
        words = ("sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap", "sleep 60")
        jobs = [cluster.run(*words).strip() for _ in range(3)]
        with contextlib.suppress(AssertionError):
            wait_for(lambda: preempted() > before, 20)
        cluster.run("scancel", *jobs)
