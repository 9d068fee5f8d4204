"""Cluster profiles: what a site, a project and a user say about a cluster, under a name that ``--cluster`` takes.

Three files, each a mapping of names to profiles: the site's (``$SWEEP_SITE``, else ``/etc/rewardsweep/clusters.yaml``), the user's
(``~/.config/rewardsweep/clusters.yaml``) and the project's (``./clusters.yaml``). Where several define one name, the nearest
file wins key by key (project, user, site), and of ``limits`` the strictest. ``local``, this machine, needs no file.

What a launch resolved is kept with the sweep (``sweeps/<id>/cluster.json``), because a worker on a compute node, whose parent
submits further workers, sees neither the project's folder nor, on many sites, the user's configuration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.definition.reading import Document, Path_, read_file
from core.definition.scalars import parse_duration, parse_memory
from core.errors import DefinitionError, Place, UsageError, nearest
from core.workspace import holds
from core.workspace.files import read_json, write_atomic
from core.workspace.layout import Sweep
from core.workspace.requests import user
from slurm.polling import Run
from slurm.shared import counted

LOCAL = "local"
MANAGED: Mapping[str, str] = {
    **dict.fromkeys(("array", "chdir", "error", "job-name", "open-mode", "output", "signal", "test-only", "wait", "wrap"), ""),
    **dict.fromkeys(("deadline", "time-min"), "a nightly grid says it"),
    **dict.fromkeys(("nodes", "ntasks", "ntasks-per-node"), "`resources` of the trial says it"),
    **{name: f"the profile's own `{name}` says it" for name in ("account", "constraint", "partition", "qos", "time")},
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "the profile's `memory` says it"),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "the profile's `cpus` says it"),
}
"""Options of sbatch that the dispatch sets itself, and who says what they are: a second word would undo what workers and nights go by."""


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _gib(value: object) -> object:
    return parse_memory(value) if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """What the sweeps of one user may ask of the cluster; of several files the strictest holds."""

    array_size: int | None = Field(None, ge=1, description="tasks of one array; default: the cluster's MaxArraySize")
    submitted: int | None = Field(None, ge=1, description="workers of a workspace that wait or run at once")
    workers: int = Field(64, ge=1, description="workers of a sweep at once")
    calls_per_minute: float = Field(12, gt=0, description="questions to the scheduler from all processes of a user together")


class Container(_Section):
    """The image that workers run in; it holds the packages that RewardSweep needs."""

    engine: Literal["apptainer", "pyxis"]
    image: str
    mounts: tuple[str, ...] = ()
    python: str = Field("python3", description="the interpreter inside the image")


class Keeper(_Section):
    """The job that serves nightly grids where the launch host has no timer."""

    partition: str | None = None
    qos: str | None = None
    time: Seconds = Field(86400.0, ge=60, description="how long one lasts before its successor takes over")
    memory: Annotated[float, BeforeValidator(_gib)] = Field(2.0, gt=0, description="memory, for the index and MLflow")


class Node(_Section):
    """What a worker takes of each node, usually all of it: as many trials as fit run side by side."""

    gpus: int = Field(0, ge=0, description="GPUs; none are asked for where trials need none")
    cpus: int = Field(ge=1, description="cores; where a trial names none, they are divided")
    memory: Annotated[float | None, BeforeValidator(_gib)] = Field(None, gt=0, description="memory; default: what the trials ask for")


class Profile(_Section):
    """One cluster."""

    kind: Literal["slurm", "local"]
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpu_type: str | None = Field(None, description="type of GPU where a trial names none, as the cluster's gres names it")
    time: Seconds = Field(4 * 3600.0, ge=60, description="time limit of a worker; short ones are backfilled")
    max_time: Seconds | None = Field(
        None, ge=60, description="the longest time limit of a worker, whatever a trial asks for; default: the partition's MaxTime"
    )
    cpus: int = Field(1, ge=1, description="cores of a worker where a trial names none")
    memory: Annotated[float | None, BeforeValidator(_gib)] = Field(None, gt=0, description="memory of a worker where a trial names none")
    node: Node | None = Field(None, description="what a worker takes of a node where that is more than one trial")
    signal_lead: Seconds = Field(90.0, ge=1, description="how long before the time limit a worker is warned, to save a checkpoint")
    mounts: tuple[str, ...] = Field((), description="folders that a node must have; a worker checks them before its first trial")
    free: Annotated[float, BeforeValidator(_gib)] = Field(
        0.0, ge=0, description="space that the workspace must have free, as a node sees it"
    )
    setup: tuple[str, ...] = Field((), description="lines of the batch script before the worker starts: modules, conda")
    env: dict[str, str] = Field(default_factory=dict, description="variables of the workers' environment")
    container: Container | None = None
    sbatch: dict[str, str | None] = Field(
        default_factory=dict, description="any other option of sbatch; `true` for one without a value; `gres` beside the GPUs"
    )
    limits: Limits = Limits()
    shared_dir: str | None = Field(None, description="the site's folder that all nodes see and all users can read; holds its HOLD")
    keeper: Keeper | None = Field(None, description="the job that serves nightly grids")

    @field_validator("sbatch")
    @classmethod
    def _own_options(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        options = {name.lstrip("-").replace("_", "-"): text for name, text in value.items()}
        taken = sorted(options.keys() & MANAGED.keys())
        if taken:
            why = f": {MANAGED[taken[0]]}" if MANAGED[taken[0]] else ""
            raise ValueError(f"any option of sbatch but {', '.join(MANAGED)}, which the dispatch sets itself (found {taken[0]}{why})")
        return options

    @model_validator(mode="after")
    def _local_is_plain(self) -> Profile:
        more = sorted(self.model_fields_set - {"kind", "limits", "node"})
        if self.kind == "local" and more:
            raise ValueError(f"only `limits` and `node` beside `kind: local` (found {more[0]})")
        return self


@dataclass(frozen=True)
class Cluster:
    """A profile under its name."""

    name: str
    profile: Profile

    def save(self, sweep: Sweep, ask: Run = counted) -> None:
        """Keep it with a sweep; where it names no account, the one that SLURM will take is asked for, since a HOLD may mean it."""
        record = {"v": 1, "name": self.name, "profile": self.profile.model_dump(mode="json", exclude_unset=True)}
        sweep.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(sweep.folder / "cluster.json", json.dumps(record, indent=1), sync=True)
        unnamed = self.shared_dir is not None and self.profile.account is None and self.profile.kind == "slurm"
        holds.remember(sweep, self.shared_dir, default_account(ask) if unnamed else self.profile.account)

    @property
    def shared_dir(self) -> Path | None:
        """The site's folder, where the profile names one."""
        return Path(self.profile.shared_dir).expanduser().absolute() if self.profile.shared_dir else None


