"""What ended an attempt: from its exception, its exit status, the kernel's counter of kills, its last output. Pure.

The strongest evidence comes first. An exception's type and a signal with the kernel's own count say what happened; the last lines
of the output are read only where these leave it open, and only for words that a library prints in one situation.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import traceback
from collections.abc import Iterable, Mapping

TAIL_BYTES = 16 * 1024
"""So much of the end of an output is read."""

PATTERNS: Mapping[str, re.Pattern[str]] = {
    "cuda_oom": re.compile(r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|CUDA_ERROR_OUT_OF_MEMORY", re.IGNORECASE),
    "node_failure": re.compile(
        r"uncorrectable (?:NVLINK|ECC) error|fallen off the bus|GPU is lost|Unable to determine the device handle|"
        r"no CUDA-capable device|CUDA driver initialization failed|CUDA-capable device\(s\) is/are busy or unavailable|"
        r"Stale file handle|Transport endpoint is not connected|\bXid\b.*\b(?:48|63|64|74|79|94|95)\b",
        re.IGNORECASE,
    ),
    "comm_timeout": re.compile(
        r"Watchdog caught collective operation timeout|collective operation timeout|NCCL (?:error|timeout)|ncclRemoteError|ncclSystemError|"
        r"DistBackendError|DistNetworkError|DistStoreError|Timed out waiting \d+ms for (?:recv|send)|Connection closed by peer|"
        r"Application timeout caused pair closure|gloo/transport/",
        re.IGNORECASE,
    ),
    "disk_quota": re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE),
    "host_oom": re.compile(
        r"DefaultCPUAllocator: (?:can't|not enough)|Cannot allocate memory|oom[-_]kill|DataLoader worker .* killed by signal: Killed",
        re.IGNORECASE,
    ),
}
"""Words by which libraries and the system name a cause, the most telling first."""

_ERRNOS: Mapping[int, str] = {
    errno.ENOSPC: "disk_quota",
    errno.EDQUOT: "disk_quota",
    errno.ENOMEM: "host_oom",
    errno.EIO: "node_failure",
    errno.ESTALE: "node_failure",
    errno.ENOTCONN: "node_failure",
}


def of_text(text: str) -> tuple[str, str] | None:
    """(cause, the line that says so) from an output's last lines; ``None`` where no line names one."""
    lines = text.splitlines()
    for cause, pattern in PATTERNS.items():
        for line in reversed(lines):
            if pattern.search(line):
                return cause, line.strip()[:500]
    return None


def of_exception(error: BaseException) -> str:
    """The cause of an exception that nobody caught."""
    if isinstance(error, MemoryError):
        return "host_oom"
    if isinstance(error, OSError) and error.errno is not None and error.errno in _ERRNOS:
        return _ERRNOS[error.errno]
    if any(kind.__name__ == "OutOfMemoryError" and kind.__module__.startswith("torch") for kind in type(error).__mro__):
        return "cuda_oom"
    # what torch raises from its libraries is a RuntimeError with their words; other exceptions may quote anything
    named = of_text(f"{type(error).__name__}: {error}") if isinstance(error, RuntimeError) else None
    return named[0] if named is not None else "user_bug"


def of_status(status: int, oom: int, tail: str = "") -> tuple[str, str]:
    """(cause, message) of a process that ended without a word.

    Args:
        status: as ``os.waitpid`` gives it.
        oom: processes that the kernel's out-of-memory killer ended meanwhile in the same control group.
        tail: the end of its output.
    """
    said = of_text(tail)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        if name == "SIGKILL":
            if oom:
                return "host_oom", "the kernel's out-of-memory killer ended it"
            return said or ("killed", "it received SIGKILL")
        return (said[0], f"it received {name} after: {said[1]}") if said else ("crashed", f"it received {name}")
    code = os.WEXITSTATUS(status)
    return said or ("crashed", f"the process left with code {code} and said nothing")


def tail_of(path: str | os.PathLike[str]) -> str:
    """The end of an output; "" where there is none."""
    try:
        with open(path, "rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - TAIL_BYTES))
            return handle.read().decode(errors="replace")
    except OSError:
        return ""


def signature(error: BaseException) -> str:
    """12 hex digits, equal for equal tracebacks: the exception's type, and file, function and line of each frame."""
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    words = [type(error).__qualname__, *(f"{os.path.basename(f.filename)}:{f.name}:{f.lineno}" for f in frames)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
