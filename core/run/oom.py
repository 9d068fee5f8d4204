"""What the kernel's out-of-memory killer has done in this control group, and which child of several it has hit.

The kernel counts its kills for a whole control group. Children that run side by side share one, so a kill belongs to the child that died
by SIGKILL, once, and to none of its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def oom_kills() -> int:
    """Processes of this control group that the kernel has killed for memory so far (cgroup v2, then v1)."""
    own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    for line in own:
        _, controllers, path = line.split(":", 2)
        for file in (
            Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events",
            Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control",
        ):
            if controllers in ("", "memory") and file.is_file():
                counts = dict(entry.split() for entry in file.read_text(encoding="ascii").splitlines())
                return int(counts.get("oom_kill", 0))
    return 0


class Kills:
    """The kernel's kills that no child has been blamed for yet.

    Args:
        count: the kernel's counter.
    """

    def __init__(self, count: Callable[[], int] = oom_kills) -> None:
        self._count = count
        self._known = count()

    def forget(self) -> None:
        """No child runs: what was killed so far was none of those to come."""
        self._known = self._count()

    def blame(self) -> int:
        """1 where there is a kill that nobody was blamed for, and take it as this child's; else 0."""
        found = min(1, max(0, self._count() - self._known))
        self._known += found
        return found
