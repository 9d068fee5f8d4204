"""Whole sweeps through a real SLURM: what it does to workers costs time and changes no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from conftest import ARRAY_SIZE, PROFILE, SLOW, ClusterStudy
from tests_launch import DEFINITION, Study, short, wait_for

from core.control.jobs import jobs_of
from core.control.ports import Submit
from core.control.tick import SweepReader, tick
from core.definition.plan import PlannedTrial, Shape
from core.workspace.layout import Workspace
from core.workspace.registration import register
from slurm.cluster import SlurmSubmitter
from slurm.polling import SlurmScheduler
from slurm.profile import Cluster as Named
from slurm.profile import Profile

pytestmark = [pytest.mark.slurm, pytest.mark.launch]

STEPS = ("rehearsal.steps=80", "execution.threads=1")
"""Long enough to be hit in the middle; one thread everywhere, so that numbers are equal to the bit."""

SMALL_GPU = """\
import torch

from core.definition.fields import execution
from core.definition.trial import LossTermConfig
from core.registry import register


class SmallGpuConfig(LossTermConfig):
    fits: int = execution(99, ge=1, unit="pairs", doc="pairs of one forward pass that this GPU can hold")


def small_gpu(batch, config):
    if len(batch.chosen) > config.fits:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return batch.chosen * 0.0


