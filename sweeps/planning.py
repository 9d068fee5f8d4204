"""From a definition to what a launch would do: each planned trial with the action that it needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import registry
from core.control.canary import wanted
from core.definition import SweepDefinition, expand, find, load, read_ensembles, searched
from core.definition.plan import PlannedTrial, Shape
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, SweepError, UsageError
from core.training.memory import Memory, estimate
from core.workspace.layout import Workspace
from core.workspace.registration import sweep_id
from slurm.local import gpus_here
from slurm.profile import Cluster
from sweeps import wiring
from sweeps.existing import Existing, TrialAction
from sweeps.wiring import search_path

if TYPE_CHECKING:
    from core.evaluation.benchmarks import LoadedBenchmark


@dataclass(frozen=True)
class SearchPlan:
    """What a search would do.

    Attributes:
        points: the cells of the grid at which is searched; ``base`` without a grid.
        asked: cells that this search has suggested already.
        probes: trials that show every value of the space, for checks.
        replicas: further seeds of the best that it would train.
        warm: finished trials of earlier sweeps that the sampler would be told.
    """

    points: Sequence[str]
    asked: int
    probes: Sequence[PlannedTrial]
    replicas: int
    warm: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What a launch would do."""

    definition: SweepDefinition
    counts: dict[str, int]
    trials: Sequence[tuple[PlannedTrial, TrialAction]]
    shapes: Mapping[Shape, int]
    missing: Sequence[EnvironmentFault] = field(default_factory=tuple)
    search: SearchPlan | None = None
    workspace: Workspace | None = None
    gained: frozenset[str] = frozenset()
    """Trials that a rule has added since an earlier launch."""


def canaries(plan: Plan) -> list[PlannedTrial]:
    """The trials that a launch of this plan lets go first."""
    return wanted([planned for planned, action in plan.trials if action == "new"])


def read(name: str, overrides: Sequence[str], rehearse: bool, real_data: int | None = None) -> SweepDefinition:
    """Find and load a definition; ``real_data`` is the number of real rows that a rehearsal takes of each set.

    Raises:
        UsageError: real rows without a rehearsal.
    """
    if real_data is not None:
        if not rehearse:
            raise UsageError("--real-data is for a rehearsal: a launch trains on all rows anyway", next="add --rehearse")
        overrides = [*overrides, f"rehearsal.real_data={real_data}"]
    return load(find(name, search_path()), overrides, search=search_path(), rehearsal=rehearse)


def workspace_if_any(root: Path) -> Workspace | None:
    """The workspace, or ``None`` where there is none yet: a plan makes no folders."""
    return Workspace.open(root) if (root / "FORMAT").exists() else None


def where(definition: SweepDefinition, root: Path, cluster: str | None) -> Cluster:
    """Where a launch would run: the cluster of this name, else where the sweep ran last, else this machine."""
    sweep = Workspace(root.expanduser().absolute()).sweep(sweep_id(definition.name, definition.rehearsal is not None))
    return wiring.cluster(cluster, sweep)


def count(definition: SweepDefinition, workspace: Workspace | None) -> dict[str, int]:
    """Only the counts, streaming: flat memory whatever the size of the grid."""
    if definition.search is not None:
        return _make_search(definition, workspace, elsewhere=True).counts
    expansion = expand(definition)
    existing = Existing(workspace, definition.code)
    actions = Counter[str](existing.with_needs(planned, existing.action(planned)) for planned in expansion.trials())
    return _counts(expansion.counts, actions)


def _counts(clauses: Mapping[str, int], actions: Mapping[str, int]) -> dict[str, int]:
    return {
        "cells": clauses["cells"],
        "trials": clauses["trials"],
        "new": actions.get("new", 0),
        "reused": actions.get("reused", 0),
        "stale": actions.get("stale", 0),
        "blocked": actions.get("blocked", 0),
        "excluded": clauses["excluded"],
        "merged": clauses["merged"],
    }


def make(definition: SweepDefinition, workspace: Workspace | None, *, elsewhere: bool = False) -> Plan:
    """The plan of a definition against a workspace; what is missing is listed, not raised.

    ``elsewhere``: the trials run on a cluster, so this machine's GPUs do not matter.

    Raises:
        DefinitionError: a member of an ensemble is in a sweep that is nowhere.
    """
    if definition.ensembles:
        from sweeps.ensembles import require_sweeps

        require_sweeps(definition, workspace)
    if definition.search is not None:
        return _make_search(definition, workspace, elsewhere=elsewhere)
    expansion = expand(definition)
    existing = Existing(workspace, definition.code)
    planned = [*expansion.stages(), *expansion.trials()]
    gained = _further(definition, workspace, planned)
    found = [(planned, existing.action(planned)) for planned in (*planned, *gained)]
    trials = [(planned, existing.with_needs(planned, action)) for planned, action in found]
    actions = Counter[str](action for planned, action in trials if planned.stage is None)
    shapes = Counter(planned.shape for planned, _ in trials)
    counts = {**expansion.counts, "trials": expansion.counts["trials"] + len(gained)}
    lacking = tuple(missing(definition, trials, elsewhere=elsewhere))
    known = frozenset(trial.id for trial in gained)
    return Plan(definition, _counts(counts, actions), trials, shapes, lacking, workspace=workspace, gained=known)


