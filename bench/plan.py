"""How long it takes to enumerate a large grid, side by side with others, each in a process of its own.

    python bench/plan.py                                     # 10^4 and 10^5 cells, ours and the naive way
    python bench/plan.py --peer-python /tmp/peer/bin/python  # and SEML, from an environment with `pip install seml`

The grid has five axes over four sections. ``count`` makes every cell's id and merges equal ones; ``trials`` also makes every
cell's whole configuration. ``naive`` is what one would write first: per cell ``OmegaConf.merge``, pydantic, JSON, sha256.
``seml`` is ``generate_configs`` and ``make_hash`` (no check of values, no merging of cells that mean the same). Seconds are
without imports; MB is the peak of the process above what it had before the work began. One run is one sample: on a shared
machine look at the ratios, and run it again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
AXES = ("optim.lr", "optim.weight_decay", "head.width", "train.batch", "data.sources.pairs.cap")
TRIAL = {"backbone": {"name": "qwen2.5-vl-7b"}, "data": {"sources": {"pairs": {"type": "file"}}}, "train": {"epochs": 1.0}}


def axes(cells: int) -> dict[str, list[float]]:
    """Five axes whose product has ``cells`` cells (a power of ten from 10 to 10^6): 10 values each, then fewer."""
    out: dict[str, list[float]] = {}
    for name in AXES:
        size = min(10, cells)
        cells //= size
        scale = 1e-6 if name.startswith("optim") else 1
        out[name] = [(index + 1) * scale for index in range(size)]
    return out


def definition(cells: int, folder: Path) -> Any:
    from core.definition import load

    grid = {name: [f"{value:.12g}" for value in values] for name, values in axes(cells).items()}
    path = folder / "grid.yaml"
    path.write_text(json.dumps({"version": 1, "name": "grid", "trial": TRIAL, "grid": grid}))
    return load(path)


def run_count(cells: int, folder: Path) -> int:
    from core.definition import expand

    return expand(definition(cells, folder)).counts["cells"]


def run_trials(cells: int, folder: Path) -> int:
    from core.definition import expand

    return sum(1 for _ in expand(definition(cells, folder)).trials())


def run_naive(cells: int, folder: Path) -> int:
    import hashlib
    import itertools

    from omegaconf import OmegaConf

    from core.definition.trial import TrialConfig

    grid = axes(cells)
    fixed = OmegaConf.create(TRIAL)
    seen = set()
    for values in itertools.product(*grid.values()):
        config = OmegaConf.merge(fixed, OmegaConf.from_dotlist([f"{name}={value:.12g}" for name, value in zip(grid, values, strict=True)]))
        typed = TrialConfig.model_validate(OmegaConf.to_container(config, resolve=True))
        seen.add(hashlib.sha256(json.dumps(typed.model_dump(mode="json"), sort_keys=True).encode()).hexdigest())
    return len(seen)


def run_seml(cells: int, folder: Path) -> int:
    from seml.experiment.config import generate_configs
    from seml.utils import make_hash

    grid = {name: {"type": "choice", "options": values} for name, values in axes(cells).items()}
    return len({make_hash(config) for config in generate_configs({"fixed": TRIAL, "grid": grid})})


WAYS: dict[str, Callable[[int, Path], int]] = {"count": run_count, "trials": run_trials, "naive": run_naive, "seml": run_seml}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way: str, cells: int) -> dict[str, Any]:
    """Measure one way in this process; a run of ten cells first, so that imports do not count."""
    with tempfile.TemporaryDirectory() as folder:
        WAYS[way](10, Path(folder))
        before, started = peak_mb(), time.perf_counter()
        found = WAYS[way](cells, Path(folder))
        return {"way": way, "cells": cells, "found": found, "seconds": time.perf_counter() - started, "mb": peak_mb() - before}


def in_own_process(python: str, way: str, cells: int) -> dict[str, Any]:
    command = [python, __file__, "--measure", way, "--cells", str(cells)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY), "HOME": "/tmp"}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--peer-python", help="an interpreter that has SEML installed")
    parser.add_argument(
        "--naive-limit", type=int, default=10_000, help="largest grid that the naive way is run on (it takes about a millisecond a cell)"
    )
    parser.add_argument("--measure", choices=list(WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.cells[0])))
        return
    results = []
    for cells in given.cells:
        for way in WAYS:
            if (way == "seml" and not given.peer_python) or (way == "naive" and cells > given.naive_limit):
                continue
            results.append(in_own_process(given.peer_python if way == "seml" else sys.executable, way, cells))
    print(f"{'way':8}{'cells':>9}{'seconds':>10}{'MB':>8}{'x count':>9}")
    for result in results:
        base = next(other for other in results if other["cells"] == result["cells"] and other["way"] == "count")
        result["ratio"] = result["seconds"] / base["seconds"]
        print(f"{result['way']:8}{result['found']:>9}{result['seconds']:>10.2f}{result['mb']:>8.1f}{result['ratio']:>9.1f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