def default_account(ask: Run) -> str | None:
    """The account that SLURM takes for this user's jobs where they name none; ``None`` where accounting does not say."""
    reply = ask(("sacctmgr", "--noheader", "--parsable2", "show", "user", user(), "format=defaultaccount"))
    return reply.out.strip().partition("\n")[0] or None if reply.code == 0 else None


HERE = Cluster(LOCAL, Profile(kind="local"))
"""This machine."""


def of_sweep(sweep: Sweep) -> Cluster:
    """The cluster that a sweep was last launched on."""
    file = sweep.folder / "cluster.json"
    if not file.exists():
        return HERE
    record = read_json(file)
    return Cluster(record["name"], Profile.model_validate(record["profile"]))


def files() -> Sequence[Path]:
    """Where profiles are looked for, the nearest first."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    site = Path(os.environ.get("SWEEP_SITE") or "/etc/rewardsweep/clusters.yaml").expanduser()
    return (Path("clusters.yaml"), config / "rewardsweep" / "clusters.yaml", site)


def find(name: str) -> Cluster:
    """The profile of this name, merged from all files that define it.

    Raises:
        UsageError: no file defines it; it names those that do exist and the nearest.
        DefinitionError: a file is wrong, with the place.
    """
    documents = [read_file(file) for file in files() if file.is_file()]
    for document in documents:
        if not isinstance(document.tree, dict) or not all(isinstance(value, dict) for value in document.tree.values()):
            raise DefinitionError("a file of clusters is a mapping of names to profiles", place=document.places.get(()))
    defining = [document for document in documents if name in document.tree]
    if not defining:
        if name == LOCAL:
            return HERE
        known = sorted({known for document in documents for known in document.tree} | {LOCAL})
        raise UsageError(
            "no such cluster", found=name, allowed=known, nearest=nearest(name, known),
            next=f"define {name} in clusters.yaml, {files()[1]} or {files()[2]}",
        )  # fmt: skip
    for document in defining:
        # each file alone first, so that a mistake is shown where it stands and not where it is overridden
        _validate(name, {"kind": "slurm", **document.tree[name]}, document)
    return Cluster(name, _validate(name, _merge([document.tree[name] for document in defining]), defining[0]))


def _merge(nearest_first: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for values in reversed(nearest_first):
        for key, value in values.items():
            if key == "limits":
                before = merged.get(key, {})
                merged[key] = {**before, **{k: _stricter(before.get(k), v) for k, v in value.items()}}
            elif key in ("env", "sbatch"):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = value
    return merged


def _stricter(one: str | None, other: str | None) -> str | None:
    return min((value for value in (one, other) if value is not None), key=float, default=None)


def _validate(name: str, values: Mapping[str, Any], document: Document) -> Profile:
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        raise _explained(error, name, document) from None


def _explained(error: ValidationError, name: str, document: Document) -> DefinitionError:
    details = error.errors(include_url=False)
    first = next((line for line in details if line["type"] == "extra_forbidden"), details[0])
    path: Path_ = (name, *first["loc"])
    place = _place(document, path)
    word = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        sections: dict[str, type[BaseModel]] = {"limits": Limits, "container": Container, "keeper": Keeper, "node": Node}
        section = sections.get(str(first["loc"][0]), Profile) if len(first["loc"]) > 1 else Profile
        allowed = sorted(section.model_fields)
        return DefinitionError(
            f"unknown key {word}", found=first["loc"][-1], allowed=allowed, nearest=nearest(str(first["loc"][-1]), allowed), place=place
        )
    if first["type"] == "missing":
        return DefinitionError(f"{word} is missing", place=place)
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = None if isinstance(first["input"], dict) else first["input"]
    return DefinitionError(f"{word} is wrong", found=found, allowed=reason, place=place)


def _place(document: Document, path: Path_) -> Place | None:
    for length in range(len(path), -1, -1):
        if path[:length] in document.places:
            return document.places[path[:length]]
    return None
