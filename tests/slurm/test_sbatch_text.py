"""The batch script is a pure function; its whole text is held by golden files (REWRITE_GOLDEN=1 writes them anew)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.control.ports import Grant
from core.definition.plan import Shape
from slurm import sbatch
from slurm.profile import Profile

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path("/shared/runs")
FOLDER = ROOT / "jobs" / "rs-study-0001"

FULL: dict[str, Any] = {
    "kind": "slurm",
    "partition": "gpu",
    "account": "proj",
    "qos": "normal",
    "constraint": "nvlink&ib",
    "gpu_type": "h200",
    "time": "8h",
    "cpus": 12,
    "memory": "96G",
    "signal_lead": "3min",
    "setup": ["module load cuda/12.4", "source /opt/conda/bin/activate rm"],
    "env": {"HF_HOME": "/shared/hf cache"},
    "sbatch": {"licenses": "matlab:1", "wckey": "rm", "exclusive": "true", "nice": "100"},
    "limits": {"workers": 16},
}
CASES: dict[str, tuple[dict[str, Any], Shape, int]] = {
    "plain": ({"kind": "slurm"}, Shape(), 3),
    "full": (FULL, Shape(gpus=1, time=5000.0), 64),
    "requeue": ({"kind": "slurm", "sbatch": {"requeue": "true"}}, Shape(gpus=1, gpu_type="a100", cpus=4, memory=1.5), 1),
    "ranks": (FULL, Shape(nodes=2, gpus=16, cpus=64, memory=1000.0), 3),
    "node": (FULL | {"node": {"gpus": 8, "cpus": 96, "memory": "1T"}}, Shape(gpus=1), 12),
    "node_ranks": (FULL | {"node": {"gpus": 8, "cpus": 96, "memory": "1T"}}, Shape(nodes=2, gpus=4), 6),
    "apptainer": (
        {"kind": "slurm", "container": {"engine": "apptainer", "image": "/shared/rm.sif", "mounts": ["/shared", "/data:/data:ro"]}},
        Shape(gpus=1),
        2,
    ),
    "apptainer_ranks": (
        {"kind": "slurm", "container": {"engine": "apptainer", "image": "/shared/rm.sif", "mounts": ["/shared"]}},
        Shape(nodes=2, gpus=8),
        1,
    ),
    "apptainer_elsewhere": (
        {
            "kind": "slurm",
            "container": {"engine": "apptainer", "image": "/images/rm.sif", "mounts": ["/data:/data:ro"]},
            "shared_dir": "/site",
        },
        Shape(gpus=1),
        2,
    ),
    "pyxis_elsewhere": (
        {"kind": "slurm", "container": {"engine": "pyxis", "image": "nvcr.io#rm"}, "shared_dir": "/shared/runs/site"},
        Shape(gpus=1),
        2,
    ),
    "pyxis": ({"kind": "slurm", "container": {"engine": "pyxis", "image": "nvcr.io#rm", "mounts": ["/shared:/shared"]}}, Shape(gpus=1), 2),
}


def render(values: dict[str, Any], shape: Shape, count: int) -> str:
    profile = Profile.model_validate(values)
    parameters = sbatch.parameters(profile, shape, "rs-study-0001-abc123", Path("/shared/runs"), {"PYTHONSAFEPATH": "1"})
    return sbatch.text(parameters, sbatch.command(profile, shape, "/env/bin/python", FOLDER), FOLDER / "submitit", count)


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_the_golden_one(name: str) -> None:
    text = render(*CASES[name])
    file = GOLDEN / f"{name}.sh"
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_gres_of_a_profile_stands_beside_the_gpus() -> None:
    text = render({"kind": "slurm", "sbatch": {"gres": "nvme:1"}}, Shape(gpus=2), 1)
    assert "#SBATCH --gres=gpu:2,nvme:1" in text.splitlines()
    assert "#SBATCH --gres=nvme:1" in render({"kind": "slurm", "sbatch": {"gres": "nvme:1"}}, Shape(), 1).splitlines()


@pytest.mark.parametrize("option", ["time", "--mem", "time_min", "deadline", "nodes", "qos"])
def test_an_option_that_would_undo_what_workers_go_by_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="says it"):
        Profile.model_validate({"kind": "slurm", "sbatch": {option: "1"}})


def test_a_worker_gets_whole_minutes_and_knows_from_when_a_warning_is_that_of_the_limit() -> None:
    profile = Profile.model_validate({"kind": "slurm", "time": "4h", "signal_lead": "2min"})
    assert sbatch.time_limit(profile, Shape()) == 4 * 3600
    assert sbatch.time_limit(profile, Shape(time=61.0)) == 120
    assert sbatch.warned_from(profile, Shape()) == 4 * 3600 - 120 - 60
    assert sbatch.warned_from(profile, Shape(time=60.0)) == 0


def test_slurm_restarts_nothing_by_itself_unless_the_profile_says_so() -> None:
    assert not sbatch.requeues(Profile(kind="slurm"))
    assert "--no-requeue" in render({"kind": "slurm"}, Shape(), 1)
    assert sbatch.requeues(Profile.model_validate(CASES["requeue"][0]))


def test_each_attempt_of_several_ranks_is_a_step_over_all_nodes() -> None:
    profile = Profile.model_validate(FULL)
    assert sbatch.step(profile, Shape(gpus=1), "/env/bin/python", ROOT) == []
    assert " ".join(sbatch.step(profile, Shape(nodes=2, gpus=16, cpus=64), "/env/bin/python", ROOT)) == (
        "srun --exact --kill-on-bad-exit=1 --unbuffered --nodes=2 --ntasks=16 --ntasks-per-node=8 --cpus-per-task=4 "
        "--gres=gpu:h200:8 /env/bin/python -u -m slurm.start_rank"
    )
    assert not any(word.startswith("--gres") for word in sbatch.step(profile, Shape(nodes=2, ranks=4), "/env/bin/python", ROOT))


def test_steps_of_trials_side_by_side_take_their_share_of_memory() -> None:
    """Where memory is counted, a step that names none takes all of it, and the next one waits (seen on 22.05)."""
    profile = Profile.model_validate({"kind": "slurm", "node": {"gpus": 8, "cpus": 96}})
    words = sbatch.step(profile, Shape(nodes=2, gpus=4), "python", ROOT)
    assert words[:-4] == [
        "srun", "--exact", "--kill-on-bad-exit=1", "--unbuffered", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--cpus-per-task=12",
        "--gres=gpu:2", "--mem=0",
    ]  # fmt: skip
    known = Profile.model_validate({"kind": "slurm", "node": {"gpus": 8, "cpus": 96, "memory": "1000G"}})
    assert "--mem=256000M" in sbatch.step(known, Shape(nodes=2, gpus=4), "python", ROOT)
    assert "--mem=30720M" in sbatch.step(known, Shape(nodes=2, gpus=4, memory=60.0), "python", ROOT)


def test_ranks_run_inside_the_container_and_the_worker_outside() -> None:
    """The batch script is the worker and hears SLURM's warning; srun is outside, and what it starts is inside."""
    profile, shape, _ = CASES["apptainer_ranks"]
    inside = "apptainer exec --nv --bind /shared /shared/rm.sif python3 -u -m"
    step = " ".join(sbatch.step(Profile.model_validate(profile), shape, "/env/bin/python", ROOT))
    assert step.startswith("srun --exact --kill-on-bad-exit=1 ") and step.endswith(f" --gres=gpu:4 {inside} slurm.start_rank")
    found = sbatch.check(Profile.model_validate(profile), shape, "/env/bin/python", ROOT)
    assert " ".join(found) == (
        "srun --exact --unbuffered --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 --gres=gpu:4 " + inside + " slurm.start_check"
    )
    pyxis = Profile.model_validate(CASES["pyxis"][0])
    step = " ".join(sbatch.step(pyxis, shape, "/env/bin/python", ROOT))
    assert step.endswith("--gres=gpu:4 --container-image=nvcr.io#rm --container-mounts=/shared:/shared python3 -u -m slurm.start_rank")
    assert sbatch.command(pyxis, shape, "/env/bin/python", FOLDER).startswith("exec /env/bin/python -u -m slurm.start_array")
    assert sbatch.check(pyxis, Shape(gpus=1), "python", ROOT) == [], "the worker is inside itself"


