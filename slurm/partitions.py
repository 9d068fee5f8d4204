"""What the controller says of a partition: how long its jobs may last, and which hosts may send it jobs. Pure but for the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slurm.allowances import minutes
from slurm.polling import Run
from slurm.profile import Profile


@dataclass(frozen=True)
class Partition:
    """One partition; ``longest`` in seconds, ``None`` for no limit; ``senders`` and ``nodes`` as SLURM writes lists of hosts."""

    name: str
    default: bool
    longest: float | None
    senders: str
    nodes: str


def read(text: str) -> list[Partition]:
    """The lines of ``scontrol --oneliner show partition``; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        words = dict(re.findall(r"(\w+)=(\S*)", line))
        if "PartitionName" in words:
            most = minutes(words.get("MaxTime", ""))
            found.append(
                Partition(
                    words["PartitionName"], words.get("Default") == "YES", None if most is None else 60.0 * most,
                    words.get("AllocNodes", "ALL"), words.get("Nodes", ""),
                )
            )  # fmt: skip
    return found


def of(profile: Profile, ask: Run) -> list[Partition]:
    """Those that the jobs of a profile may run in: its own, or the cluster's default; none where the controller does not say."""
    reply = ask(("scontrol", "--oneliner", "show", "partition"))
    names = set((profile.partition or "").split(",")) - {""}
    return [one for one in read(reply.out) if (one.name in names if names else one.default)] if reply.code == 0 else []


def longest(found: Sequence[Partition]) -> float | None:
    """Seconds that a job may last in one of them at least; ``None``: no limit, or none is known."""
    limits = [one.longest for one in found]
    return None if not limits or None in limits else max(limit for limit in limits if limit is not None)
