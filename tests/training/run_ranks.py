"""Trains the scenarios of a list one after the other, each with as many ranks as it asks for (forks of this process).

``python run_ranks.py SCENARIOS.json FOLDER``: a list of ``{"name", "config", "ranks", "zero", "offload", "resume", "stop_at",
"media", "dtype"}``.
"""

import json
import shutil
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)]

from run_trial import FolderContext  # noqa: E402

from core.run.crew import Forks  # noqa: E402
from core.training import trainer  # noqa: E402
from core.training.context import Interrupted, Seat  # noqa: E402
from core.training.layout import Layout  # noqa: E402
from core.training.warm import warm  # noqa: E402


class RankContext(FolderContext):
    """Rank 0 of several, or one that follows and records nothing."""

    def metrics(self, group, step, values):
        if self.seat.rank == 0:
            super().metrics(group, step, values)

    def asked(self):
        return super().asked() if self.seat.rank == 0 else None

    def save(self, step, write):
        if self.seat.rank == 0:
            super().save(step, write)
        else:
            write(self.folder / f"checkpoint-{step}")

    def publish(self, write, metrics):
        if self.seat.rank == 0:
            super().publish(write, metrics)


def without_media(load, batch, share):
    """The data as they are, but without pictures where the last ranks' part of a batch comes."""

    def loaded(config, *more):
        data = load(config, *more)
        order = data.order(config.seed).slice(0, data.epoch_size)
        words = {index for place, index in enumerate(order) if place % batch >= share}
        return replace(data, train=[replace(x, media=()) if i in words else x for i, x in enumerate(data.train)])

    return loaded


def held(*roots):
    """Bytes of the tensors that are found below some objects, each storage once."""
    import torch

    seen, storages, waiting = set(), {}, [(root, 0) for root in roots]
    while waiting:
        value, depth = waiting.pop()
        if id(value) in seen or depth > 5:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            waiting += [(getattr(value, name, None), depth + 1) for name in ("grad", "ds_tensor")]
        elif isinstance(value, dict):
            waiting += [(item, depth + 1) for item in (*value.keys(), *value.values())]
        elif isinstance(value, list | tuple):
            waiting += [(item, depth + 1) for item in value]
        elif hasattr(value, "__dict__") and depth < 3 and type(value).__module__.startswith(("deepspeed", "torch.optim")):
            waiting += [(item, depth + 1) for item in vars(value).values()]
    return sum(storages.values())


def measured(made, folder):
    """Write down what a rank holds just before its second step."""
    step, engine, calls = made.engine.step, made.engine, []
    sizes = {"all": sum(value.numel() for value in made.model.parameters()), "trained": sum(v.numel() for _, v in made.model.trained())}

    def watched(lr):
        calls.append(lr)
        if len(calls) == 2:
            below = getattr(engine, "engine", engine).optimizer
            found = held(list(made.model.parameters()), below, getattr(below, "optimizer", None), getattr(below, "state", None))
            (folder / "held.json").write_text(json.dumps({"bytes": found, **sizes}))
        return step(lr)

    made.engine.step = watched


def be(scenario, folder, rank):
    from core.definition.trial import TrialConfig

    config = TrialConfig.model_validate(scenario["config"]).effective()
    if scenario.get("dtype"):
        config = config.model_copy(update={"train": config.train.model_copy(update={"dtype": scenario["dtype"]})})
    if scenario.get("media") == "first half":
        trainer.load_data = without_media(trainer.load_data, config.train.batch, config.train.batch // 2)
    layout = Layout(scenario.get("zero"), scenario.get("offload", "none"))
    divided = layout.stage is not None
    seat = Seat(rank, scenario["ranks"], rank, 1, folder / "meeting.json" if divided else None, layout)
    resume = folder.parent / scenario["resume"] if scenario.get("resume") else None
    context = RankContext(folder, resume, scenario.get("stop_at"), seat=seat)
    try:
        made = trainer.Trainer(config, context)
        if rank == 0:
            measured(made, folder)
        made.run()
    except Interrupted:
        pass
    return 0


def main(scenarios, root):
    ranks = max(scenario["ranks"] for scenario in scenarios)
    warm("cpu", ranks)
    for scenario in scenarios:
        folder = root / scenario["name"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        output = {rank: folder / f"output-{rank}.log" for rank in range(scenario["ranks"])}
        crew = Forks(scenario["ranks"], partial(be, scenario, folder), output.__getitem__)
        while crew.left:
            for rank, status in crew.poll():
                if status:
                    crew.end()
                    raise SystemExit(
                        f"{scenario['name']}: rank {rank} ended with {status}:\n" + (folder / f"output-{rank}.log").read_text()
                    )


if __name__ == "__main__":
    warnings.simplefilter("error", ResourceWarning)
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