def test_every_node_of_several_is_checked_also_without_a_container() -> None:
    """The worker stands on the first; a bad second one would eat every trial."""
    plain = Profile(kind="slurm")
    assert " ".join(sbatch.check(plain, Shape(nodes=4, gpus=32), "/env/bin/python", ROOT)) == (
        "srun --exact --unbuffered --nodes=4 --ntasks=4 --ntasks-per-node=1 --cpus-per-task=1 --gres=gpu:8 "
        "/env/bin/python -u -m slurm.start_check"
    )
    for shape in (Shape(), Shape(gpus=8)):
        assert sbatch.check(plain, shape, "python", ROOT) == [], "the worker checks the node that it stands on"


def test_a_job_of_a_night_is_the_golden_one() -> None:
    profile, shape = Profile.model_validate(FULL | {"sbatch": {}}), Shape(gpus=1)
    cut = sbatch.cut(profile, shape, Grant("weekly/2026-11-20", closes=10_000.0, useful=300.0, account="night", nice=250), now=1_000.0)
    assert cut == sbatch.Cut(minutes=150, least=8, deadline=9000, nice=250, account="night")
    parameters = sbatch.parameters(profile, shape, "rs-study-0001-abc123", Path("/shared/runs"), {}, cut=cut)
    text = sbatch.text(parameters, sbatch.command(profile, shape, "/env/bin/python", FOLDER), FOLDER / "submitit", 4)
    file = GOLDEN / "night.sh"
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert sbatch.warned_from(profile, shape, cut) == 150 * 60 - 180 - 60


def test_a_night_or_a_budget_with_too_little_left_starts_nothing() -> None:
    profile = Profile(kind="slurm")
    grant = Grant("weekly/2026-11-20", closes=1_000.0, useful=300.0)
    assert sbatch.cut(profile, Shape(), grant, now=581.0) is None, "five minutes and the lead of a minute and a half are seven minutes"
    assert sbatch.cut(profile, Shape(), grant, now=580.0) is not None
    assert sbatch.cut(profile, Shape(), replace(grant, seconds=400.0), now=0.0) is None
    nice = Profile.model_validate({"kind": "slurm", "sbatch": {"nice": "0"}})
    values = sbatch.parameters(nice, Shape(), "rs-s", Path("/"), {}, cut=sbatch.cut(nice, Shape(), grant, now=0.0))
    assert values["additional_parameters"]["nice"] == 100, "a night's jobs always stand behind others"
