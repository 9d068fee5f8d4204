"""Freeze a workspace of today's format: ``python tests/assets/freeze.py N`` writes ``workspace-N.tar.gz`` and what it must say.

Run it once for each change of a format, with the next number, before the change; the old files stay, and the test opens them all.
Weights, MLflow's store, caches and jobs are left out: they are not ours to read back, or can be made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

DEFINITION = """\
version: 1
name: frozen
description: A study that was run once and must stay readable.
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  train: {epochs: 1}
cases:
  - {head.layers: 1}
  - {head.layers: [2, 3], head.activation: tanh}
  - {head.layers: 2, head.activation: silu, optim.lr: 1e30}
seeds: 2
checkpoint: {every: 4steps, after: resume}
validation: {items: 16, every: 0.5}
evaluate: [generated_images, vl_rewardbench]
reported:
  - source: a paper
    metrics: [vl_rewardbench/overall]
    rows:
      - {cell: {head.layers: 1}, values: [71.2], note: as printed}
      - {model: an outside model, values: [50.0]}
"""
LEFT_OUT = ("mlflow", "cache", "leases", "jobs", "checkpoints", "weights")
SWEEP = str(Path(sys.executable).parent / "sweep")


def digest(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What of a report must stay: its rows and numbers (links and notes may change)."""
    keep = ("mean", "values", "reported")
    return [
        {"kind": row["kind"], "name": row["name"], "cell": row["cell"]}
        | {"metrics": {name: {key: value.get(key) for key in keep} for name, value in row["metrics"].items()}}
        for row in report["rows"]
    ]


def main(number: int) -> None:
    """Run the study and pack what it left."""
    home = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "frozen.yaml").write_text(DEFINITION, encoding="utf-8")
        short = ["rehearsal.steps=8", "rehearsal.pairs=64", "rehearsal.items=16", "rehearsal.batch=8"]
        subprocess.run([SWEEP, "launch", "frozen.yaml", "--rehearse", *short], cwd=folder, check=False)
        subprocess.run([SWEEP, "cancel", "frozen", "--yes"], cwd=folder, check=True)
        said = {}
        for words in (["status", "frozen"], ["report", "frozen"]):
            said[words[0]] = json.loads(subprocess.run([SWEEP, *words, "--json"], cwd=folder, check=True, capture_output=True).stdout)
        said["report"] = digest(said["report"])
        with tarfile.open(home / f"workspace-{number}.tar.gz", "w:gz") as archive:
            archive.add(Path(folder) / "runs", "runs", filter=lambda entry: None if set(Path(entry.name).parts) & set(LEFT_OUT) else entry)
    (home / f"workspace-{number}.json").write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]))