def _further(definition: SweepDefinition, workspace: Workspace | None, planned: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The seeds that the definition's rule has added in this workspace."""
    from sweeps import rules, searching

    if definition.further is None:
        return []
    rules.check(definition, searching.reported_metrics(planned))
    known = {trial.id for trial in planned}
    added = {trial.id: trial for record in searching.gained(definition, workspace) for trial in record.trials if trial.id not in known}
    # a record remembers each benchmark with its revision; a plan names the benchmark
    return [replace(trial, evaluate=tuple(entry["benchmark"] for entry in trial.evaluate)) for trial in added.values()]


def _make_search(definition: SweepDefinition, workspace: Workspace | None, *, elsewhere: bool) -> Plan:
    """The plan of a search: what it has suggested so far, and how much more it may."""
    from sweeps import searching
    from sweeps.warm_start import warm_start

    search = definition.search
    assert search is not None
    names = [point.name for point in searched.points(definition)]
    probes = list(searched.probes(definition))
    searching.check_objectives(definition, probes)
    gained = searching.gained(definition, workspace)
    existing = Existing(workspace, definition.code)
    trials = [(planned, existing.action(planned)) for record in gained for planned in record.trials]
    asked = sum(1 for record in gained if record.kind == "suggestion")
    to_come = max(0, search.n_cells * len(names) - asked)
    replicas = min(search.replicate, search.n_cells) * (len(definition.seeds) - 1) * len(names)
    replicated = sum(1 for record in gained if record.kind == "replicate")
    actions = Counter[str](action for _, action in trials)
    more = to_come + max(0, replicas - replicated)
    actions["new"] += more
    counts = {"cells": asked + to_come, "trials": len(trials) + more, "excluded": 0, "merged": 0}
    shapes = Counter(planned.shape for planned in probes[:1] for _ in range(len(trials) + more))
    lacking = missing(definition, [*trials, *((probe, "new") for probe in probes)], elsewhere=elsewhere)
    warm = warm_start(definition, workspace)
    searched_for = SearchPlan(names, asked, probes, replicas, warm)
    return Plan(definition, _counts(counts, actions), trials, shapes, tuple(lacking), searched_for, workspace)


def missing(
    definition: SweepDefinition, trials: Sequence[tuple[PlannedTrial, TrialAction]], *, elsewhere: bool = False
) -> Iterator[EnvironmentFault]:
    """What a real launch would lack: GPUs (unless it runs ``elsewhere``), weights, data, benchmark files (each named once)."""
    rehearsal = definition.rehearsal
    if rehearsal is not None and rehearsal.real_data is None:
        return
    from core.data import check_data
    from core.evaluation.benchmarks import load as load_benchmark
    from core.models.locate import available

    seen: set[str] = set()
    for shape in {planned.shape for planned, action in trials if will_run(planned, action) and rehearsal is None}:
        if not elsewhere and shape.gpus > gpus_here():
            yield EnvironmentFault(
                f"this machine has {gpus_here()} GPUs, a trial asks for {shape.gpus}",
                next="add --rehearse for a dress rehearsal on this machine, --cluster NAME for a cluster, or set resources.gpus",
            )
    for planned, action in trials:
        backbone = planned.config["backbone"]
        kind_of: Any = registry.get("backbone", backbone["name"]).config
        parts = [("backbone", backbone), (f"data for {kind_of.READS}", planned.config["data"])] if will_run(planned, action) else []
        if _elsewhere(planned):
            parts = parts[1:]
        if planned.config["task"] == "external":
            parts = parts[:1]
        parts += [("benchmark", entry) for entry in readable(planned)]
        for kind, part in parts:
            key = kind + json.dumps(part, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            try:
                if kind == "benchmark":
                    _check_media(load_benchmark(part, rehearsal))
                else:
                    config = TrialConfig.model_validate(dict(planned.config))
                    available(config) if kind == "backbone" else check_data(config)
            except EnvironmentFault as fault:
                yield fault


def readable(planned: PlannedTrial) -> list[Mapping[str, Any]]:
    """The benchmarks that the trial's backbone can read; the others are n/a, which is no failure."""
    from core.evaluation.benchmarks import unreadable

    return [entry for entry in planned.evaluate if unreadable(planned.config["backbone"]["name"], entry["name"]) is None]


def not_applicable(trials: Iterable[PlannedTrial]) -> list[str]:
    """A sentence for each backbone that cannot read a benchmark of its trials."""
    from core.evaluation.benchmarks import unreadable

    asked = {(planned.config["backbone"]["name"], entry["name"]) for planned in trials for entry in planned.evaluate}
    why = {pair: reason for pair in sorted(asked) if (reason := unreadable(*pair)) is not None}
    return [f"{benchmark} is n/a for some cells: {reason}" for (_, benchmark), reason in why.items()]


def untrained(trials: Iterable[PlannedTrial]) -> list[str]:
    """A sentence on the public models among the trials: they cost no training."""
    names = dict.fromkeys(planned.config["backbone"]["name"] for planned in trials if planned.config["task"] == "external")
    return [f"scored as they are, without a step of training: {', '.join(names)}"] if names else []


def _elsewhere(planned: PlannedTrial) -> bool:
    """Whether the trial's texts come from an endpoint, so that no weights are needed here."""
    return planned.config["task"] == "annotate" and (planned.config.get("annotate") or {}).get("model") is not None


def will_run(planned: PlannedTrial, action: TrialAction) -> bool:
    """Whether a launch runs the trial, at once or when what it needs has a result."""
    return action == "new" or (action == "blocked" and planned.waits is None)


def real_rows(definition: SweepDefinition, trials: Iterable[PlannedTrial]) -> list[str]:
    """For a rehearsal with real rows: which sources and benchmarks give some, and which are generated because they are not here."""
    from core.data.sources import FirstRows, open_sources
    from core.evaluation.benchmarks import load as load_benchmark

    rehearsal = definition.rehearsal
    if rehearsal is None or rehearsal.real_data is None:
        return []
    real: dict[str, int] = {}
    generated: dict[str, None] = {}
    for planned in trials:
        config = TrialConfig.model_validate(dict(planned.config))
        found = [(source.name, source.count if isinstance(source, FirstRows) else 0) for source in open_sources(config)]
        for entry in readable(planned):
            loaded = load_benchmark(entry, rehearsal)
            found.append((loaded.name, len(loaded.examples) if loaded.revision.startswith("rehearsal-real-") else 0))
        for name, count in found:
            if count:
                real[name] = count
            else:
                generated[name] = None
    lines = [f"real rows of {', '.join(f'{name} ({count})' for name, count in real.items())}"] if real else []
    return lines + ([f"generated, for they are not on this machine: {', '.join(generated)}"] if generated else [])


def _check_media(benchmark: LoadedBenchmark) -> None:
    """A benchmark of which no medium is here would fail after hours of training; some missing ones make it partial."""
    from core.data.media import media_missing

    if benchmark.examples and all(media_missing(example) for example in benchmark.examples):
        raise EnvironmentFault(
            f"the media of the benchmark {benchmark.name} are not on this machine",
            found=", ".join(str(media.path) for media in benchmark.examples[0].media),
            next="name their folder as `media` of the benchmark in `evaluate`, or add --rehearse",
        )


def with_revisions(definition: SweepDefinition, trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The trials with each benchmark that they can read and its revision: what a scoring's key is made of.

    Raises:
        EnvironmentFault: a benchmark's file is not here.
        DefinitionError: a benchmark's file has a wrong row.
    """
    from core.evaluation.benchmarks import load as load_benchmark

    known: dict[str, dict[str, Any]] = {}

    def entry(benchmark: Mapping[str, Any]) -> dict[str, Any]:
        key = json.dumps(benchmark, sort_keys=True)
        if key not in known:
            known[key] = {"benchmark": dict(benchmark), "revision": load_benchmark(benchmark, definition.rehearsal).revision}
        return known[key]

    return [replace(planned, evaluate=tuple(entry(benchmark) for benchmark in readable(planned))) for planned in trials]


def require(plan: Plan) -> None:
    """Refuse a launch that would fail on a compute node for what can be seen here.

    Raises:
        EnvironmentFault: weights, data or a benchmark are missing; it names all of them and ``--rehearse``.
    """
    if not plan.missing:
        return
    first = plan.missing[0]
    if len(plan.missing) == 1:
        raise first
    raise EnvironmentFault(
        f"{len(plan.missing)} things that this launch needs are not here",
        found=[one_line(fault) for fault in plan.missing],
        next="sweep fetch DEFINITION brings what the hub has; or add --rehearse: the same grid with tiny models and generated data",
    )


def one_line(error: SweepError) -> str:
    """What is missing, in one line."""
    return error.message + (f": {error.found}" if error.found else "")


def as_json(plan: Plan, name: str) -> dict[str, Any]:
    """The documented shape of ``sweep plan --json``."""
    from sweeps import rules, search_words

    trials = [planned for planned, _ in plan.trials]
    rule = rules.rule_of(plan.definition)
    return {
        "schema": 1,
        "sweep": name,
        "rehearsal": plan.definition.rehearsal is not None,
        "counts": plan.counts,
        "shapes": [{"shape": shape.key, **asdict(shape), "trials": n} for shape, n in plan.shapes.items()],
        "memory": [
            {
                "backbone": group.backbone,
                "shape": group.shape.key,
                "trials": group.trials,
                "ranks": group.memory.ranks,
                "layout": group.memory.layout.name,
                "states_gib": round(group.memory.states, 3),
                "buffers_gib": round(group.memory.buffers, 3),
                "host_gib": round(group.memory.host, 3),
                "activations_gib_per_1k_tokens": round(group.memory.activations, 3),
                "gpu_gib": group.memory.gpu,
                "room_tokens": group.memory.room,
            }
            for group in memory(plan)
        ],
        "search": None if plan.search is None else search_words.plan_json(plan.definition, plan.search),
        "seeds": None if rule is None else rules.plan_json(rule, plan.counts["cells"], len(plan.gained)),
        "ensembles": ensembles(plan),
        "trials": [_shown(planned, action) for planned, action in plan.trials if planned.stage is None],
        "stages": [_shown(planned, action) | {"cost": cost(planned)} for planned, action in plan.trials if planned.stage is not None],
        "notices": [*plan.definition.notices, *untrained(trials), *not_applicable(trials)],
        "warnings": list(plan.definition.warnings),
        "canaries": [planned.id for planned in canaries(plan)],
        "missing": [one_line(fault) for fault in plan.missing],
    }


def ensembles(plan: Plan) -> list[dict[str, Any]]:
    """The ensembles of a plan with their members, as JSON: what a launch would train of them, and what it waits for."""
    if not plan.definition.ensembles:
        return []
    from sweeps.ensembles import Plans, as_json

    actions = {planned.id: action for planned, action in plan.trials}
    plans = Plans([planned for planned, _ in plan.trials], plan.workspace, plan.definition.rehearsal is not None)
    return as_json(read_ensembles(plan.definition), plans, lambda planned: actions[planned.id])


def cost(planned: PlannedTrial) -> dict[str, Any] | None:
    """What a task `annotate` asks for: ``texts``, the most ``tokens`` of all of them and their tries, and ``by`` whom.

    ``None`` for another task, or where the data are not here to be counted.
    """
    from core.data.sources import open_sources
    from core.definition.trial import AnnotateConfig

    config = TrialConfig.model_validate(dict(planned.config)).effective()
    if config.task != "annotate":
        return None
    settings = config.annotate or AnnotateConfig()
    try:
        pairs = sum(source.count for source in open_sources(config))
    except EnvironmentFault:
        return None
    texts = pairs * (2 if config.paradigm.ANNOTATES == "critiques" else 1)
    most = texts * settings.tries * int(getattr(config.paradigm, "max_new_tokens", 0))
    writer = settings.model if settings.model is not None and config.rehearsal is None else config.backbone.name
    return {"texts": texts, "tries": settings.tries, "tokens": most, "by": writer}


def _shown(planned: PlannedTrial, action: TrialAction) -> dict[str, Any]:
    about = {"id": planned.id, "cell": dict(planned.cell), "seed": planned.seed, "action": action}
    return about | {"needs": list(planned.needs.values()), "waits": planned.waits}


@dataclass(frozen=True)
class MemoryGroup:
    """Trials that need the same memory: of one backbone, one shape and one layout."""

    backbone: str
    shape: Shape
    memory: Memory
    trials: int


def memory(plan: Plan) -> list[MemoryGroup]:
    """Memory of one GPU by backbone, shape and layout; trials of a backbone of unknown size are left out.

    A rehearsal's models are tiny: it has none.
    """
    if plan.definition.rehearsal is not None:
        return []
    known: dict[str, Memory | None] = {}
    found: Counter[tuple[str, Shape, Memory]] = Counter()
    for planned, _ in plan.trials:
        parts = [planned.config["backbone"], planned.config["train"], planned.config["execution"], planned.shape.key]
        key = json.dumps(parts, sort_keys=True)
        if key not in known:
            known[key] = estimate(TrialConfig.model_validate(dict(planned.config)), planned.shape)
        need = known[key]
        if need is not None:
            found[(planned.config["backbone"]["name"], planned.shape, need)] += 1
    return [MemoryGroup(backbone, shape, need, count) for (backbone, shape, need), count in found.items()]
