"""What a site allows its users, in SLURM's words: limits of associations and of QOS, and the GPU-minutes that are left. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

ASSOC = ("Account", "QOS", "DefaultQOS", "MaxSubmit", "MaxJobs", "GrpTRES", "MaxTRES", "MaxWall")
QOS = ("Name", "MaxSubmitPU", "MaxJobsPU", "GrpTRES", "MaxTRESPU", "MaxWall")
"""Columns that sacctmgr is asked for; those of :class:`Allowance` at the end, in its order."""
_GPUS = re.compile(r"gres/gpu(?::[\w.-]+)?=(\d+)")
_GROUP = re.compile(r"(\d+)\(")
_SPENT = re.compile(r"gres/gpu(?::[\w.-]+)?=(\d+)\((\d+)\)")


@dataclass(frozen=True)
class Allowance:
    """The limits of one association or QOS; ``None``: none is set.

    Attributes:
        where: whose limits: ``account proj``, ``qos normal``.
        qos: names that the association may use.
        submitted: jobs of a user that wait or run.
        running: jobs of a user that run.
        gpus: GPUs at once, of all who share the limit.
        own_gpus: GPUs at once, of one user (of one job, where it is an association's).
        wall: the longest time limit, minutes.
        default: the QOS of jobs that name none, where the association says so.
    """

    where: str
    qos: frozenset[str]
    submitted: int | None
    running: int | None
    gpus: int | None
    own_gpus: int | None
    wall: float | None
    default: str | None = None

    @property
    def job_qos(self) -> str | None:
        """The QOS under which a job of this association runs that names none: its default, or the only one."""
        return self.default or (next(iter(self.qos)) if len(self.qos) == 1 else None)

    @property
    def words(self) -> str:
        """The limits that are set, in words; "" for none."""
        own = "a user" if self.where.startswith("qos") else "a job"
        said = [
            (self.submitted, "jobs submitted"), (self.running, "jobs running"), (self.gpus, "GPUs of all together"),
            (self.own_gpus, f"GPUs {own}"), (None if self.wall is None else self.wall / 60, "h a job"),
        ]  # fmt: skip
        return ", ".join(f"{value:g} {what}" for value, what in said if value is not None)


def read_assoc(text: str) -> list[Allowance]:
    """The lines of ``sacctmgr --noheader --parsable2 show assoc format=ASSOC``."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == len(ASSOC) - 1]
    return [
        replace(_allowance(f"account {account}", frozenset(qos.split(",")) - {""}, rest), default=default or None)
        for account, qos, default, *rest in rows
    ]


def read_qos(text: str) -> list[Allowance]:
    """The lines of ``sacctmgr --noheader --parsable2 show qos format=QOS``."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == len(QOS) - 1]
    return [_allowance(f"qos {name}", frozenset({name}), rest) for name, *rest in rows]


def _allowance(where: str, qos: frozenset[str], values: list[str]) -> Allowance:
    submitted, running, group, own, wall = values
    numbers = [int(value) if value.isdigit() else None for value in (submitted, running)]
    gpus = [int(found[1]) if (found := _GPUS.search(value)) else None for value in (group, own)]
    return Allowance(where, qos, numbers[0], numbers[1], gpus[0], gpus[1], minutes(wall))


def minutes(text: str) -> float | None:
    """A time of SLURM in minutes: ``30``, ``90:00``, ``04:00:00``, ``7-00:00:00``; ``None`` for none (``UNLIMITED``, "")."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]):
        return None
    numbers = [float(part) for part in parts]
    if dash:  # days-hours[:minutes[:seconds]]
        hours, mins, seconds = [*numbers, 0.0, 0.0][:3]
    else:  # minutes, minutes:seconds, hours:minutes:seconds
        hours, mins, seconds = (0.0, *numbers, 0.0)[:3] if len(numbers) < 3 else numbers
    return 1440 * float(days or 0) + 60 * hours + mins + seconds / 60


@dataclass(frozen=True)
class Minutes:
    """GPU-minutes that an account, a user in it or a QOS was given, and what is used up of them."""

    where: str
    given: int
    used: int

    @property
    def left(self) -> int:
        """What may still be asked for; SLURM counts the time limits of what runs as used."""
        return max(0, self.given - self.used)


def gpu_minutes(text: str, user: str, accounts: Collection[str], qos: Collection[str]) -> Iterator[Minutes]:
    """Those that apply, from ``scontrol --oneliner show assoc_mgr flags=assoc,qos``; accounts above one's own apply too."""
    lines = _lines(text)
    above = _above(lines, accounts)
    for line in lines:
        found = _SPENT.search(line.get("GrpTRESMins", ""))
        name, of = line.get("QOS", "").partition("(")[0], line.get("UserName", "").partition("(")[0]
        mine = name in qos if name else line.get("Account") in above and of in ("", user)
        if found is not None and mine:
            where = f"qos {name}" if name else f"account {line['Account']}" + (f", user {of}" if of else "")
            yield Minutes(where, int(found[1]), int(found[2]))


def shared(text: str, user: str, accounts: Collection[str]) -> list[Allowance]:
    """What all who share an account may have together (``GrpSubmitJobs``, ``GrpJobs``, ``GrpTRES``), and the accounts above it.

    From the same text as :func:`gpu_minutes`: sacctmgr shows a user the limits of his own association alone.
    """
    lines = _lines(text)
    above = _above(lines, accounts)
    found = []
    for line in lines:
        of = line.get("UserName", "").partition("(")[0]
        if "UserName" in line and line.get("Account") in above and of in ("", user):
            jobs = [int(one[1]) if (one := _GROUP.match(line.get(name, ""))) else None for name in ("GrpSubmitJobs", "GrpJobs")]
            gpus = _SPENT.search(line.get("GrpTRES", ""))
            where = f"account {line['Account']}" + (f", user {of}" if of else ", all together")
            found.append(Allowance(where, frozenset(), jobs[0], jobs[1], int(gpus[1]) if gpus else None, None, None))
    return found


def partition_qos(text: str, partition: str | None) -> set[str]:
    """The QOS of the partitions (``a,b``; ``None``: the default one), from ``scontrol --oneliner show partition``."""
    rows = _lines(text)
    names = partition.split(",") if partition is not None else [row["PartitionName"] for row in rows if row.get("Default") == "YES"]
    return {row["QoS"] for row in rows if row.get("PartitionName") in names and row.get("QoS", "N/A") not in ("N/A", "")}


def _lines(text: str) -> list[dict[str, str]]:
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]


def _above(lines: Collection[Mapping[str, str]], accounts: Collection[str]) -> set[str]:
    """The accounts and those above them."""
    parents = {line["Account"]: line.get("ParentAccount", "").partition("(")[0] for line in lines if line.get("UserName") == ""}
    found = set(accounts)
    for account in accounts:
        while (account := parents.get(account, "")) and account not in found:
            found.add(account)
    return found
