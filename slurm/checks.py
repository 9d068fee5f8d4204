"""Checking a profile on the real cluster, for ``sweep doctor --cluster NAME``."""

from __future__ import annotations

import getpass
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import EnvironmentFault, nearest
from slurm.cluster import max_array_size
from slurm.polling import Run, run
from slurm.profile import Cluster, Profile

Verdict = Literal["ok", "note", "bad"]
NEEDED = ("sbatch", "squeue", "scontrol", "srun", "scancel")
PATIENCE_SECONDS = 15
"""How long the check of the shared file system waits for a node."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``note`` is worth knowing, ``bad`` prevents a launch."""

    check: str
    verdict: Verdict
    found: str
    next: str = ""


def require_controller(cluster: Cluster, ask: Run = run) -> None:
    """Refuse a launch where SLURM is not here or does not answer.

    Raises:
        EnvironmentFault: with what SLURM's own command says.
    """
    if cluster.profile.kind != "slurm":
        return
    bad = next((check for check in (*_commands(), *_controller(ask)) if check.verdict == "bad"), None)
    if bad is not None:
        raise EnvironmentFault(
            f"cluster {cluster.name} cannot be used from here",
            found=f"{bad.check}: {bad.found}",
            next=f"sweep doctor --cluster {cluster.name}",
        )


def examine(cluster: Cluster, workspace: Path, ask: Run = run) -> Iterator[Check]:
    """Check a profile; each line says what was found and what to do if it will not do."""
    profile = cluster.profile
    yield Check("cluster", "ok", f"{cluster.name} ({profile.kind})")
    if profile.kind != "slurm":
        return
    first = [*_commands(), *_controller(ask)]
    yield from first
    if any(check.verdict == "bad" for check in first):
        return
    checks: list[Callable[[], Iterator[Check]]] = [
        lambda: _partition(profile, ask),
        lambda: _array_size(profile, ask),
        lambda: _accounting(profile, ask),
        lambda: _gpus(profile, ask),
        lambda: _node(profile, ask),
        lambda: _shared(profile, workspace, ask),
    ]
    for check in checks:
        yield from check()


def _commands() -> Iterator[Check]:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        yield Check("commands", "bad", f"not found: {', '.join(missing)}", "log in to a node of the cluster, or load its module")
    else:
        yield Check("commands", "ok", ", ".join(NEEDED))


def _controller(ask: Run) -> Iterator[Check]:
    reply = ask(("scontrol", "ping"))
    up = reply.code == 0 and " UP" in reply.out
    version = ask(("squeue", "--version")).out.strip()
    if up:
        yield Check("controller", "ok", f"answers, {version}")
    else:
        yield Check("controller", "bad", (reply.err or reply.out).strip() or "no answer", "ask the cluster's administrators")


def _partition(profile: Profile, ask: Run) -> Iterator[Check]:
    reply = ask(("sinfo", "--noheader", "--format=%R|%a|%l|%D"))
    rows = {line.split("|")[0]: line.split("|")[1:] for line in reply.out.splitlines() if line.count("|") == 3}
    if profile.partition is None:
        yield Check("partition", "note", f"none in the profile: SLURM's default; there are {', '.join(sorted(rows))}")
        return
    for name in profile.partition.split(","):
        if name not in rows:
            close = nearest(name, rows)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(sorted(rows))}"
            yield Check("partition", "bad", f"{name} does not exist", hint)
        else:
            state, limit, nodes = rows[name]
            yield Check("partition", "ok" if state == "up" else "note", f"{name} is {state}, time limit {limit}, {nodes} nodes")


