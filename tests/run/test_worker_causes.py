"""What ended a child is read from its wait status and the kernel's counter, and written where the child could not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from core.run.oom import oom_kills
from core.workspace.process import start_time


def test_the_kernels_counter_is_read_without_a_guess() -> None:
    assert oom_kills() >= 0


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, time
        from core.run.dying import die_with_parent
        parent = os.getpid()
        if os.fork() == 0:
            die_with_parent(parent)
            open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
            time.sleep(60)
        while not os.path.exists({str(tmp_path / "pid")!r}):
            time.sleep(0.01)
        os.kill(parent, 9)
        """
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if start_time(pid) is None:
            return
        time.sleep(0.05)
    raise AssertionError("the orphan lives on")
