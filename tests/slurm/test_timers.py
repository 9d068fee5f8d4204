"""Timers are pure functions; their whole text is held by golden files (REWRITE_GOLDEN=1 writes them anew)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.workspace.layout import Workspace
from slurm import timers
from slurm.profile import Profile
from sweeps.cli.main import app

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


def test_a_timer_hands_on_what_changes_a_worker_and_no_secret(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Workspace.open(workspace, create=True)
    kept = {
        "HF_HOME": "/shared/hf", "HF_TOKEN_PATH": "/home/ada/token", "TRANSFORMERS_OFFLINE": "1", "SWEEP_EXTENSIONS": "/shared/ext",
        "XDG_CACHE_HOME": "/shared/cache", "MLFLOW_TRACKING_URI": "http://mlflow:5000", "NCCL_SOCKET_IFNAME": "ib0",
    }  # fmt: skip
    secrets = {"HF_TOKEN": "hf_s3cret", "SWEEP_UI_TOKEN": "s3cret" * 3, "SWEEP_INDEX": "postgresql://ada:s3cret@db/index"}
    for name, value in {**kept, **secrets, "SWEEP_JOB_ID": "7", "EDITOR": "vi"}.items():
        monkeypatch.setenv(name, value)
    for kind in ("cron", "systemd"):
        assert app(["nightly", "timer", kind], standalone_mode=False) == 0
        out, said = capsys.readouterr()
        assert all(f"{name}={value}" in out for name, value in kept.items())
        assert not any(name in out for name in ("HF_TOKEN=", "SWEEP_UI_TOKEN", "SWEEP_INDEX", "SWEEP_JOB_ID", "EDITOR", "s3cret"))
        assert "HF_TOKEN, SWEEP_INDEX, SWEEP_UI_TOKEN" in said and "s3cret" not in said
