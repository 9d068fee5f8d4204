"""A build that is killed leaves torch's lock file behind; its successor must build and not wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.training import extensions

DIES = """
import os, signal, sys
from core.training import extensions
from torch.utils.file_baton import FileBaton
with extensions.building("op"):
    place = extensions.folder() / "op"
    place.mkdir(parents=True)
    assert FileBaton(str(place / "lock")).try_acquire()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_build_does_not_hold_its_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_EXTENSIONS", str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", DIES], check=False, cwd=Path(__file__).parents[2])
    lock = extensions.folder() / "op" / "lock"
    assert killed.returncode == -9 and lock.exists(), "what every later process would wait for"
    with extensions.building("op"):
        assert not lock.exists()


def test_a_build_that_runs_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_EXTENSIONS", str(tmp_path))
    waits = "from core.training import extensions\nprint('here', flush=True)\nwith extensions.building('op'): print('mine')"
    with extensions.building("op"):
        (extensions.folder() / "op").mkdir()
        (extensions.folder() / "op" / "lock").touch()
        other = subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert other.stdout is not None and other.stdout.readline() == "here\n"
        assert (extensions.folder() / "op" / "lock").exists(), "of a builder that lives"
    out, _ = other.communicate(timeout=120)
    assert out == "mine\n"


def test_extensions_of_other_machines_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_EXTENSIONS", str(tmp_path))
    here = extensions.folder()
    assert here.parent == tmp_path
    monkeypatch.setattr(extensions, "_processor", lambda: "aarch64-00000000")
    assert extensions.folder() != here
