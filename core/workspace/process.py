"""Who a process is, and what proves that it has ended.

A process is named by host, boot, pid and the start time of that pid (pids come round again). Its end is proved only by
evidence with a name: on the same host and boot no such process exists, or the host (same machine id) has booted since. A
process of another host can be proved dead by its scheduler alone: this module then answers ``None``, which is not "alive".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@cache
def host() -> dict[str, str]:
    """This host: its name, the id of this boot and the id of the machine ("" where the system has none)."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "machine": _read("/etc/machine-id"),
    }


def node() -> str:
    """The scheduler's name for this node, else the host's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which ``pid`` started; ``None`` where there is no such process (a zombie has ended)."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def identity(pid: int | None = None) -> dict[str, Any]:
    """The identity of a process of this host (default: this one), as it is written into ``owner.json``."""
    number = os.getpid() if pid is None else pid
    return {**host(), "pid": number, "start": start_time(number)}


def evidence_of_end(owner: Mapping[str, Any]) -> str | None:
    """A sentence that proves that the process has ended, or ``None`` where nothing here proves it."""
    here = host()
    if owner.get("host") != here["host"]:
        return None
    if owner.get("boot") != here["boot"]:
        if here["machine"] and owner.get("machine") == here["machine"]:
            return f"host {here['host']} has booted since"
        return None
    started = start_time(int(owner["pid"]))
    if started is None:
        return f"no process {owner['pid']} on {here['host']}, same boot"
    if owner.get("start") is not None and started != owner["start"]:
        return f"pid {owner['pid']} on {here['host']} is another process now"
    return None


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether the process belongs to this host and boot, so that :func:`evidence_of_end` can tell alive from dead."""
    here = host()
    return owner.get("host") == here["host"] and owner.get("boot") == here["boot"]
