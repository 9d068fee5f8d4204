"""What a launch of a plan would cost: GPU-hours, time and disk.

Seconds of a trial are those that equal trials took in this workspace; where none has ended, arithmetic over the first rows of its data
(:mod:`core.training.cost`), which is rough and says so. Scoring comes on top and is not counted. Disk is what stands at once at most: the
checkpoints of all trials that run, each with the one that is being written, and all results.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import fmean, median
from typing import Any, Literal

from core.definition.identity import canonical
from core.definition.plan import PlannedTrial, Shape
from core.definition.trial import BUDGETS, TrialConfig
from core.errors import EnvironmentFault, IntegrityError, SweepError
from core.training.cost import UTILISATION, Disk, disk, gpu_seconds
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Trial, Workspace
from dashboards.live.progress import duration
from slurm.local import default_workers
from sweeps.jobs import Jobs
from sweeps.planning import Plan, will_run

LOOKED_AT = 400
"""Trials of a workspace that are looked at for their pace, those of the plan first."""
SAMPLED = 64
"""First rows of each source by which the length of its pairs is estimated."""
CHARACTERS = 4.0
"""Characters of a token, in English and with a vocabulary of 150,000."""
PIXELS = 28 * 28
"""Pixels of an image that become one token (14 x 14 patches, merged 2 x 2)."""
LARGEST_IMAGE = 16384 * PIXELS
"""Where a backbone's own limit is taken, as Qwen2.5-VL's processor has it."""
FRAME_TOKENS = 256
"""Tokens of a frame of a video, which is not opened for an estimate."""
GIB = 2**30

Basis = Literal["measured", "estimated"]


@dataclass(frozen=True)
class Cost:
    """Trials that cost alike.

    Attributes:
        backbone: what they train.
        shape: what each asks for.
        trials: how many would run.
        seconds: of one, median; ``None`` where nothing tells.
        basis: what the seconds rest on.
        disk: what one writes; ``None`` in a rehearsal, or for a backbone of unknown size.
        based_on: ended trials that were measured.
    """

    backbone: str
    shape: Shape
    trials: int
    seconds: float | None
    basis: Basis | None
    disk: Disk | None
    based_on: int = 0

    @property
    def gpu_hours(self) -> float | None:
        """Of all of them."""
        return None if self.seconds is None else self.trials * self.seconds * self.shape.gpus / 3600


@dataclass(frozen=True)
class Costs:
    """The plan's costs.

    Attributes:
        groups: trials that cost alike.
        at_once: trials that run at once.
        keep: checkpoints that a trial keeps while it trains.
        resumable: whether its resume state stays when it has ended.
    """

    groups: Sequence[Cost]
    at_once: int
    keep: int
    resumable: bool

    @property
    def gpu_hours(self) -> float | None:
        """Of everything; ``None`` where a part is not known."""
        found = [group.gpu_hours for group in self.groups]
        return None if None in found else sum(hours for hours in found if hours is not None)

    @property
    def seconds(self) -> float | None:
        """Until the last trial ends, with so many at once from the beginning; ``None`` where a part is not known."""
        known = [(group.trials, group.seconds) for group in self.groups if group.seconds is not None]
        if len(known) < len(self.groups) or not known:
            return None
        return max(max(seconds for _, seconds in known), sum(count * seconds for count, seconds in known) / self.at_once)

    @property
    def bytes(self) -> float | None:
        """On disk at once, at most; ``None`` where a part is not known."""
        disks = [(group.trials, group.disk) for group in self.groups if group.disk is not None]
        if len(disks) < len(self.groups) or not disks:
            return None
        stay = self.keep if self.resumable else 0
        results = sum(count * (each.result + stay * each.checkpoint) for count, each in disks)
        # while one is written, those that are kept are still there
        running = sorted((each.checkpoint for count, each in disks for _ in range(min(count, self.at_once))), reverse=True)
        return results + (self.keep + 1 - stay) * sum(running[: self.at_once])


@dataclass(frozen=True)
class _Ended:
    """A trial that has ended in one attempt."""

    budget: Mapping[str, Any]
    data: str
    pairs: float
    seconds: float


def costs(plan: Plan, workspace: Workspace | None, at_once: int) -> Costs | None:
    """The costs of what a launch would train; ``None`` where that is nothing, or a search that has not begun to ask.

    Args:
        plan: of the launch.
        workspace: whose trials have a pace; ``None`` where there is none yet.
        at_once: trials that run at once, at least 1.
    """
    run = [planned for planned, action in plan.trials if will_run(planned, action) and planned.config["task"] != "external"]
    if not run:
        return None
    ended = _ended(plan, workspace)
    lengths: dict[str, tuple[float, float, float] | None] = {}
    groups: dict[Any, list[Cost]] = defaultdict(list)
    known: dict[str, Cost] = {}
    for planned in run:
        key = json.dumps([_alike(planned.config, planned.shape), planned.config["data"], _budget(planned.config)], sort_keys=True)
        if key not in known:
            known[key] = _cost(planned, ended, lengths)
        one = known[key]
        groups[(one.backbone, one.shape, one.basis, one.disk)].append(one)
    execution = run[0].config["execution"]
    found = [_joined(alike) for alike in groups.values()]
    return Costs(found, max(1, at_once), execution["checkpoint_keep"], execution["checkpoint_after"] == "resume")


def at_once(plan: Plan, jobs: Sequence[Jobs], workers: int | None) -> int:
    """Trials that a launch would run at once: in the jobs of a cluster, else as many as this machine holds.

    Args:
        plan: of the launch.
        jobs: that it would ask a cluster for; empty for this machine.
        workers: at most so many, where the user says so.
    """
    if jobs:
        return sum(min(job.trials, min(job.workers, workers or job.workers) * job.slots) for job in jobs)
    return workers or max((default_workers(shape) for shape in plan.shapes), default=1)


def _joined(found: Sequence[Cost]) -> Cost:
    first = found[0]
    seconds = [one.seconds for one in found if one.seconds is not None]
    based = max(one.based_on for one in found)
    return Cost(first.backbone, first.shape, len(found), fmean(seconds) if seconds else None, first.basis, first.disk, based)


def _cost(planned: PlannedTrial, ended: Mapping[str, Sequence[_Ended]], lengths: dict[str, tuple[float, float, float] | None]) -> Cost:
    config = TrialConfig.model_validate(dict(planned.config))
    name, shape = config.backbone.name, planned.shape
    written = disk(config, shape) if config.rehearsal is None and config.task == "reward_model" else None
    own = canonical(config)
    measured = _measured(own, ended.get(_alike(own, shape), ()))
    if measured:
        return Cost(name, shape, 1, median(measured), "measured", written, len(measured))
    seconds = _estimated(config, shape, lengths) if config.rehearsal is None and config.task == "reward_model" else None
    return Cost(name, shape, 1, seconds, "estimated" if seconds is not None else None, written)


def _measured(config: Mapping[str, Any], alike: Sequence[_Ended]) -> list[float]:
    """Seconds by trials of the same data where there are any; another budget in pairs or steps is taken in proportion."""
    data, budget = json.dumps(config["data"], sort_keys=True), _budget(config)
    same = [one for one in alike if one.data == data and one.budget == budget]
    if same:
        return [one.seconds for one in same]
    pairs = _pairs(config)
    near = [one for one in alike if one.data == data] or alike
    return [one.seconds * pairs / one.pairs for one in near if one.pairs] if pairs is not None else []


def _budget(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config["train"].get(name) for name in (*BUDGETS, "batch")}


def _pairs(config: Mapping[str, Any]) -> int | None:
    """Pairs that a trial trains on, where its configuration alone says it."""
    train = config["train"]
    pairs: int | None = train.get("pairs") if train.get("steps") is None else train["steps"] * train["batch"]
    return pairs


def _alike(config: Mapping[str, Any], shape: Shape) -> str:
    """What decides the pace of a trial, beside its data and how long it trains."""
    train = {name: value for name, value in config["train"].items() if name not in BUDGETS}
    place = {**asdict(shape), "time": None}
    parts = [config["task"], config["paradigm"], config["backbone"], train, config.get("rehearsal"), place]
    return json.dumps(parts, sort_keys=True)


def _ended(plan: Plan, workspace: Workspace | None) -> dict[str, list[_Ended]]:
    """Trials of the workspace that ended in one attempt, by what decides their pace."""
    found: dict[str, list[_Ended]] = defaultdict(list)
    if workspace is None:
        return found
    shapes: dict[str, Shape | None] = {}
    for trial in islice(_candidates(plan, workspace), LOOKED_AT):
        try:
            record, config = read_json(trial.result / "metrics.json"), dict(read_json(trial.config))
            job = str(trial.attempts()[-1].owner().get("job"))
            if job not in shapes:
                orders = workspace.jobs / job / "job.json"
                shapes[job] = Shape(**read_json(orders)["shape"]) if orders.exists() else None
            shape, pairs = shapes[job], record["metrics"].get("train/pairs")
        except (OSError, SweepError, LookupError, TypeError):  # a damaged trial has no pace; its own page says what it is
            continue
        if shape is not None and record["attempt"] == 1:
            one = _Ended(_budget(config), json.dumps(config["data"], sort_keys=True), float(pairs or 0), float(record["seconds"]))
            found[_alike(config, shape)].append(one)
    return found


def _candidates(plan: Plan, workspace: Workspace) -> Iterator[Trial]:
    own = [planned.id for planned, action in plan.trials if action in ("reused", "stale")]
    seen = set(own)
    yield from (workspace.trial(id) for id in own)
    yield from (trial for trial in workspace.trials() if trial.id not in seen and (trial.result / MANIFEST).exists())


def _estimated(config: TrialConfig, shape: Shape, lengths: dict[str, tuple[float, float, float] | None]) -> float | None:
    """Seconds of training by arithmetic; ``None`` without GPUs, for a backbone of unknown size, or where the data are not here."""
    key = json.dumps([config.data.model_dump(mode="json"), config.backbone.model_dump(mode="json"), config.paradigm.HEAD], sort_keys=True)
    if key not in lengths:
        lengths[key] = _lengths(config)
    length = lengths[key]
    if length is None:
        return None
    rows, tokens, images = length
    pairs = _pairs(config.model_dump(mode="json"))
    if config.train.tokens is not None:
        pairs_read = config.train.tokens / max(1.0, tokens)
    else:
        pairs_read = float(pairs) if pairs is not None else float(config.train.epochs or 0) * max(0.0, rows - config.data.held_out)
    total = gpu_seconds(config, shape, pairs_read * tokens, pairs_read * images)
    return None if total is None else total / shape.gpus


def _lengths(config: TrialConfig) -> tuple[float, float, float] | None:
    """(pairs of an epoch, tokens of a pair, those of its images), by the first rows of each source; ``None`` where one is not here."""
    from core.data.sources import open_sources

    try:
        sources = [(source, list(islice(source, SAMPLED))) for source in open_sources(config)]
        sizes = [min(source.count * source.config.weight, source.config.cap or float("inf")) for source, _ in sources]
    except (EnvironmentFault, IntegrityError):
        return None
    rows = sum(sizes)
    if not rows or not all(examples for _, examples in sources):
        return None
    most = config.backbone.max_pixels or LARGEST_IMAGE
    tokens = images = 0.0
    for size, (_, examples) in zip(sizes, sources, strict=True):
        for example in examples:
            seen = sum(_image_tokens(media, most, config.backbone.frames) for media in example.media)
            asked = len(example.prompt) / CHARACTERS + seen
            answers = [len(example.responses[index].text) / CHARACTERS for index in (example.best(), example.worst())]
            times = 2 if config.paradigm.HEAD else 1  # a judge reads both responses behind one prompt
            share = size / rows / len(examples)
            tokens += share * min(times * asked + sum(answers), times * config.train.max_length)
            images += share * times * seen
    return rows, tokens, images


def _image_tokens(media: Any, most: int, frames: int) -> float:
    from PIL import Image, UnidentifiedImageError

    if media.kind == "video":
        return frames * FRAME_TOKENS
    if media.path is None or media.member is not None:
        return most / PIXELS if most < LARGEST_IMAGE else float(FRAME_TOKENS)
    try:
        with Image.open(media.path) as image:
            return min(image.width * image.height, most) / PIXELS
    except (OSError, UnidentifiedImageError):
        return 0.0


def as_json(found: Costs | None) -> dict[str, Any] | None:
    """The documented shape of ``cost`` in ``sweep plan --json``."""
    if found is None:
        return None
    return {
        "at_once": found.at_once,
        "gpu_hours": _rounded(found.gpu_hours),
        "seconds": _rounded(found.seconds),
        "disk_gib": _rounded(None if found.bytes is None else found.bytes / GIB),
        "groups": [
            {
                "backbone": group.backbone,
                "shape": group.shape.key,
                "trials": group.trials,
                "seconds": _rounded(group.seconds),
                "gpu_hours": _rounded(group.gpu_hours),
                "basis": group.basis,
                "based_on": group.based_on,
                "checkpoint_gib": _rounded(None if group.disk is None else group.disk.checkpoint / GIB),
                "result_gib": _rounded(None if group.disk is None else group.disk.result / GIB),
            }
            for group in found.groups
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def lines(found: Costs | None) -> list[str]:
    """What `sweep plan` says of the costs."""
    if found is None:
        return []
    out = []
    for group in found.groups:
        about = f"{group.trials} x {group.backbone} on {group.shape.key}"
        if group.seconds is None:
            out.append(f"time, {about}: not known before such a trial has run here (launch one cell first: its pace is then measured)")
            continue
        basis = f"as {group.based_on} such trial{'s' if group.based_on > 1 else ''} took here"
        if group.basis == "estimated":
            basis = f"a rough estimate, by the first rows of its data and {UTILISATION:.0%} of the GPUs' peak"
        hours = f", {group.gpu_hours:,.1f} GPU-hours together" if group.shape.gpus else ""
        out.append(f"time, {about}: {duration(group.seconds)} of training each{hours} ({basis})")
    if found.seconds is not None:
        hours = f"{found.gpu_hours:,.1f} GPU-hours, " if found.gpu_hours else ""
        out.append(f"in all: {hours}trained in about {duration(found.seconds)} with {found.at_once} at once")
    if found.bytes is not None:
        out.append(f"disk: at most {found.bytes / GIB:,.0f} GiB at once, checkpoints of what runs and all results")
    return out
