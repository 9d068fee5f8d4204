"""Checking a profile on the real cluster, for ``sweep doctor --cluster NAME``."""

from __future__ import annotations

import getpass
import math
import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import EnvironmentFault, nearest
from slurm import allowances, driving, reservations
from slurm.allowances import Allowance
from slurm.cluster import max_array_size
from slurm.polling import Reply, Run
from slurm.profile import Cluster, Profile, default_account
from slurm.shared import counted

Verdict = Literal["ok", "note", "bad"]
NEEDED = ("sbatch", "squeue", "scontrol", "srun", "scancel")
PATIENCE_SECONDS = 15
"""How long the check of the shared file system waits for a node."""

WEEK_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``note`` is worth knowing, ``bad`` prevents a launch."""

    check: str
    verdict: Verdict
    found: str
    next: str = ""


def require_controller(cluster: Cluster, ask: Run = counted) -> None:
    """Refuse a launch where SLURM is not here or does not answer.

    Raises:
        EnvironmentFault: with what SLURM's own command says.
    """
    if cluster.profile.kind != "slurm":
        return
    bad = next((check for check in (*_shared_dir(cluster), *_commands(), *_controller(ask)) if check.verdict == "bad"), None)
    if bad is not None:
        raise EnvironmentFault(
            f"cluster {cluster.name} cannot be used from here",
            found=f"{bad.check}: {bad.found}",
            next=f"sweep doctor --cluster {cluster.name}",
        )


def examine(cluster: Cluster, workspace: Path, ask: Run = counted) -> Iterator[Check]:
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
        lambda: _shared_dir(cluster),
        lambda: _partition(profile, ask),
        lambda: _array_size(profile, ask),
        lambda: _preemption(ask),
        lambda: _accounting(profile, ask),
        lambda: _gpus(profile, ask),
        lambda: _node(profile, ask),
        lambda: _reservations(profile, ask),
        lambda: _from_a_node(profile, workspace, ask),
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
    reply = ask(("sinfo", "--noheader", "--format=%P|%a|%l|%D"))
    lines = [line.split("|") for line in reply.out.splitlines() if line.count("|") == 3]
    rows = {name.rstrip("*"): rest for name, *rest in lines}
    names = profile.partition.split(",") if profile.partition is not None else [name[:-1] for name, *_ in lines if name.endswith("*")]
    if profile.partition is None:
        yield Check("partition", "note", f"none in the profile: SLURM's default; there are {', '.join(sorted(rows))}")
    longest = [allowances.minutes(rows[name][1]) for name in names if name in rows]
    # a job that names several starts in one that takes its time
    most = max(longest, key=lambda wall: wall or math.inf, default=None) if None not in longest else None
    for name in names:
        if name not in rows:
            close = nearest(name, rows)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(sorted(rows))}"
            yield Check("partition", "bad", f"{name} does not exist", hint)
            continue
        state, limit, nodes = rows[name]
        said = f"{name} is {state}, time limit {limit}, {nodes} nodes"
        if most is not None and profile.time / 60 > most:
            yield Check(
                "partition", "bad", f"{said}: shorter than the profile's time ({profile.time / 3600:g} h)", "lower the profile's time"
            )
        else:
            yield Check("partition", "ok" if state == "up" else "note", said)


def _shared_dir(cluster: Cluster) -> Iterator[Check]:
    """The site's folder must be here and be readable, else no HOLD in it is seen; whoever may write in it sets one."""
    folder = cluster.shared_dir
    if folder is None:
        yield Check("shared_dir", "note", "none in the profile: sweeps on it obey no HOLD of the site (`sweep admin stop`)")
    elif not folder.is_dir():
        hint = f"make it on a file system that all nodes see, or correct {cluster.name}.shared_dir"
        yield Check("shared_dir", "bad", f"{folder} is {'no folder' if folder.exists() else 'not here'}", hint)
    elif not os.access(folder, os.R_OK | os.X_OK):
        yield Check("shared_dir", "bad", f"{folder} is not readable: a HOLD in it would not be seen", f"chmod a+rx {folder}")
    else:
        yield Check("shared_dir", "ok", f"{folder} is readable")
        if not os.access(folder, os.W_OK):
            yield Check("HOLD", "note", f"you may not write in {folder}: `sweep admin stop` is for those who may")


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


