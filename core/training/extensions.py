"""Native code that DeepSpeed compiles at its first use, and a lock that a killed build does not leave behind.

torch guards a build with a file that the builder removes at its end. A job that is killed while it builds (a preemption) leaves the
file, and every later process waits for it without end. Here whoever builds holds a lock of the kernel, which goes with the process:
who has it knows that nobody builds, and removes torch's file where a dead builder has left it.

The folder is ``$SWEEP_EXTENSIONS``, else ``rewardsweep/extensions`` in the user's cache; below it, one per Python, torch and processor,
so that machines of several kinds share a home. Only ``offload`` on GPUs needs it: DeepSpeed's AdamW for the CPU.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def folder() -> Path:
    """Where this machine's extensions are built and found."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rewardsweep" / "extensions"
    root = Path(os.environ.get("SWEEP_EXTENSIONS") or cache).expanduser().absolute()
    return root / f"py{sys.version_info.major}{sys.version_info.minor}-torch{torch.__version__}-{_processor()}"


def _processor() -> str:
    """What the compiler's ``-march=native`` depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), text[:200])
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


@contextmanager
def building(name: str) -> Iterator[None]:
    """Load or build the extension ``name`` inside; others that need it wait, and a builder's death ends the wait."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    with open(place / f"{name}.builder", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (place / name / "lock").unlink(missing_ok=True)
        yield
