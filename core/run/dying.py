"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal

LOST_RACE = 75
"""Exit code of a child that found its unit claimed by another worker, or its parent gone."""

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent goes; leave at once where it has gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(LOST_RACE)