def _array_size(profile: Profile, ask: Run) -> Iterator[Check]:
    found = max_array_size(ask(("scontrol", "show", "config")))
    if found is None:
        yield Check("MaxArraySize", "note", "not readable: 1001 is assumed")
    elif found < 2:
        yield Check("MaxArraySize", "bad", f"{found}: job arrays are switched off", "ask the cluster's administrators for MaxArraySize")
    else:
        workers = profile.limits.workers
        arrays = -(-workers // min(found, profile.limits.array_size or found))
        yield Check("MaxArraySize", "ok", f"{found}: {workers} workers are {arrays} array{'s' if arrays > 1 else ''}")


def _accounting(profile: Profile, ask: Run) -> Iterator[Check]:
    fields = "Account,Partition,QOS,MaxSubmit,MaxJobs"
    reply = ask(("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", f"format={fields}"))
    rows = [line.split("|") for line in reply.out.splitlines() if line.count("|") == 4]
    if reply.code != 0 or not rows:
        why = (reply.err or "no association of this user").splitlines()[0]
        yield Check("accounting", "note", f"{why}: account and qos cannot be checked; squeue alone is used")
        return
    accounts = {row[0] for row in rows}
    if profile.account is not None and profile.account not in accounts:
        close = nearest(profile.account, accounts)
        hint = f"did you mean {close}?" if close else f"yours: {', '.join(sorted(accounts))}"
        yield Check("account", "bad", f"{profile.account} is none of yours", hint)
    else:
        yield Check("account", "ok", profile.account or f"none in the profile; yours: {', '.join(sorted(accounts))}")
    mine = [row for row in rows if profile.account in (None, row[0])]
    qos = {name for row in mine for name in row[2].split(",") if name}
    if profile.qos is not None and qos and profile.qos not in qos:
        yield Check("qos", "bad", f"{profile.qos} is not open to you", f"yours: {', '.join(sorted(qos))}")
    elif qos:
        yield Check("qos", "ok", profile.qos or f"none in the profile; yours: {', '.join(sorted(qos))}")
    for name, column in (("MaxSubmitJobs", 3), ("MaxJobs", 4)):
        numbers = sorted(int(row[column]) for row in mine if row[column].isdigit())
        yield Check(name, "ok", str(numbers[0]) if numbers else "no limit of the association")


def _gpus(profile: Profile, ask: Run) -> Iterator[Check]:
    words = ["sinfo", "--noheader", "--format=%G", *([f"--partition={profile.partition}"] if profile.partition else [])]
    types = set(re.findall(r"gpu:([A-Za-z][\w.-]*):", ask(words).out))
    if profile.gpu_type is None:
        yield Check(
            "gpu_type", "ok" if types else "note", f"any of {', '.join(sorted(types))}" if types else "no typed GPUs in the partition"
        )
    elif profile.gpu_type in types:
        yield Check("gpu_type", "ok", profile.gpu_type)
    else:
        yield Check("gpu_type", "bad", f"no GPU of type {profile.gpu_type}", f"there are {', '.join(sorted(types)) or 'none'}")


def _node(profile: Profile, ask: Run) -> Iterator[Check]:
    """What the profile says of a node must be there on some node; SLURM would keep the jobs waiting, or refuse them."""
    node = profile.node
    if node is None:
        return
    words = ["sinfo", "--noheader", "--Node", "--format=%c|%m|%G", *([f"--partition={profile.partition}"] if profile.partition else [])]
    has = {found for line in ask(words).out.splitlines() if (found := _capacity(line)) is not None}
    gib = node.memory or 0.0
    if any(cpus >= node.cpus and memory >= gib * 1024 and gpus >= node.gpus for cpus, memory, gpus in has):
        yield Check("node", "ok", f"{node.gpus} GPUs, {node.cpus} cores" + (f", {gib:g} GiB" if gib else ""))
        return
    known = "; ".join(f"{gpus} GPUs, {cpus} cores, {memory / 1024:g} GiB" for cpus, memory, gpus in sorted(has, reverse=True)[:3])
    yield Check("node", "bad", "no node has so much as `node` in the profile says", f"there are {known or 'no nodes'}")


def _capacity(line: str) -> tuple[int, int, int] | None:
    """Cores, MiB and GPUs of a node as sinfo writes them: ``64|515000|gpu:h200:8(S:0-1)``."""
    cpus, _, rest = line.strip().partition("|")
    memory, _, gres = rest.partition("|")
    if not (cpus.isdigit() and memory.isdigit()):
        return None
    return int(cpus), int(memory), sum(int(count) for count in re.findall(r"gpu:(?:[A-Za-z][^:(),]*:)?(\d+)", gres))


def _shared(profile: Profile, workspace: Path, ask: Run) -> Iterator[Check]:
    """A marker made here must be seen from a node; needs a node that is free now."""
    root = next(folder for folder in (workspace.absolute(), *workspace.absolute().parents) if folder.exists())
    marker = root / f".seen-from-node-{uuid.uuid4().hex[:8]}"
    options = [f"--{name}={value}" for name in ("partition", "account", "qos", "constraint") if (value := getattr(profile, name))]
    try:
        marker.write_text("", encoding="utf-8")
        reply = ask(("srun", *options, "--ntasks=1", "--time=1", f"--immediate={PATIENCE_SECONDS}", "--chdir=/", "test", "-e", str(marker)))
    except OSError as error:
        yield Check("shared workspace", "bad", f"{root}: {error.strerror}", "choose another with --workspace")
        return
    finally:
        marker.unlink(missing_ok=True)
    if reply.code == 0:
        yield Check("shared workspace", "ok", f"a node sees {root}")
    elif "exited with exit code 1" in reply.err.lower() or "exit code 1" in reply.err.lower():
        yield Check("shared workspace", "bad", f"a node does not see {root}", "choose a folder of the shared file system with --workspace")
    else:
        yield Check("shared workspace", "note", f"not checked, no node was free within {PATIENCE_SECONDS} s: {reply.err.splitlines()[-1:]}")
