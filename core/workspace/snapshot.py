"""A snapshot of our own code for jobs, so that queued work does not pick up later edits of a checkout.

Only an editable checkout needs one (an installed distribution does not change under a job). Protocol: copy to a staging
folder, rename it to ``cache/code/<digest>``, the name being the digest of the content; a marker inside says that the copy
was complete before the rename.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path

from core.workspace.files import rename_onto
from core.workspace.layout import Workspace

PACKAGES = ("core", "slurm", "dashboards", "sweeps")
SUFFIXES = (".py", ".yaml", ".txt", ".typed")
MARKER = "COMPLETE"


def source_root() -> Path:
    """The folder that holds our packages, as this process imported them."""
    return Path(__file__).resolve().parent.parent.parent


def is_editable() -> bool:
    """Whether this process runs from a checkout that somebody may edit."""
    return (source_root() / "pyproject.toml").exists()


def take(workspace: Workspace) -> Path | None:
    """The folder that jobs put on their path, or ``None`` where the installed distribution serves."""
    root = source_root()
    if not is_editable():
        return root if (root / MARKER).exists() else None
    files = [f for package in PACKAGES for f in sorted((root / package).rglob("*")) if f.suffix in SUFFIXES and f.is_file()]
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    target = workspace.cache / "code" / total.hexdigest()[:16]
    if (target / MARKER).exists():
        return target
    staging = target.parent / f".{uuid.uuid4().hex[:12]}"
    for file in files:
        copy = staging / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    (staging / MARKER).write_text("", encoding="utf-8")
    if not rename_onto(staging, target):
        shutil.rmtree(staging, ignore_errors=True)
    return target
