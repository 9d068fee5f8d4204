"""What all tests share: a home of their own, no network, a fresh workspace, and the folder of real data where there is one."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}
GROUPS = ("training", "launch", "browser", "slurm", "drill")
"""Marks of the tests that a target of the Makefile looks for by the text of their files."""
FOREIGN = ("SWEEP_", "SLURM_", "MLFLOW_", "HF_", "SUBMITIT_")
"""Variables of the developer's shell or of a job that would change what the code under test does."""

_home: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Give the whole process, and all that it starts, a home of its own before any test module is imported.

    It is done here and not in a fixture because huggingface_hub reads its variables when it is imported.
    """
    global _home
    _home = Path(tempfile.mkdtemp(prefix="rewardsweep-home-"))
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ.update(OFFLINE)
    os.environ["HOME"] = str(_home)
    for name, folder in (("CONFIG", ".config"), ("CACHE", ".cache"), ("DATA", ".local/share"), ("STATE", ".local/state")):
        os.environ[f"XDG_{name}_HOME"] = str(_home / folder)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.addaudithook(_refuse_network)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _home is not None:
        shutil.rmtree(_home, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before those of other groups are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file that does not spell out the mark of one of its tests would be run by no target."""
    marked = {(item.path, mark.name) for item in items for mark in item.iter_markers() if mark.name in GROUPS}
    for path, name in sorted(marked):
        if f"mark.{name}" not in path.read_text(encoding="utf-8"):
            raise pytest.UsageError(f"{path} has tests of the group {name!r}: write pytest.mark.{name} in it, by which make finds it")


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail loudly where a test would reach beyond this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):  # a Unix socket's address is a string
        host = arguments[1][0]
    else:
        return
    if host not in (None, "", b"localhost", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
        raise RuntimeError(f"a test tried to reach {host!r}; tests stay on this machine")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a workspace that does not exist yet; the command and everything that a test starts finds it too."""
    path = tmp_path / "runs"
    monkeypatch.setenv("SWEEP_WORKSPACE", str(path))
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data: $REWARDSWEEP_SHARED_DATA, else ``shared/data`` beside the repository."""
    path = Path(os.environ.get("REWARDSWEEP_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"the real data is not here: {path} (name its folder in REWARDSWEEP_SHARED_DATA)")
    return path
