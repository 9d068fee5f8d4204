"""A context that lives in a folder, and a script that trains one trial in a process of its own.

``python run_trial.py CONFIG.json FOLDER [--resume CHECKPOINT] [--stop-at STEP] [--code FILE]``
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.training.context import Interrupted, Seat  # noqa: E402


class FolderContext:
    """A complete context: metrics as JSON lines, checkpoints and result as folders."""

    def __init__(self, folder, resume=None, stop_at=None, ask="stop", threads=1, device="cpu", seat=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume = resume
        self.device = device
        self.seat = seat or Seat()
        self.threads = threads
        self.stop_at = stop_at
        self.ask = ask
        self.step = 0
        self.saved = []
        self.final = None

    def metrics(self, group, step, values):
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"group": group, "step": step, "values": dict(values)}) + "\n")

    def progress(self, step, total, **values):
        self.step, self.total = step, total

    def note(self, **facts):
        self.facts = facts

    def asked(self):
        if self.stop_at != self.step:
            return None
        said, self.ask = self.ask, None if self.ask == "checkpoint" else self.ask  # as an attempt does
        return said

    def save(self, step, write):
        folder = self.folder / f"checkpoint-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write(folder)
        self.saved.append(step)

    def publish(self, write, metrics):
        folder = self.folder / "result" / "weights"
        folder.mkdir(parents=True)
        write(folder)
        self.final = dict(metrics)
        (folder.parent / "metrics.json").write_text(json.dumps(self.final))

    def read(self, group):
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return {line["step"]: line["values"] for line in lines if line["group"] == group}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("folder")
    parser.add_argument("--resume")
    parser.add_argument("--stop-at", type=int)
    parser.add_argument("--code")
    args = parser.parse_args()
    from core import registry
    from core.definition.trial import TrialConfig
    from core.training.trainer import train

    if args.code:
        registry.load_code([Path(args.code)])
    config = TrialConfig.model_validate(json.loads(Path(args.config).read_text()))
    context = FolderContext(args.folder, Path(args.resume) if args.resume else None, args.stop_at)
    try:
        train(config, context)
    except Interrupted as left:
        print(f"left at {left.step}")


if __name__ == "__main__":
    main()
