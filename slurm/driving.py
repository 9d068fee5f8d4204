"""Whether the workers of a sweep can drive it, as they must where nobody watches: whether what runs in a job can send the next one.

What can be known without a job is looked up: where the workers run, and from which hosts the partition takes jobs. Whether a node really
may submit, ``sweep doctor`` tries on one, and what it found is kept for the user.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from core.definition.plan import Shape
from core.workspace.files import user_cache, write_atomic
from slurm import partitions
from slurm.polling import Run, run
from slurm.profile import Cluster, Container

MAY = "workers may send the next ones"
MAY_NOT = "a node may not"
"""What the check of ``sweep doctor`` says."""


def obstacle(cluster: Cluster, shapes: Collection[Shape], ask: Run = run) -> str | None:
    """Why workers for trials and scorings of these shapes cannot send the next ones; ``None``: nothing speaks against it."""
    profile = cluster.profile
    if profile.kind != "slurm":
        return None
    # of several ranks the worker stays outside of the container
    if profile.container is not None and any(shape.processes == 1 for shape in shapes) and not _reaches_slurm(profile.container):
        return f"its workers run inside the container {profile.container.image}, where there is no sbatch (`mounts` of the profile)"
    closed = [one for one in partitions.of(profile, ask) if not _takes_jobs_of_its_nodes(one, ask)]
    if closed:
        return f"partition {closed[0].name} takes jobs from {closed[0].senders} only, and not from its own nodes (AllocNodes)"
    known = remembered(cluster)
    return known if known is not None and known != MAY else None


def remember(cluster: Cluster, found: str) -> None:
    """Keep what ``sweep doctor`` found on a node of a cluster; that it found none free says nothing."""
    if found.startswith((MAY, MAY_NOT)):
        with suppress(OSError):
            _file(cluster).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(_file(cluster), json.dumps({"v": 1, "found": found}))


def remembered(cluster: Cluster) -> str | None:
    """What it found when it last looked; ``None``: it never did."""
    try:
        return str(json.loads(_file(cluster).read_text(encoding="utf-8"))["found"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(cluster: Cluster) -> Path:
    which = "\n".join([cluster.name, *(os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CLUSTERS"))])
    return user_cache() / f"from-nodes-{hashlib.sha256(which.encode()).hexdigest()[:12]}.json"


def _reaches_slurm(container: Container) -> bool:
    """Whether the place of sbatch is mounted where it is outside."""
    found = shutil.which("sbatch")
    inside = [Path(mount.split(":")[1] if ":" in mount else mount) for mount in container.mounts]
    return found is not None and any(Path(found).is_relative_to(folder) for folder in inside)


def _takes_jobs_of_its_nodes(partition: partitions.Partition, ask: Run) -> bool:
    if partition.senders in ("ALL", "(null)", ""):
        return True
    senders, nodes = (set(ask(("scontrol", "show", "hostnames", hosts)).out.split()) for hosts in (partition.senders, partition.nodes))
    return not senders or not nodes or bool(senders & nodes)