def _preemption(ask: Run) -> Iterator[Check]:
    """Whether jobs are warned before they are taken away. Without it they are told to leave by SIGTERM, which reaches their steps alone."""
    config = dict(re.findall(r"^(\w+)\s*= (.*)$", ask(("scontrol", "show", "config")).out, flags=re.MULTILINE))
    kind = config.get("PreemptType", "").strip()
    if kind in ("", "(null)", "preempt/none"):
        yield Check("preemption", "ok", "none" if kind else "SLURM does not say")
        return
    warned = any("send_user_signal" in config.get(name, "") for name in ("SlurmctldParameters", "PreemptParameters"))
    if warned:
        yield Check("preemption", "ok", f"{kind}, with a warning")
        return
    found = f"{kind}, without a warning (preempt_send_user_signal): trials are told by SIGTERM, and have the partition's GraceTime to save"
    yield Check("preemption", "note", found, "keep `checkpoint.every` short, or ask the cluster's administrators for the parameter")


def _accounting(profile: Profile, ask: Run) -> Iterator[Check]:
    fields = ",".join(allowances.ASSOC)
    reply = ask(("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", f"format={fields}"))
    rows = allowances.read_assoc(reply.out)
    if reply.code != 0 or not rows:
        why = (reply.err or "no association of this user").splitlines()[0]
        yield Check("accounting", "note", f"{why}: account and qos cannot be checked; squeue alone is used")
        return
    accounts = {row.where.removeprefix("account ") for row in rows}
    if profile.account is not None and profile.account not in accounts:
        close = nearest(profile.account, accounts)
        hint = f"did you mean {close}?" if close else f"yours: {', '.join(sorted(accounts))}"
        yield Check("account", "bad", f"{profile.account} is none of yours", hint)
    else:
        yield Check("account", "ok", profile.account or f"none in the profile; yours: {', '.join(sorted(accounts))}")
    account = profile.account or default_account(ask)
    mine = [row for row in rows if account is None or row.where == f"account {account}"]
    qos = {name for row in mine for name in row.qos}
    if profile.qos is not None and qos and profile.qos not in qos:
        yield Check("qos", "bad", f"{profile.qos} is not open to you", f"yours: {', '.join(sorted(qos))}")
    elif qos:
        yield Check("qos", "ok", profile.qos or f"none in the profile; yours: {', '.join(sorted(qos))}")
    # the job's own, and that of its partition, whose limits hold as well
    names = {profile.qos} if profile.qos is not None else {name for row in mine if (name := row.job_qos) is not None}
    names |= allowances.partition_qos(ask(("scontrol", "--oneliner", "show", "partition")).out, profile.partition)
    accounts = {row.where.removeprefix("account ") for row in mine}
    manager = ask(("scontrol", "--oneliner", "show", "assoc_mgr", "flags=assoc,qos"))
    shared = allowances.shared(manager.out, getpass.getuser(), accounts) if manager.code == 0 else []
    yield from _limits(profile, [*mine, *shared], names, ask)
    yield from _gpu_minutes(accounts, names, manager)


def _limits(profile: Profile, mine: list[Allowance], qos: Collection[str], ask: Run) -> Iterator[Check]:
    """The limits of the association and of its QOS; a launch keeps below those of jobs, SLURM refuses what asks for more time."""
    words = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"format={','.join(allowances.QOS)}")
    found = [*mine, *(row for row in allowances.read_qos(ask(words).out) if row.qos & set(qos))]
    for row in found:
        if row.words:
            beyond = row.wall is not None and profile.time / 60 > row.wall
            hint = f"lower the profile's time ({profile.time / 3600:g} h)" if beyond else ""
            yield Check(f"limits of {row.where}", "bad" if beyond else "ok", row.words, hint)
    for name, numbers in (("MaxSubmitJobs", [row.submitted for row in found]), ("MaxJobs", [row.running for row in found])):
        least = min((number for number in numbers if number is not None), default=None)
        few = least is not None and profile.limits.workers > least
        more = f": of {profile.limits.workers} workers (limits.workers) the rest waits for room" if few else ""
        yield Check(name, "note" if few else "ok", f"{least}{more}" if least is not None else "no limit of the association or its QOS")


