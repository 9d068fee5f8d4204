"""What a job runs: submitit unpickles this function by name, so it must import next to nothing."""

from __future__ import annotations


def start_worker(folder: str) -> None:
    """Become the worker that ``job.json`` in ``folder`` describes; its ``entry`` names the function of the floor above."""
    import importlib
    import json
    import os
    from pathlib import Path

    record = json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))
    # set here, before anything imports torch: submitit takes numbers only, and these may be names
    if "array" not in record:  # SLURM has said itself which ones a job may use
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(record["gpus"])
    module, _, function = record["entry"].partition(":")
    getattr(importlib.import_module(module), function)(folder)
