"""How a worker takes a trial (or a scoring) so that exactly one owns each attempt.

The protocol:

1. The claimer writes ``attempts/.<worker>/owner.json``: who it is (host, boot, pid with start time, job, restart count), which
   attempt it means to make, and, for attempt n+1, the evidence that attempt n has ended.
2. It renames that folder to ``attempts/<n+1>``. Renaming a folder onto one that is not empty fails, on a local disk as on
   NFS, so of several claimers one wins, and the winner's identity is inside from the first moment.
3. It reads ``owner.json`` back through the final path, to be sure (an NFS client may have repeated a rename).

Evidence that an attempt has ended (a state is never entered because of silence):

* its journal's last line says ``ended``;
* its owner's process is gone (:func:`core.workspace.process.evidence_of_end`);
* the scheduler gave a terminal answer for its job and restart count;
* a user declared it dead (``sweep retry --force``).

A wrong verdict may cost GPU time, never a result: an attempt writes below its own folder only, and the result is published
once, by rename.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import IntegrityError
from core.workspace import process
from core.workspace.files import MANIFEST, manifest_of, read_json, rename_onto, verify, write_atomic
from core.workspace.layout import Attempt, Unit


def claim(unit: Unit, number: int, worker: str, details: Mapping[str, Any], evidence: str | None = None) -> Attempt | None:
    """Try to make attempt ``number`` of ``unit`` in the name of this process; ``None`` where another one won.

    Args:
        unit: the trial or scoring.
        number: the attempt, from 1.
        worker: a name that no other process uses.
        details: what else ``owner.json`` records (job, restart count, fingerprints).
        evidence: what proves that the attempt before has ended; required from attempt 2 on.

    Raises:
        ValueError: a later attempt is claimed without evidence.
    """
    if number > 1 and not evidence:
        raise ValueError(f"attempt {number} needs evidence that attempt {number - 1} has ended")
    folder = unit.folder / "attempts"
    staging = folder / f".{worker}"
    staging.mkdir(parents=True, exist_ok=True)
    owner = {"v": 1, "worker": worker, "attempt": number, "evidence": evidence, **process.identity(), **details}
    write_atomic(staging / "owner.json", json.dumps(owner, indent=1), sync=True)
    target = folder / f"{number:04d}"
    if not rename_onto(staging, target):
        shutil.rmtree(staging, ignore_errors=True)
        return None
    attempt = Attempt(target)
    return attempt if attempt.owner()["worker"] == worker else None


def checkpoints(unit: Unit) -> list[tuple[int, int, Path]]:
    """All checkpoints with a manifest as (attempt, step, folder), the newest first; digests are not checked here."""
    found = []
    for attempt in unit.attempts():
        if not attempt.checkpoints.is_dir():
            continue
        for name in os.listdir(attempt.checkpoints):
            folder = attempt.checkpoints / name
            if name.startswith("step-") and (folder / MANIFEST).exists():
                found.append((attempt.number, int(name.removeprefix("step-")), folder))
    return sorted(found, key=lambda item: item[:2], reverse=True)


def newest_valid_checkpoint(unit: Unit) -> tuple[int, int, Path] | None:
    """The highest (attempt, step) whose manifest is complete and whose digests match; torn ones are passed over."""
    for attempt, step, folder in checkpoints(unit):
        if manifest_of(folder) is not None and not verify(folder):
            return attempt, step, folder
    return None


def check_config(unit_config: Path, expected: Mapping[str, Any], id: str) -> None:
    """Verify that a trial's folder holds the configuration that its id says (the caller has hashed it).

    Raises:
        IntegrityError: ``config.json`` was changed by hand.
    """
    if dict(read_json(unit_config)) != dict(expected):
        raise IntegrityError(
            "the configuration in a trial's folder is not the one that its id was made from",
            found=str(unit_config),
            next=f"move the folder of {id[:10]} away and launch again",
        )