def _gpu_minutes(accounts: Collection[str], qos: Collection[str], reply: Reply) -> Iterator[Check]:
    if reply.code != 0:
        yield Check("GPU-minutes", "note", "the controller does not show them to you; `sshare` may")
        return
    found = list(allowances.gpu_minutes(reply.out, getpass.getuser(), accounts, qos))
    if not found:
        yield Check("GPU-minutes", "ok", "no limit")
    for row in found:
        said = f"{row.left} of {row.given} are left to {row.where}"
        yield Check("GPU-minutes", "ok" if row.left else "bad", said, "" if row.left else "jobs with GPUs will wait: ask for more")


def _reservations(profile: Profile, ask: Run) -> Iterator[Check]:
    """What takes nodes away within a week; workers' limits are cut to end before one that takes all."""
    reply, now = ask(("scontrol", "--oneliner", "show", "reservation")), time.time()
    found = [one for one in reservations.read(reply.out) if one.begins < now + WEEK_SECONDS]
    if not found:
        yield Check("reservations", "ok", "none within a week")
        return
    said = ", ".join(f"{one.name} ({one.nodes}) from {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.begins))}" for one in found)
    cut = reservations.next_begin(profile, ask, now, now + WEEK_SECONDS)
    yield Check("reservations", "note", said + ("; it takes all nodes: workers end before it" if cut is not None else ""))


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


def _from_a_node(profile: Profile, workspace: Path, ask: Run) -> Iterator[Check]:
    """A marker made here must be seen from a node, and workers there send the next ones; needs a node that is free now."""
    root = next(folder for folder in (workspace.absolute(), *workspace.absolute().parents) if folder.exists())
    marker = root / f".seen-from-node-{uuid.uuid4().hex[:8]}"
    options = [f"--{name}={value}" for name in ("partition", "account", "qos", "constraint") if (value := getattr(profile, name))]
    words = " ".join(["sbatch", "--test-only", *map(shlex.quote, options), "--ntasks=1", "--time=1", "--wrap=true"])
    sees = f"if test -e {shlex.quote(str(marker))}; then echo seen; else echo unseen; fi"
    site = shlex.quote(str(Path(profile.shared_dir).expanduser().absolute())) if profile.shared_dir else None
    reads = f"if test -r {site}; then echo holds; else echo no holds; fi; " if site else ""
    submits = f'if ! command -v sbatch >/dev/null; then echo no sbatch; elif said=$({words} 2>&1); then echo submits; else echo "$said"; fi'
    here = ("srun", *options, "--ntasks=1", "--time=1", f"--immediate={PATIENCE_SECONDS}", "--chdir=/")
    try:
        marker.write_text("", encoding="utf-8")
        reply = ask((*here, "sh", "-c", f"{reads}{sees}; {submits}"))
    except OSError as error:
        yield Check("shared workspace", "bad", f"{root}: {error.strerror}", "choose another with --workspace")
        return
    finally:
        marker.unlink(missing_ok=True)
    out = reply.out.strip()
    if out.startswith(("holds\n", "no holds\n")):
        word, _, out = out.partition("\n")
        hint = "choose a folder of the shared file system" if word == "no holds" else ""
        seen = f"a node {'reads' if not hint else 'does not read'} {profile.shared_dir}"
        yield Check("shared_dir on nodes", "bad" if hint else "ok", seen, hint)
    sight, _, send = out.partition("\n")
    if sight not in ("seen", "unseen"):
        why = f"not checked, no node was free within {PATIENCE_SECONDS} s: {' '.join(reply.err.splitlines()[-1:])}"
        yield Check("shared workspace", "note", why)
        yield Check("submit from nodes", "note", why)
        return
    if sight == "seen":
        yield Check("shared workspace", "ok", f"a node sees {root}")
    else:
        yield Check("shared workspace", "bad", f"a node does not see {root}", "choose a folder of the shared file system with --workspace")
    if send == "submits":
        yield Check("submit from nodes", "ok", driving.MAY)
    else:
        said = send.splitlines()[:1] or ["no answer"]
        hint = "let a launch watch, or a timer or keeper on a host that may submit: `sweep nightly timer`"
        yield Check("submit from nodes", "note", f"{driving.MAY_NOT}: {said[0]}", hint)
