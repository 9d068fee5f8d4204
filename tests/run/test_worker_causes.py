"""What ended a child is read from its wait status and the kernel's counter, and written where the child could not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from core.run.worker import cause_of, oom_kills
from core.workspace.process import start_time


def status_of(code: str) -> int:
    """The wait status of a Python process."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    return os.waitpid(pid, 0)[1]


def test_sigkill_is_memory_only_where_the_kernel_says_so() -> None:
    status = status_of("import os; os.kill(os.getpid(), 9)")
    assert cause_of(status, 0) == ("killed", "it received SIGKILL")
    assert cause_of(status, 1)[0] == "host_oom"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_names_its_signal(number: signal.Signals) -> None:
    status = status_of(f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})")
    assert cause_of(status, 0) == ("crashed", f"it received {number.name}")


def test_leaving_without_a_word_is_no_success() -> None:
    assert cause_of(status_of("import os; os._exit(0)"), 0) == ("crashed", "the process left with code 0 and said nothing")


def test_the_kernels_counter_is_read_without_a_guess() -> None:
    assert oom_kills() >= 0


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, time
        from core.run.child import die_with_parent
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
