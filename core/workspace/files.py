"""Small file operations that survive a crash: write whole or not at all, rename into place, digest.

Everything is written beside its destination and renamed, so a reader sees the old content or the new one, never half of it.
``fsync`` is spent where a lie after a power cut would hurt: claims, ends, manifests.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import EnvironmentFault, IntegrityError

MANIFEST = "manifest.json"


def user_cache() -> Path:
    """The user's own cache on this host; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rewardsweep"


def fault(error: OSError, path: Path) -> EnvironmentFault:
    """What a failed write means to a user: a full disk, a read-only workspace, missing rights."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault("the disk is full or the quota is used up", found=str(path), next="free space, then launch again")
    if error.errno == errno.EROFS:
        return EnvironmentFault("the file system is read-only", found=str(path), next="choose another with --workspace")
    if error.errno in (errno.EACCES, errno.EPERM):
        return EnvironmentFault("no right to write here", found=str(path), next="choose another with --workspace")
    return EnvironmentFault(f"cannot write: {error.strerror}", found=str(path))


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, text: str, *, sync: bool = False) -> None:
    """Replace ``path`` with ``text``, whole or not at all.

    Raises:
        EnvironmentFault: the disk is full, read-only, or the right is missing; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise fault(error, path) from error


def create_exclusive(path: Path, text: str) -> bool:
    """Create ``path`` with its whole content at once; ``False`` where it exists already (its content is left alone)."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    except OSError as error:
        raise fault(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def mark(path: Path | str) -> str | None:
    """Names a file as it is now; files that are published by rename never change without another mark. ``None``: there is none."""
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{stat.st_mtime_ns}:{stat.st_size}:{stat.st_ino}"


def read_json(path: Path) -> Any:
    """The JSON of a file that only we write.

    Raises:
        IntegrityError: it does not parse.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"not valid JSON: {error}", place=path) from error


def rename_onto(source: Path, target: Path) -> bool:
    """Rename a folder to a place that must be free; ``False`` where another one is there already."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_folder(target.parent)
    return True


def digest(path: Path) -> str:
    """sha256 of a file's content, in hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def publish_folder(target: Path, staging: Path, write: Callable[[Path], None], extra: dict[str, Any]) -> bool:
    """Fill ``staging``, add a manifest of sizes and digests, sync, and rename it to ``target``.

    Returns ``False`` (and removes the staging folder) where ``target`` exists already: results are published once.
    """
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    try:
        write(staging)
        files = {}
        for path in sorted(p for p in staging.rglob("*") if p.is_file()):
            with open(path, "rb+") as handle:
                os.fsync(handle.fileno())
            files[path.relative_to(staging).as_posix()] = {"size": path.stat().st_size, "sha256": digest(path)}
        write_atomic(staging / MANIFEST, json.dumps({"v": 1, "files": files, **extra}, indent=1), sync=True)
        if rename_onto(staging, target):
            return True
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    shutil.rmtree(staging, ignore_errors=True)
    return False


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a published folder, or ``None`` where there is none (not published, or torn)."""
    try:
        value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else None


def verify(folder: Path) -> list[str]:
    """What is wrong with a published folder: one sentence per file that is missing or differs; empty where it is whole."""
    manifest = manifest_of(folder)
    if manifest is None:
        return [f"{folder}: no readable {MANIFEST}"]
    problems = []
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif path.stat().st_size != expected["size"]:
            problems.append(f"{path}: {path.stat().st_size} bytes, the manifest says {expected['size']}")
        elif digest(path) != expected["sha256"]:
            problems.append(f"{path}: its digest is not the manifest's")
    return problems
