"""The batch script of an array of workers: a pure function of profile, shape and names.

submitit writes the text; what it is told stands here. Each array task is one srun step with one task, the worker. The script
itself stays outside a container. SLURM's warning (``--signal=USR2@LEAD``, without ``B:``) therefore goes to the step: to the
worker and its child.

Where a trial has several ranks, the worker is the batch script itself, on the first node, and each attempt is an srun step
(:func:`step`) over all nodes. The warning (``--signal=B:USR2@LEAD``) then goes to the worker alone, which passes it on. Of a profile with a
container the ranks run in it; the worker, which needs srun, stays outside. The check of several nodes is a step, too (:func:`check`).

Nothing is requeued unless the profile says so: a new worker takes the trial from its checkpoint.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string

from core.control.ports import Grant
from core.definition.plan import Shape
from slurm.profile import Container, Profile
from slurm.sizes import allotted, cpus_per_rank, per_node, slots

ENTRY = "slurm.start_array"
RANK = "slurm.start_rank"
CHECK = "slurm.start_check"
RESOLUTION_SECONDS = 60.0
"""SLURM may warn of the time limit this much earlier than it was asked to (sbatch's manual, ``--signal``)."""


@dataclass(frozen=True)
class Cut:
    """What a night makes of a job.

    Attributes:
        minutes: the time limit.
        least: minutes to which SLURM may shorten it, where it then starts or still fits before the deadline.
        deadline: seconds from the submission; SLURM removes the job where it can no longer end before it, and ends it there.
        nice: how far it stands behind other jobs.
        account: or ``None`` for the profile's.
    """

    minutes: int
    least: int
    deadline: int
    nice: int
    account: str | None = None


def cut(profile: Profile, shape: Shape, grant: Grant, now: float) -> Cut | None:
    """The limits of a job in a night; ``None`` where too little of the night, or of its budget, is left to do anything that lasts."""
    seconds = min(time_limit(profile, shape), grant.closes - now, grant.seconds if grant.seconds is not None else math.inf)
    minutes, least = math.floor(seconds / 60), math.ceil((grant.useful + profile.signal_lead) / 60)
    return Cut(minutes, least, math.floor(grant.closes - now), grant.nice, grant.account) if minutes >= least else None


def time_limit(profile: Profile, shape: Shape) -> float:
    """Seconds that a worker is given, whole minutes as SLURM counts them; at most what the profile, or the partition, allows.

    SLURM takes a job above its partition's limit, and lets it wait for ever.
    """
    wanted = 60.0 * math.ceil((shape.time or profile.time) / 60)
    return wanted if profile.max_time is None else min(wanted, 60.0 * max(1, math.floor(profile.max_time / 60)))


def warned_from(profile: Profile, shape: Shape, cut: Cut | None = None) -> float:
    """Seconds after a worker's beginning from which on a warning is that of the time limit and not of a preemption."""
    return max(0.0, (60.0 * cut.minutes if cut else time_limit(profile, shape)) - profile.signal_lead - RESOLUTION_SECONDS)


def step(profile: Profile, shape: Shape, python: str, root: Path) -> list[str]:
    """The command that starts the ranks of one attempt; the attempt's folder, in the workspace ``root``, follows. Empty for one rank.

    ``--exact``: a step takes what it needs and no more, so that those of several trials run side by side. Where memory is counted, a step
    that names none takes all of it, and the next one would wait. One rank that fails ends all.
    """
    if shape.processes == 1:
        return []
    return [
        "srun", "--exact", "--kill-on-bad-exit=1", "--unbuffered", f"--nodes={shape.nodes}", f"--ntasks={shape.processes}",
        f"--ntasks-per-node={per_node(shape)}", f"--cpus-per-task={cpus_per_rank(profile, shape)}",
        *([f"--gres={_gres(profile, shape, shape.gpus)}"] if shape.gpus else []),
        *([f"--mem={_step_memory(profile, shape)}"] if slots(profile, shape) > 1 else []),
        *_inside(profile, shape, python, root), "-u", "-m", RANK,
    ]  # fmt: skip


def check(profile: Profile, shape: Shape, python: str, root: Path) -> list[str]:
    """The command that checks every node of a job, inside the container where there is one; the job's folder follows.

    Empty where the worker does it itself: it stands on the only node, and in the container.
    """
    if shape.nodes == 1 and (shape.processes == 1 or profile.container is None):
        return []
    gpus = allotted(profile, shape).gpus
    return [
        "srun", "--exact", "--unbuffered", f"--nodes={shape.nodes}", f"--ntasks={shape.nodes}", "--ntasks-per-node=1", "--cpus-per-task=1",
        *([f"--gres={_gres(profile, shape, gpus)}"] if gpus else []), *_inside(profile, shape, python, root), "-u", "-m", CHECK,
    ]  # fmt: skip


def _inside(profile: Profile, shape: Shape, python: str, root: Path) -> list[str]:
    """The end of a line of srun: what it is told of the container, and the interpreter there."""
    container = profile.container
    if container is None:
        return [python]
    return [*_pyxis(profile, root), *_apptainer(profile, shape, root), container.python]


def _gres(profile: Profile, shape: Shape, gpus: int) -> str:
    """So many GPUs, on all nodes together, as each node is asked for them."""
    gpu_type = shape.gpu_type or profile.gpu_type
    return ":".join(["gpu", *([gpu_type] if gpu_type else []), str(gpus // shape.nodes)])


def _step_memory(profile: Profile, shape: Shape) -> str:
    """A trial's share of each node's memory; 0: steps share what the job has."""
    whole = allotted(profile, shape).memory
    if whole is None:
        return "0"
    return _mib((shape.memory or whole / slots(profile, shape)) / shape.nodes)


def _mib(gib: float) -> str:
    return f"{math.floor(gib * 1024)}M"


def requeues(profile: Profile) -> bool:
    """Whether SLURM may restart the jobs by itself."""
    return "requeue" in profile.sbatch and profile.sbatch["requeue"] != "false"


def parameters(
    profile: Profile,
    shape: Shape,
    name: str,
    root: Path,
    environment: Mapping[str, str],
    without: Sequence[str] = (),
    cut: Cut | None = None,
) -> dict[str, Any]:
    """What submitit is told, in its own words.

    Args:
        profile: the cluster.
        shape: of a trial.
        name: of the job, by which it is found again.
        root: the folder that the workers start in.
        environment: variables that the worker needs; the profile's own come first.
        without: nodes that no worker is sent to, beside those that the profile excludes.
        cut: what a night makes of it.
    """
    more: dict[str, Any] = {key: True if value in (None, "true") else value for key, value in profile.sbatch.items() if value != "false"}
    more.setdefault("requeue" if requeues(profile) else "no-requeue", True)
    more["chdir"] = str(root)
    if without:
        more["exclude"] = ",".join([*([str(more["exclude"])] if "exclude" in more else []), *without])
    if cut is not None:
        nice = str(more.get("nice") or "")
        more |= {"deadline": f"now+{cut.deadline}", "time-min": cut.least, "nice": nice if nice.isdigit() and int(nice) else cut.nice}
    given = allotted(profile, shape)
    gres = [*([_gres(profile, shape, given.gpus)] if given.gpus else []), *([str(more.pop("gres"))] if "gres" in more else [])]
    several = shape.processes > 1
    if several:
        more["signal"] = f"B:USR2@{round(profile.signal_lead)}"
    found = {
        "job_name": name,
        "partition": profile.partition,
        "account": (cut.account if cut else None) or profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "time": cut.minutes if cut else round(time_limit(profile, shape) / 60),
        "nodes": shape.nodes,
        "ntasks_per_node": slots(profile, shape) * per_node(shape) if several else 1,
        "cpus_per_task": cpus_per_rank(profile, shape) if several else given.cpus,
        "mem": f"{round(given.memory * 1024 / shape.nodes)}M" if given.memory else None,
        "gres": ",".join(gres) or None,
        "signal_delay_s": round(profile.signal_lead),
        "array_parallelism": profile.limits.workers,
        "stderr_to_stdout": True,
        "setup": _setup(profile, environment),
        # since SLURM 22.05 a step does not inherit the cores of its job
        "use_srun": not several,
        "srun_args": [f"--cpus-per-task={given.cpus}", *_pyxis(profile, root)],
        "additional_parameters": more,
    }
    # submitit writes a wckey of its own unless it is told that there is none
    return {key: value for key, value in found.items() if value is not None} | {"wckey": None}


def _setup(profile: Profile, environment: Mapping[str, str]) -> list[str]:
    def exports(values: Mapping[str, str]) -> list[str]:
        return [f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())]

    return ["export SWEEP_JOB_BEGAN=$(date +%s)", *exports(profile.env), *profile.setup, *exports(environment)]


def _pyxis(profile: Profile, root: Path) -> list[str]:
    container = profile.container
    if container is None or container.engine != "pyxis":
        return []
    return [f"--container-image={container.image}", f"--container-mounts={','.join(_mounts(profile, container, root))}"]


def _mounts(profile: Profile, container: Container, root: Path) -> list[str]:
    """What the profile names, and beside it the workspace and the site's folder with its HOLD, where they do not lie within that."""
    inside = [Path(mount.split(":")[1 if ":" in mount else 0]) for mount in container.mounts]
    found = list(container.mounts)
    for folder in (root, *([Path(profile.shared_dir).expanduser().absolute()] if profile.shared_dir else [])):
        if not any(folder.is_relative_to(other) for other in inside):
            inside.append(folder)
            found.append(f"{folder}:{folder}")
    return found


def _apptainer(profile: Profile, shape: Shape, root: Path) -> list[str]:
    container = profile.container
    if container is None or container.engine != "apptainer":
        return []
    binds = [word for mount in _mounts(profile, container, root) for word in ("--bind", mount)]
    return ["apptainer", "exec", *(["--nv"] if shape.gpus else []), *binds, container.image]


def command(profile: Profile, shape: Shape, python: str, folder: Path) -> str:
    """What each task of the array runs; ``folder`` is the job folder of its first task."""
    container = profile.container
    if shape.processes > 1:  # the batch script becomes the worker: a shell would hold SLURM's warning back until it ends
        return "exec " + shlex.join([python, "-u", "-m", ENTRY, str(folder)])
    words = [python] if container is None else [*_apptainer(profile, shape, folder.parent.parent), container.python]
    return shlex.join([*words, "-u", "-m", ENTRY, str(folder)])


def text(values: Mapping[str, Any], command: str, folder: Path, count: int) -> str:
    """The batch script of an array of ``count`` tasks whose output goes below ``folder``."""
    return str(_make_sbatch_string(command=command, folder=folder, map_count=count, **values))
