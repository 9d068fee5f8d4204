"""The shapes that leave the definition language: a planned trial and the resources that it asks for (pure, no I/O)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any

COORDINATE = re.compile(r" (?=[A-Za-z_][\w.-]*=)")
"""What stands before a further coordinate in the name of a cell."""


@dataclass(frozen=True)
class Shape:
    """Resources of one trial. ``memory`` in GiB, ``time`` in seconds; ``None`` leaves them to the cluster profile.

    ``ranks`` is the number of processes where it is asked for; see :attr:`processes`.
    """

    nodes: int = 1
    gpus: int = 0
    gpu_type: str | None = None
    cpus: int | None = None
    memory: float | None = None
    time: float | None = None
    ranks: int | None = None

    @property
    def processes(self) -> int:
        """Processes of a trial: one per GPU, or as many as are asked for where there is none."""
        return self.ranks or max(1, self.gpus)

    def alike(self, other: Shape) -> bool:
        """Whether two shapes differ in nothing but the time."""
        return replace(self, time=None) == replace(other, time=None)

    @property
    def key(self) -> str:
        """A short name, equal for equal shapes: ``1n8g`` or ``1n8g-h100-64G-3600s``."""
        parts = [f"{self.nodes}n{self.gpus}g"]
        parts += [f"{self.ranks}r"] if self.ranks else []
        parts += [str(self.gpu_type)] if self.gpu_type else []
        parts += [f"{self.cpus}c"] if self.cpus else []
        parts += [f"{self.memory:g}G"] if self.memory else []
        parts += [f"{self.time:g}s"] if self.time else []
        return "-".join(parts)


@dataclass(frozen=True)
class Cell:
    """One point of the grid, without its seed.

    Attributes:
        id: the id of its trial with seed 0.
        cell: its coordinates, ``{path: canonical value or label}``.
        config: the canonical configuration as JSON, without ``seed``.
        shape: the resources asked for.
        score_shape: the resources that its scorings ask for.
        evaluate: canonical benchmark configurations as JSON.
    """

    id: str
    cell: Mapping[str, Any]
    config: Mapping[str, Any]
    shape: Shape = field(default_factory=Shape)
    score_shape: Shape = field(default_factory=Shape)
    evaluate: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class PlannedTrial:
    """Cell x seed, ready to run.

    Attributes:
        id: 32 hex digits, the hash of what the trial computes.
        cell: the cell's coordinates, ``{path: canonical value or label}``, without the seed.
        seed: the replicate.
        config: the canonical ``TrialConfig`` as JSON, execution and place fields included.
        shape: the resources asked for.
        score_shape: the resources that its scorings ask for.
        evaluate: canonical benchmark configurations as JSON, one per scoring asked for.
        needs: what it needs before it can run: by reference (see :mod:`core.definition.needs`), ``trial:ID`` or ``model:PLACE``.
        stage: the name of the need that this trial is; ``None`` for the trial of a cell.
        waits: what it waits for that no trial gives.

    One that was read from a plan parses its configuration when it is first asked for: a look at ten thousand trials asks for few.
    """

    id: str
    cell: Mapping[str, Any]
    seed: int
    config: Mapping[str, Any]
    shape: Shape = field(default_factory=Shape)
    score_shape: Shape = field(default_factory=Shape)
    evaluate: tuple[Mapping[str, Any], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    stage: str | None = None
    waits: str | None = None

    @property
    def needed_trials(self) -> list[str]:
        """Ids of the trials that must have a result first."""
        return [target.removeprefix("trial:") for target in self.needs.values() if target.startswith("trial:")]

    def to_json(self) -> str:
        """One line of ``plan.jsonl``."""
        line = {item.name: getattr(self, item.name) for item in fields(self)}
        line.update(shape=asdict(self.shape), score_shape=asdict(self.score_shape))
        line = {name: value for name, value in line.items() if value or name not in ("needs", "stage", "waits")}
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> PlannedTrial:
        """Read one line of ``plan.jsonl``."""
        parts = _without_config(line)
        value, text = parts if parts is not None else (json.loads(line), None)
        value["shape"] = _shape(**value["shape"])
        value["score_shape"] = _shape(**value["score_shape"])
        value["evaluate"] = tuple(value["evaluate"])
        if text is None:
            return cls(**value)
        made = object.__new__(cls)
        made.__dict__.update({"needs": {}, "stage": None, "waits": None, **value, "_text": text})
        return made

    def __getattr__(self, name: str) -> Any:
        if name == "config" and "_text" in self.__dict__:
            self.__dict__["config"] = json.loads(self.__dict__["_text"])
            return self.__dict__["config"]
        raise AttributeError(name)


_shape = cache(Shape)
REST = {"id", "cell", "seed", "shape", "score_shape", "evaluate"}
MAY_BE = REST | {"needs", "stage", "waits"}


def _without_config(line: str) -> tuple[dict[str, Any], str] | None:
    """A line of ``plan.jsonl`` without its configuration, and that as text; ``None`` where the line is not as :meth:`to_json` writes it.

    The two cuts are looked for in the text. One that is not at the top level leaves braces open, or takes a field with it, and is
    seen by that.
    """
    begin, end = line.find(',"config":{'), line.rfind('},"shape":{')
    if begin < 0 or end < begin:
        return None
    try:
        value = json.loads(line[:begin] + line[end + 1 :])
    except ValueError:
        return None
    return (value, line[begin + len(',"config":') : end + 1]) if REST <= value.keys() <= MAY_BE else None


def cell_name(cell: Mapping[str, Any]) -> str:
    """The cell as a reader writes it: ``head.layers=2 head.activation=silu``; ``base`` where nothing varies."""
    return " ".join(f"{path}={value}" for path, value in cell.items()) or "base"


def with_commas(name: str) -> str:
    """The name of a cell as it stands behind a sweep's, ``head.layers=2,head.activation=silu``; spaces within a value stay."""
    return COORDINATE.sub(",", name)