register("loss", "small_gpu", SmallGpuConfig, "small_gpu:small_gpu")
"""


def words(*more: str) -> list[str]:
    return [*short(*STEPS, *more), *STEPS, *more]


def launch_words(*more: str) -> list[str]:
    return ["launch", "small.yaml", "--rehearse", "--cluster", "test", *words(*more)]


def lines(study: Study) -> list[dict[str, Any]]:
    found = []
    for path in study.workspace.glob("trials/*/*/attempts/*/journal.jsonl"):
        found += [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return found


def owners(study: Study) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in study.workspace.glob("trials/*/*/attempts/*/owner.json")]


def arrays(study: Study) -> dict[str, int]:
    """{job id of an array: its tasks}"""
    found: dict[str, int] = {}
    for path in study.workspace.glob("jobs/*/submitted.json"):
        array = json.loads(path.read_text())["job_id"].partition("_")[0]
        found[array] = found.get(array, 0) + 1
    return found


def in_the_middle(study: Study) -> bool:
    """Whether some trial has a checkpoint, steps beyond it, and many steps to go."""
    return any(line["kind"] == "metrics" and 6 <= line.get("step", 0) <= 50 for line in lines(study))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> dict[str, dict[str, float]]:
    """The numbers of a run on this machine that nothing interrupts."""
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    study.write()
    study.run("launch", "small.yaml", "--rehearse", *words(), "--workers", "1")
    return study.final()


@pytest.mark.xdist_group("undisturbed")
def test_a_sweep_runs_to_its_table_on_the_nodes(study: ClusterStudy, undisturbed: dict[str, dict[str, float]]) -> None:
    output = study.run(*launch_words())
    assert "on cluster test" in output
    assert "generated_images" in output, "the table"
    assert study.final() == undisturbed
    assert {owner["host"] for owner in owners(study)} <= {f"node{n}" for n in range(1, 5)}, "trained on the nodes, not here"
    assert [trial["attempts"] for trial in study.trials()] == [1, 1]
    # the sweep remembers where it runs; a second launch has nothing to do and submits nothing
    before = arrays(study)
    again = study.run("launch", "small.yaml", "--rehearse", *words())
    assert "2 reused" in again and "on cluster test" in again
    assert arrays(study) == before


@pytest.mark.xdist_group("undisturbed")
def test_a_job_that_slurm_restarts_takes_up_trials_again(
    study: ClusterStudy, cluster: Cluster, undisturbed: dict[str, dict[str, float]]
) -> None:
    """``requeue`` in the profile: the same job comes back, in another incarnation, to the same job folder."""
    profile = PROFILE.replace("workers: 2", "workers: 1") + "  sbatch: {requeue: true}\n"
    (study.folder / "clusters.yaml").write_text(profile, encoding="utf-8")
    launch = study.start(*launch_words())
    wait_for(lambda: in_the_middle(study))
    (array,) = arrays(study)
    cluster.run("scontrol", "requeue", f"{array}_0")
    output, _ = launch.communicate(timeout=180)
    assert launch.returncode == 0, output
    assert study.final() == undisturbed
    assert max(trial["attempts"] for trial in study.trials()) == 2


def test_at_the_time_limit_a_worker_saves_and_sends_the_next_one_which_finishes_the_trial(study: ClusterStudy) -> None:
    """Nobody watches: the worker is the only one there is, and SLURM kills all that it leaves behind."""
    # one worker at a time: the warm-up of a second would cost this one its minute
    profile = PROFILE.replace("time: 10min", "time: 1min\n  signal_lead: 20s").replace("workers: 2", "workers: 1")
    (study.folder / "clusters.yaml").write_text(profile, encoding="utf-8")
    # a minute of steps: more than the warning leaves, and no work for the two cores; a worker that a slow machine keeps from its
    # first step until the warning leaves without an attempt, and the next one has as long
    (study.folder / "slow.py").write_text(SLOW, encoding="utf-8")
    study.write("code: [slow.py]\n" + DEFINITION.replace("  train:", "  loss: {slow: {seconds: 0}}\n  train:"))
    study.pace(1)
    slow = ("head.layers=1", "rehearsal.steps=60")
    study.run("launch", "small.yaml", "--rehearse", "--cluster", "test", "--detach", *short(*slow), *slow)
    wait_for(lambda: [line for line in lines(study) if line["kind"] == "ended" and line["state"] == "time_limit"], 150)
    study.pace(0)
    wait_for(lambda: [line for line in lines(study) if line["kind"] == "ended" and line["state"] == "completed"], 150)
    (trial,) = study.trials()
    assert trial["state"] == "completed" and trial["attempts"] >= 2


def test_an_array_that_was_submitted_and_not_recorded_is_found_by_its_name(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    workspace = Workspace.open(tmp_path / "runs", create=True)
    profile = Profile.model_validate({"kind": "slurm", "partition": "low", "setup": ["touch began-$SLURM_ARRAY_TASK_ID", "sleep 60"]})
    keys = SlurmSubmitter(workspace, Named("test", profile), "nowhere:main").submit("s", 1, Submit(Shape(), 2))
    assert len(keys) == 2
    for key in keys:
        (workspace.jobs / key / "submitted.json").unlink()  # as a crash right after sbatch leaves it
    scheduler = SlurmScheduler(600)
    answers = scheduler.poll(jobs_of(workspace, "s"))
    assert [answers[key].alive for key in keys] == [True, True]
    name = json.loads((workspace.jobs / keys[0] / "array.json").read_text())["name"]
    wait_for(lambda: (workspace.root / "began-0").exists() and (workspace.root / "began-1").exists(), 30)
    cluster.run("scancel", "--name", name)

    def ended() -> bool:
        answers = scheduler.poll(jobs_of(workspace, "s"))
        return all(key in answers and answers[key].ended == "interrupted" for key in keys)

    wait_for(ended, 40)
    assert "CANCELLED" in json.loads((workspace.jobs / keys[0] / "ended.json").read_text())["evidence"]


def test_more_workers_than_an_array_may_have_are_several_arrays(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    workspace = Workspace.open(tmp_path / "runs", create=True)
    profile = Profile.model_validate({"kind": "slurm", "partition": "low", "setup": ["exit 0"], "limits": {"submitted": 8}})
    submitter = SlurmSubmitter(workspace, Named("test", profile), "nowhere:main")
    assert len(submitter.submit("s", 1, Submit(Shape(gpus=1), 5))) == 5
    ids = [job.job_id for job in jobs_of(workspace, "s")]
    assert [str(job_id).partition("_")[2] for job_id in ids] == ["0", "1", "2", "0", "1"]
    assert len(submitter.submit("s", 1, Submit(Shape(gpus=1), 5))) == 3, "limits.submitted"


def test_trials_share_what_a_worker_takes_of_a_node(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job with both GPUs of a node runs two trials side by side, another runs two trials of two ranks on two nodes as srun steps."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr("slurm.sbatch.RANK", "devices")
    workspace = Workspace.open(tmp_path / "runs", create=True)
    profile = Profile.model_validate({"kind": "slurm", "partition": "low", "time": "10min", "node": {"gpus": 2, "cpus": 2}})
    for name, shape in {"forks": Shape(gpus=1), "steps": Shape(nodes=2, gpus=2)}.items():
        config = {"task": "reward_model"}
        trials = [PlannedTrial(f"{number:032x}", {"seed": number}, 0, config, shape) for number in (2 * shape.nodes, 2 * shape.nodes + 1)]
        meta = {"digest": name, "name": name, "project": name, "rehearsal": True}
        revision = register(workspace, workspace.sweep(name), meta=meta, definition="", code=[], trials=trials)[0]
        submitter = SlurmSubmitter(workspace, Named("test", profile), "devices:main", idle=1.0)
        result = tick(SweepReader(workspace, revision, SlurmScheduler(600)), submitter)
        assert len(result.submitted) == 1, "two trials fill one job"
    wait_for(lambda: all((workspace.jobs / f"rs-{name}-0001" / "left.json").exists() for name in ("forks", "steps")), 120)

    def seen(name: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((workspace.root / f"seen-{name}").iterdir())]

    assert all(note["together"] for name in ("forks", "steps") for note in seen(name)), [seen("forks"), seen("steps")]
    assert sorted(note["gpus"] for note in seen("forks")) == ["0", "1"]
    first, second = seen("steps")[:2], seen("steps")[2:]
    for trial in (first, second):
        assert len({note["node"] for note in trial}) == 2 and len({note["gpus"] for note in trial}) == 1
    assert {note["gpus"] for note in (*first, *second)} == {"0", "1"}, "steps side by side have GPUs of their own"
    owners = [json.loads(path.read_text()) for path in workspace.root.glob("trials/*/*/attempts/0001/owner.json")]
    assert sorted(owner["gpus"] for owner in owners if owner["job"] == "rs-forks-0001") == [["0"], ["1"]]
    assert json.loads((workspace.jobs / "rs-steps-0001" / "left.json").read_text())["done"] == 2


def test_doctor_names_what_is_wrong_with_a_profile(study: ClusterStudy) -> None:
    found = {line["check"]: line for line in study.json("doctor", "--cluster", "test")}
    assert found["shared workspace"]["verdict"] == "ok"
    assert found["submit from nodes"]["verdict"] == "ok" and found["reservations"]["verdict"] == "ok"
    assert found["preemption"]["found"] == "preempt/partition_prio, with a warning"
    assert found["GPU-minutes"]["found"] == "no limit"
    assert f"{ARRAY_SIZE}: 2 workers are 1 array" in found["MaxArraySize"]["found"]
    assert found["account"]["verdict"] == "ok" and "lab" in found["account"]["found"]
    (study.folder / "clusters.yaml").write_text(PROFILE.replace("low", "lov"), encoding="utf-8")
    output = study.run("doctor", "--cluster", "test", code=3)
    assert "lov does not exist" in output and "did you mean low?" in output


def test_what_slurm_refuses_is_said_and_leaves_nothing_behind(study: ClusterStudy) -> None:
    (study.folder / "clusters.yaml").write_text(PROFILE.replace("low", "lov"), encoding="utf-8")
    output = study.run(*launch_words(), code=3)
    assert "SLURM refuses the workers" in output and "invalid partition" in output.lower()
    assert "sweep doctor --cluster test" in output
    assert not list((study.workspace / "jobs").iterdir())


def test_a_trial_of_four_processes_on_two_nodes_is_preempted_and_goes_on(study: ClusterStudy, cluster: Cluster) -> None:
    """Each attempt is one srun step: two processes on each of two nodes, and one journal (its numbers: tests/training/test_ranks)."""
    study.write(DEFINITION.replace("grid:\n  head.layers: [1, 2]\n", "resources: {nodes: 2}\n"))
    several = ("rehearsal.steps=40", "execution.threads=1", "execution.ranks=4", "execution.zero=3")
    launch = study.start("launch", "small.yaml", "--rehearse", "--cluster", "test", *short(*several), *several)
    wait_for(lambda: any(line["kind"] == "checkpoint" and line["step"] <= 24 for line in lines(study)), 120)
    cluster.run("sbatch", "--partition=high", "--nodes=4", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 0, output
    (trial,) = study.trials()
    assert trial["state"] == "completed"
    # a leader that SLURM kills before it has written the last line leaves that to SLURM's own word
    states = [attempt["state"] for attempt in study.json("explain", trial["id"][:10])["attempts"]]
    assert set(states) == {"preempted", "completed"}, states
    started = [line for line in lines(study) if line["kind"] == "started" and "ranks" in line]
    assert {(line["ranks"], line["layout"]) for line in started} == {(4, "ZeRO-3")}
    assert started[1]["resumed"]["attempt"] == 1, "as many processes go on from their own files"
    folders = list(study.workspace.glob("trials/*/*/attempts/0001"))
    assert {path.name for path in folders[0].glob("output*.log")} == {"output.log", "output-1.log", "output-2.log", "output-3.log"}
    assert set(study.final()) == {trial["id"]}


def metrics_of(study: Study) -> dict[str, Any]:
    (trial,) = study.trials()
    file = study.workspace / "trials" / trial["id"][:2] / trial["id"] / "result" / "metrics.json"
    return dict(json.loads(file.read_text()))


def test_a_trial_that_runs_out_of_gpu_memory_goes_on_with_less_and_the_report_says_so(study: ClusterStudy) -> None:
    """The nodes have no GPU: a loss says of a forward pass of many pairs what torch says where it does not fit."""
    text = DEFINITION.replace("  train:", "  loss: {small_gpu: {weight: 1, fits: 99}}\n  train:").replace(
        "grid:\n  head.layers: [1, 2]\n", ""
    )
    here = Study(study.folder / "here")
    here.folder.mkdir()
    for one, fits in ((here, 99), (study, 2)):
        one.write("code: [small_gpu.py]\n" + text.replace("fits: 99", f"fits: {fits}"))
        (one.folder / "small_gpu.py").write_text(SMALL_GPU, encoding="utf-8")
    here.launch("--workers", "1")
    study.launch("--cluster", "test", "--workers", "1")
    (trial,) = study.trials()
    assert trial["attempts"] == 3, "8 pairs, then 4, then 2"
    assert trial["flags"] == ["micro_batch_halved"]
    explained = study.json("explain", trial["id"])
    assert [attempt["cause"] for attempt in explained["attempts"]] == ["cuda_oom", "cuda_oom", None]
    assert [attempt["changed"] for attempt in explained["attempts"]] == [{}, {"micro_batch": 4}, {"micro_batch": 2}]
    assert "ran with execution.micro_batch=2" in study.run("explain", trial["id"])
    cell = next(row for row in study.json("report", "small")["rows"] if row["kind"] == "cell")
    assert cell["flags"] == ["micro_batch_halved"]
    assert "micro_batch_halved" in study.run("report", "small")
    # the same trial, the same effective batch: other sums, the same numbers within rounding
    undisturbed, shrunk = metrics_of(here), metrics_of(study)
    assert undisturbed["flags"] == []
    for name in ("train/loss", "train/pairs", "train/steps", "validation/loss", "validation/accuracy"):
        assert shrunk["metrics"][name] == pytest.approx(undisturbed["metrics"][name], rel=2e-3), name
