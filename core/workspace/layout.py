"""Where everything lies in a workspace (one place that knows the folder names).

::

    FORMAT                                    the layout's version; a newer one is refused
    sweeps/<id>/revisions/<n>/                definition.yaml, plan.jsonl, revision.json: each definition as launched
    sweeps/<id>/growth/000001.json            trials that the sweep has gained since: suggestions of a search, further seeds
    sweeps/<id>/events/<writer>.jsonl         what was done to the sweep, a file per writer
    trials/<id[:2]>/<id>/config.json          made at the first attempt, not before
        attempts/0001/                        owner.json journal.jsonl output.log checkpoints/
        result/                               weights and metrics, published once, by rename
        scores/<key>/                         table.parquet, attempts/ as above
        requests/0001.json                    what others ask of the trial, numbered
    baselines/<name>/scores/<key>/            the same for what is no trial
    jobs/<key>/                               submitit's folder, with job.json and worker.json (0700)
    nodes/<name>.json                         a node that no worker is sent to for a while
    nights/  cache/  leases/  HOLD
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import EnvironmentFault, IntegrityError, UsageError
from core.workspace.files import fault, read_json, write_atomic

FORMAT = 1


@dataclass(frozen=True)
class Attempt:
    """The folder of one attempt."""

    folder: Path

    @property
    def number(self) -> int:
        """The attempt's number, from 1."""
        return int(self.folder.name)

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.jsonl"

    @property
    def output(self) -> Path:
        """What the attempt printed."""
        return self.folder / "output.log"

    def rank_output(self, rank: int) -> Path:
        """What one of several ranks printed; that of rank 0 is :attr:`output`."""
        return self.output if rank == 0 else self.folder / f"output-{rank}.log"

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint after an optimiser step."""
        return self.checkpoints / f"step-{step:08d}"

    def owner(self) -> dict[str, Any]:
        """Who owns the attempt."""
        value = read_json(self.folder / "owner.json")
        if not isinstance(value, dict):
            raise IntegrityError("not an owner", place=self.folder / "owner.json")
        return value


@dataclass(frozen=True)
class Unit:
    """A folder that is worked on by attempts: a trial, or a scoring."""

    folder: Path

    def attempts(self) -> list[Attempt]:
        """The attempts, oldest first."""
        try:
            names = os.listdir(self.folder / "attempts")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [Attempt(self.folder / "attempts" / name) for name in sorted(name for name in names if name.isdigit())]


@dataclass(frozen=True)
class Scoring(Unit):
    """The folder of one scoring."""

    @property
    def table(self) -> Path:
        """The ScoreTable."""
        return self.folder / "table.parquet"

    @property
    def summary(self) -> Path:
        """The metrics of the table, as JSON beside it (derived)."""
        return self.folder / "summary.json"


@dataclass(frozen=True)
class Trial(Unit):
    """The folder of one trial."""

    @property
    def id(self) -> str:
        """32 hex digits."""
        return self.folder.name

    @property
    def config(self) -> Path:
        """The trial's configuration, made at the first attempt."""
        return self.folder / "config.json"

    @property
    def result(self) -> Path:
        """The published result: ``weights/``, ``metrics.json`` and a manifest."""
        return self.folder / "result"

    @property
    def requests(self) -> Path:
        """What others ask of the trial."""
        return self.folder / "requests"

    def scoring(self, key: str) -> Scoring:
        """The folder of the scoring with this key."""
        return Scoring(self.folder / "scores" / key)


@dataclass(frozen=True)
class Sweep:
    """The folder of one sweep."""

    folder: Path

    @property
    def id(self) -> str:
        """The sweep's id: its name, or ``NAME-rehearsal``."""
        return self.folder.name

    @property
    def events(self) -> Path:
        """The folder of event files."""
        return self.folder / "events"

    def revisions(self) -> list[int]:
        """The numbers of the revisions, oldest first."""
        try:
            names = os.listdir(self.folder / "revisions")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name) for name in names if name.isdigit())

    def revision(self, number: int) -> Path:
        """The folder of a revision."""
        return self.folder / "revisions" / str(number)


