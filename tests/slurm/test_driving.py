"""A detached launch is refused where nothing that runs in a job can send the next one: known without starting a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task
from toy_worker import plan_of, registered

from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.workspace.layout import Workspace
from slurm import checks, driving, partitions
from slurm.polling import Reply
from slurm.profile import Cluster, Profile
from sweeps.cli import launch


def nothing(task: Task) -> Iterator[float]:
    yield 1.0


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return FakeSlurm(tmp_path, monkeypatch, nothing)


def cluster(**profile: object) -> Cluster:
    return Cluster("jupiter", Profile.model_validate({"kind": "slurm", "partition": "gpu", **profile}))


def image(*mounts: str) -> dict[str, object]:
    return {"engine": "apptainer", "image": "/rm.sif", "mounts": mounts}


def test_workers_in_a_container_without_sbatch_cannot_drive(slurm: FakeSlurm, tmp_path: Path) -> None:
    why = driving.obstacle(cluster(container=image("/shared")), {Shape(gpus=1)}, slurm.ask)
    assert why is not None and "inside the container /rm.sif" in why
    assert driving.obstacle(cluster(container=image(str(tmp_path))), {Shape(gpus=1)}, slurm.ask) is None, "it is mounted"
    assert driving.obstacle(cluster(container=image("/opt:/usr", f"/x:{tmp_path}/bin")), {Shape(gpus=1)}, slurm.ask) is None
    assert driving.obstacle(cluster(container=image("/shared")), {Shape(gpus=2)}, slurm.ask) is None, "those workers stay outside"


def test_nodes_from_which_the_partition_takes_no_jobs(slurm: FakeSlurm) -> None:
    assert driving.obstacle(cluster(), {Shape()}, slurm.ask) is None
    slurm.partition["AllocNodes"] = "login1,login2"
    why = driving.obstacle(cluster(), {Shape()}, slurm.ask)
    assert why is not None and "partition gpu takes jobs from login1,login2 only" in why
    assert driving.obstacle(cluster(partition=None), {Shape()}, slurm.ask) == why, "the default one"
    slurm.partition["AllocNodes"] = "login1,node1,node2"
    assert driving.obstacle(cluster(), {Shape()}, slurm.ask) is None


def test_what_doctor_found_on_a_node_is_known_to_later_launches(slurm: FakeSlurm) -> None:
    driving.remember(cluster(), "not checked, no node was free within 15 s")
    assert driving.remembered(cluster()) is None
    driving.remember(cluster(), f"{driving.MAY_NOT}: sbatch: error: Access denied")
    assert driving.obstacle(cluster(), {Shape()}, slurm.ask) == "a node may not: sbatch: error: Access denied"
    driving.remember(cluster(), driving.MAY)
    assert driving.obstacle(cluster(), {Shape()}, slurm.ask) is None


def test_a_detached_launch_is_refused_before_anything_is_submitted(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace.open(tmp_path / "runs", create=True)
    revision = registered(place, plan_of(2, Shape()))
    cluster().save(revision.sweep)
    monkeypatch.setattr(driving.obstacle, "__defaults__", (slurm.ask,))
    slurm.partition["AllocNodes"] = "login1"
    with pytest.raises(EnvironmentFault, match="nobody would drive study") as caught:
        launch._detach(place, revision, None)
    assert "without --detach" in str(caught.value.next) and "sbatch" not in slurm.asked


def test_the_longest_limit_of_the_partitions(slurm: FakeSlurm) -> None:
    slurm.partition["MaxTime"] = "1-00:00:00"
    (found,) = partitions.of(cluster().profile, slurm.ask)
    assert found.longest == 86400.0 and partitions.longest([found]) == 86400.0
    slurm.partition["MaxTime"] = "UNLIMITED"
    assert partitions.longest([found, *partitions.of(cluster().profile, slurm.ask)]) is None
    assert partitions.longest([]) is None


@pytest.mark.parametrize(
    ("config", "verdict", "words"),
    [
        ("PreemptType             = preempt/none", "ok", "none"),
        ("PreemptType = preempt/qos\nSlurmctldParameters     = enable_configless,preempt_send_user_signal", "ok", "with a warning"),
        ("PreemptType = preempt/qos\nPreemptParameters       = send_user_signal", "ok", "with a warning"),
        ("PreemptType = preempt/qos\nSlurmctldParameters     = (null)", "note", "without a warning"),
        ("", "ok", "does not say"),
    ],
)
def test_doctor_says_whether_preempted_jobs_are_warned(config: str, verdict: str, words: str) -> None:
    (found,) = checks._preemption(lambda command: Reply(0, config, ""))
    assert found.verdict == verdict and words in found.found
