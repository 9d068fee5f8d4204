"""Workspaces of every earlier format open, and say what they said on the day they were frozen."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from core.definition.identity import trial_id
from core.definition.trial import TrialConfig
from core.workspace.layout import Workspace
from tests.assets.freeze import digest

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SWEEP = str(Path(sys.executable).parent / "sweep")
FROZEN = sorted(ASSETS.glob("workspace-*.tar.gz"))


@pytest.fixture(params=FROZEN, ids=lambda path: path.name)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    archive: Path = request.param
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    for name in ("cache", "leases", "jobs"):
        (tmp_path / "runs" / name).mkdir()
    said = json.loads((ASSETS / archive.name.replace(".tar.gz", ".json")).read_text())
    return tmp_path, said


def ask(folder: Path, *words: str) -> Any:
    ended = subprocess.run([SWEEP, *words, "--json"], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def without_flags(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Flags such as ``stale`` follow the code of today; all else must stay."""
    return [{key: value for key, value in row.items() if key not in ("flags", "reason")} for row in rows]


def test_there_is_at_least_one() -> None:
    assert FROZEN


def test_states_and_numbers_are_those_of_the_day(frozen: tuple[Path, dict[str, Any]]) -> None:
    folder, said = frozen
    status = ask(folder, "status", "frozen")
    assert status["counts"] == said["status"]["counts"]
    assert without_flags(status["trials"]) == without_flags(said["status"]["trials"])
    assert digest(ask(folder, "report", "frozen")) == said["report"]


def test_every_configuration_still_hashes_to_its_id(frozen: tuple[Path, dict[str, Any]]) -> None:
    trials = list(Workspace.open(frozen[0] / "runs").trials())
    assert trials
    for trial in trials:
        assert trial_id(TrialConfig.model_validate(json.loads(trial.config.read_text()))) == trial.id


def test_a_failure_of_that_day_is_still_explained(frozen: tuple[Path, dict[str, Any]]) -> None:
    folder, said = frozen
    failed = next(trial for trial in said["status"]["trials"] if trial["state"] == "failed")
    explained = ask(folder, "explain", failed["id"])
    assert explained["cause"] == failed["cause"]
    assert explained["attempts"][0]["message"]
    assert ask(folder, "index", "rebuild")["trials"] == len(said["status"]["trials"])