class Workspace:
    """A workspace on a file system that all workers share."""

    def __init__(self, root: Path, holds: tuple[Path, ...] = ()) -> None:
        self.root = root
        self.holds = holds

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Workspace:
        """Open a workspace and check its format.

        Raises:
            UsageError: there is none and ``create`` is false.
            EnvironmentFault: its format is newer than this version, or it cannot be written.
        """
        root = root.expanduser().absolute()
        marker = root / "FORMAT"
        if not marker.exists():
            if not create:
                raise UsageError(
                    "there is no workspace here", found=str(root), next="`sweep launch DEF` makes one; --workspace names another"
                )
            try:
                for name in ("sweeps", "trials", "baselines", "nights", "cache", "leases"):
                    (root / name).mkdir(parents=True, exist_ok=True)
                (root / "jobs").mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise fault(error, root) from error
            write_atomic(marker, f"{FORMAT}\n", sync=True)
        text = marker.read_text(encoding="utf-8").strip()
        if not text.isdigit():
            raise IntegrityError("the workspace's format is not a number", found=text, place=marker)
        if int(text) > FORMAT:
            raise EnvironmentFault(
                "the workspace was made by a newer version", found=f"format {text}", allowed=f"up to {FORMAT}",
                place=marker, next="install the newer rewardsweep, or choose another with --workspace",
            )  # fmt: skip
        return cls(root)

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.root / "cache"

    @property
    def leases(self) -> Path:
        """Short claims of single tasks, such as submitting."""
        return self.root / "leases"

    @property
    def jobs(self) -> Path:
        """What was submitted."""
        return self.root / "jobs"

    @property
    def nodes(self) -> Path:
        """Nodes that no worker is sent to for a while (:mod:`core.workspace.nodes`)."""
        return self.root / "nodes"

    @property
    def nights(self) -> Path:
        """Nightly grids (:mod:`core.workspace.nights`)."""
        return self.root / "nights"

    @property
    def held(self) -> bool:
        """Whether a HOLD stops all claims and submissions: the workspace's own, or one of :mod:`core.workspace.holds`."""
        return bool(self.holding)

    @property
    def holding(self) -> list[Path]:
        """The HOLDs that are set; the workspace's own first."""
        return [file for file in (self.root / "HOLD", *self.holds) if file.exists()]

    def trial(self, id: str) -> Trial:
        """The folder of a trial (it need not exist)."""
        return Trial(self.root / "trials" / id[:2] / id)

    def trials(self) -> Iterator[Trial]:
        """All trials that have a folder."""
        for group in sorted((self.root / "trials").glob("[0-9a-f][0-9a-f]")):
            for folder in sorted(group.iterdir()):
                yield Trial(folder)

    def trial_ids(self) -> set[str]:
        """The ids of all trials that have a folder."""
        found: set[str] = set()
        with suppress(FileNotFoundError):
            for group in os.listdir(self.root / "trials"):
                if len(group) == 2:
                    found.update(os.listdir(f"{self.root}/trials/{group}"))
        return found

    def baseline(self, name: str, key: str) -> Scoring:
        """The folder of a baseline's scoring."""
        return Scoring(self.root / "baselines" / name / "scores" / key)

    def sweep(self, id: str) -> Sweep:
        """The folder of a sweep (it need not exist)."""
        return Sweep(self.root / "sweeps" / id)

    def sweeps(self) -> list[Sweep]:
        """All sweeps with at least one revision, by id."""
        found = [Sweep(folder) for folder in sorted((self.root / "sweeps").iterdir()) if folder.is_dir()]
        return [sweep for sweep in found if sweep.revisions()]


def write_config(trial: Trial, config: dict[str, Any]) -> None:
    """Write ``config.json`` once; a second writer writes the same content, so the race is harmless."""
    if trial.config.exists():
        return
    trial.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(trial.config, json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n", sync=True)
