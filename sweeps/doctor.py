"""Checking the installation: each check says what it found, whether that will do, and what to do if not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from core.entry import intruders
from core.workspace.snapshot import is_editable, source_root
from slurm.local import cores_here, gpus_here

Verdict = Literal["ok", "note", "bad"]
FREE_GIB = 1.0
"""Less free space than this in a workspace is an error: a checkpoint would not fit."""


@dataclass(frozen=True)
class Finding:
    """One check: ``note`` limits what can be done here, ``bad`` stops everything."""

    check: str
    verdict: Verdict
    found: str
    next: str = ""


def examine(root: Path) -> Iterator[Finding]:
    """Run every check; slow ones (importing torch) come last."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        lambda: _workspace(root),
        _places,
        _resources,
        _torch,
    ]
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "bad", sys.version.split()[0], "" if good else "install Python 3.11 or newer")
    foreign = intruders()
    where = f"{source_root()}" + (" (a checkout: jobs run from a snapshot)" if is_editable() else "")
    yield Finding(
        "our packages", "bad" if foreign else "ok", "; ".join(foreign) or where, "use an environment of its own" if foreign else ""
    )


def _packages() -> Iterator[Finding]:
    missing = []
    for line in requires("rewardsweep") or []:
        if "extra ==" in line:
            continue
        name = line.split(";")[0].strip()
        for mark in "<>=!~ [(":
            name = name.split(mark)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    found = "missing: " + ", ".join(missing) if missing else ", ".join(f"{n} {version(n)}" for n in ("transformers", "mlflow", "submitit"))
    yield Finding("libraries", "bad" if missing else "ok", found, f"pip install {' '.join(missing)}" if missing else "")


def _workspace(root: Path) -> Iterator[Finding]:
    place = root.expanduser().absolute()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    writable = os.access(existing, os.W_OK)
    yield Finding(
        "workspace",
        "ok" if writable else "bad",
        f"{place}" + ("" if place.exists() else " (not made yet)"),
        "" if writable else "choose another with --workspace",
    )
    free = shutil.disk_usage(existing).free / 2**30
    yield Finding(
        "free space",
        "ok" if free >= FREE_GIB else "bad",
        f"{free:.1f} GiB",
        "" if free >= FREE_GIB else "free space, or choose another with --workspace",
    )
    if (place / "HOLD").exists():
        yield Finding("HOLD", "note", "nothing is claimed or submitted", f"remove {place / 'HOLD'}")


def _places() -> Iterator[Finding]:
    for name, what in (("SWEEP_DATA", "data sets and benchmarks"), ("SWEEP_MODELS", "weights")):
        value = os.environ.get(name)
        if not value:
            yield Finding(
                f"${name}", "note", "not set", f"export {name}=FOLDER for {what}, or give paths in the definition; a rehearsal needs none"
            )
        else:
            there = Path(value).is_dir()
            yield Finding(f"${name}", "ok" if there else "note", value + ("" if there else " (no such folder)"))
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    yield Finding("hub", "ok", ("offline" if offline else "online") + f", cache {os.environ.get('HF_HOME') or '~/.cache/huggingface'}")
    yield Finding("MLflow", "ok", os.environ.get("MLFLOW_TRACKING_URI") or "a store in the workspace")


def _resources() -> Iterator[Finding]:
    gpus = gpus_here()
    yield Finding(
        "this machine",
        "ok" if gpus else "note",
        f"{cores_here()} cores, {gpus} GPUs",
        "" if gpus else "real trials need GPUs; --rehearse does not",
    )


def _torch() -> Iterator[Finding]:
    facts = "torch.__version__, torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count()"
    code = f"import torch, json; print(json.dumps([{facts}]))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if ended.returncode:
        yield Finding("torch", "bad", ended.stderr.strip().splitlines()[-1], "install torch for this machine: see README")
        return
    release, cuda, usable, count = json.loads(ended.stdout)
    yield Finding("torch", "ok", f"{release}, " + (f"CUDA {cuda}, {count} GPUs usable" if usable else "CPU only"))
    if gpus_here() and cuda is None:
        yield Finding("torch and GPU", "bad", "a CPU build of torch on a machine with GPUs", "install torch's CUDA build: see README")
