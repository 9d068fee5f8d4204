"""When the nodes of a cluster are next taken from us: maintenance, or a reservation of a whole partition.

A reservation of some nodes needs no care: SLURM starts the job on others, or shortens it (``--time-min``). One of all nodes lets nothing
start whose limit reaches into it, so limits are cut to end before it.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from slurm.polling import Run
from slurm.profile import Profile

MARGIN_SECONDS = 60.0


@dataclass(frozen=True)
class Reservation:
    """One reservation; ``begins`` in unix seconds, ``nodes`` and ``partition`` as SLURM writes them."""

    name: str
    begins: float
    nodes: str
    partition: str | None
    flags: frozenset[str]
    users: frozenset[str]
    accounts: frozenset[str]


def read(text: str) -> list[Reservation]:
    """The lines of ``scontrol --oneliner show reservation``; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        words = dict(re.findall(r"(\w+)=(\S*)", line))
        if "ReservationName" in words and "StartTime" in words:
            found.append(
                Reservation(
                    words["ReservationName"], datetime.fromisoformat(words["StartTime"]).timestamp(), words.get("Nodes", ""),
                    _one(words.get("PartitionName")), _names(words.get("Flags")), _names(words.get("Users")), _names(words.get("Accounts")),
                )
            )  # fmt: skip
    return found


def next_begin(profile: Profile, ask: Run, now: float, until: float) -> float | None:
    """Unix seconds before which workers must have left, where all nodes are reserved for others between ``now`` and ``until``."""
    reply = ask(("scontrol", "--oneliner", "show", "reservation"))
    if reply.code != 0:
        return None
    begins = [
        found.begins for found in _of_others(read(reply.out), profile) if now < found.begins < until and _takes_all(found, profile, ask)
    ]
    return min(begins) - MARGIN_SECONDS if begins else None


def _of_others(found: list[Reservation], profile: Profile) -> Iterator[Reservation]:
    for reservation in found:
        mine = profile.sbatch.get("reservation") == reservation.name
        if not (mine or getpass.getuser() in reservation.users or (profile.account or "") in reservation.accounts):
            yield reservation


def _takes_all(reservation: Reservation, profile: Profile, ask: Run) -> bool:
    if "ALL_NODES" in reservation.flags:
        return True
    partition = [f"--partition={profile.partition}"] if profile.partition else []
    ours = set(ask(("sinfo", "--noheader", "--Node", "--format=%N", *partition)).out.split())
    theirs = set(ask(("scontrol", "show", "hostnames", reservation.nodes)).out.split())
    return bool(ours) and ours <= theirs


def _one(word: str | None) -> str | None:
    return None if word in (None, "", "(null)") else word


def _names(word: str | None) -> frozenset[str]:
    return frozenset((_one(word) or "").split(",")) - {""}
