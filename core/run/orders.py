"""What a worker is told at its submission, as ``job.json`` in its folder says it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.definition.plan import Shape
from core.run.fitness import Needs
from core.run.leaving import Allocation
from core.run.packing import Allotted
from core.workspace import holds
from core.workspace.layout import Workspace


@dataclass(frozen=True)
class Orders:
    """``job.json``: what a worker is told.

    Attributes:
        shape: of the trials that it trains, ``slots`` of them side by side.
        threads: CPU threads of each.
        step: the command that starts the ranks of a trial in the allocation; empty where they are forks of the worker's child.
        check: the command that checks the nodes of the allocation; empty where a child of the worker checks its own.
        allotted: what its allocation holds.
    """

    key: str
    folder: Path
    sweep: str
    shape: Shape
    threads: int
    device: str
    idle: float
    allocation: Allocation = field(default_factory=Allocation)
    mounts: tuple[str, ...] = ()
    free: float = 0.0
    step: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    slots: int = 1
    allotted: Allotted = field(default_factory=Allotted)

    @classmethod
    def read(cls, folder: Path) -> tuple[Orders, Workspace]:
        """Read the orders in a job's folder."""
        record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        shape = Shape(**record["shape"])
        orders = cls(
            key=folder.name, folder=folder, sweep=record["sweep"], shape=shape, threads=record["threads"],
            device="cuda" if shape.gpus else "cpu", idle=record["idle"], allocation=Allocation.read(record),
            mounts=tuple(record.get("mounts", ())), free=float(record.get("free", 0.0)),
            step=tuple(record.get("step", ())), check=tuple(record.get("check", ())),
            slots=record["slots"], allotted=Allotted(**record["allotted"]),
        )  # fmt: skip
        workspace = Workspace.open(Path(record["workspace"]))
        return orders, holds.of(workspace, workspace.sweep(record["sweep"]))

    @property
    def needs(self) -> Needs:
        """What each node of the allocation must have."""
        return Needs(self.allotted.gpus // self.shape.nodes, self.folder, self.mounts, self.free)

    def describe(self) -> dict[str, Any]:
        """What a worker says of itself at its start."""
        said = {"key": self.key, "sweep": self.sweep, "shape": self.shape.key, "slots": self.slots}
        return said | {"threads": self.threads, "device": self.device}
