"""Timers are pure functions; their whole text is held by golden files (REWRITE_GOLDEN=1 writes them anew)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm import timers
from slurm.profile import Profile

GOLDEN = Path(__file__).parent / "golden"
SWEEP, RUNS = "/env/bin/sweep", Path("/shared/runs 100%")
ENVIRONMENT = {"SWEEP_DATA": "/shared/data", "SLURM_CONF": "/etc/slurm/slurm.conf"}
PROFILE = Profile.model_validate(
    {
        "kind": "slurm", "account": "proj", "setup": ["module load python/3.11"], "env": {"HF_HOME": "/shared/hf"},
        "keeper": {"partition": "cpu", "time": "2d", "memory": "4G"},
    }
)  # fmt: skip
TEXTS = {
    "timer-systemd.txt": timers.systemd(SWEEP, RUNS, ENVIRONMENT),
    "timer-cron.txt": timers.cron(SWEEP, RUNS, ENVIRONMENT),
    "timer-scrontab.txt": timers.scrontab(SWEEP, RUNS, ENVIRONMENT, PROFILE),
    "timer-keeper.sh": timers.keeper(SWEEP, RUNS, ENVIRONMENT, PROFILE),
    "timer-keeper-plain.sh": timers.keeper(SWEEP, Path("/runs"), {}, Profile(kind="slurm")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_the_golden_one(name: str) -> None:
    file = GOLDEN / name
    if os.environ.get("REWRITE_GOLDEN"):
        file.write_text(TEXTS[name], encoding="utf-8")
    assert TEXTS[name] == file.read_text(encoding="utf-8")


def test_a_keeper_that_fails_at_once_is_no_storm_of_jobs() -> None:
    """Its successor is queued by its first line of work: without a time to begin at, SLURM would run one after the other."""
    (line,) = [line for line in TEXTS["timer-keeper.sh"].splitlines() if line.startswith("sbatch ")]
    assert f"--begin=now+{timers.MINUTES}minutes " in line
