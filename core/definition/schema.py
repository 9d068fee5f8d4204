"""The keys of a sweep definition beside ``trial`` (schema 1), each with its type, unit and meaning.

``trial`` has its own schema (:mod:`core.definition.trial`); ``grid``, ``cases`` and ``exclude`` are read by
:mod:`core.definition.axes`, because what they may hold depends on the paths that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

from core import registry
from core.definition.ensembling import EnsembleConfig
from core.definition.failures import FailuresConfig
from core.definition.fields import Section, execution, identity, setting
from core.definition.plan import Shape
from core.definition.scalars import DURATIONS, parse_cadence, parse_duration, parse_memory
from core.definition.searching import ObjectiveConfig, SearchConfig
from core.definition.trial import PAPER, named

VERSION = 1
"""Version of the language."""

HANDED_DOWN = ("trial", "validation", "evaluate", "objective", "resources", "checkpoint", "code")
"""What a base gives to the definitions built on it. Nothing else."""

VARIABLE = ("validation", "evaluate", "objective", "checkpoint", "resources")
"""Top-level keys that an axis, a case and the command line reach by name, and that ``${...}`` sees."""


def _checked(parse: Any, *keep: str) -> AfterValidator:
    """Keep the text as written after ``parse`` has accepted it (or where it is one of ``keep``)."""

    def check(text: str) -> str:
        if text not in keep:
            parse(text)
        return text

    return AfterValidator(check)


def _memory(value: Any) -> Any:
    return parse_memory(value) if isinstance(value, str) else value


class ValidationConfig(Section):
    """Pairs held out of the training sets, the same for every cell."""

    items: int = identity(
        1000, ge=0, unit="pairs", doc="pairs held out by hash; sets `data.held_out`", source=PAPER + ", section 4.7: 1,000 items"
    )
    every: float = execution(
        0.1,
        gt=0,
        le=1,
        unit="fraction of training",
        doc="time between validations; identity only where it decides the result (early stop, `checkpoint.select: best`)",
    )


class CheckpointConfig(Section):
    """How often a trial saves, and what is left of it."""

    every: Annotated[str, _checked(parse_cadence)] = execution(
        "20min", unit="duration or steps", doc=f"time between checkpoints: {DURATIONS}; or optimiser steps: 50steps"
    )
    keep: int = execution(1, ge=1, unit="checkpoints", doc="checkpoints kept while training")
    after: Literal["weights", "resume"] = execution("weights", doc="what stays at the end: the weights, or the resume state too")
    select: Literal["last", "best"] = identity("last", doc="which weights are kept: the last, or the best on the validation pairs")


class ShapeConfig(Section):
    """Resources, each null where nothing is said."""

    nodes: int | None = execution(None, ge=1, unit="nodes", doc="nodes of one trial; null: 1")
    gpus: int | None = execution(None, ge=0, unit="GPUs", doc="GPUs of one trial, all nodes together; null: 1")
    gpu_type: str | None = execution(None, doc="type of GPU, as the cluster names it; null: any")
    cpus: int | None = execution(None, ge=1, unit="cores", doc="CPU cores of one trial; null: the cluster profile's")
    memory: Annotated[float | None, BeforeValidator(_memory)] = execution(
        None, gt=0, unit="GiB", doc="memory of one trial (64, 64G, 900M, 1T); null: the cluster profile's"
    )
    time: Annotated[str, _checked(parse_duration, "auto")] = execution(
        "auto", unit="duration", doc=f"wall-clock time: auto, or {DURATIONS}"
    )


class ResourceRuleConfig(ShapeConfig):
    """Other resources for the cells that match; of several rules the later wins."""

    match: dict[str, Any] = execution(doc="paths and the canonical values that a cell must have; a list means any of them")


class ResourcesConfig(ShapeConfig):
    """Resources of one trial. In a rehearsal no GPU is asked for."""

    when: tuple[ResourceRuleConfig, ...] = execution((), doc="other resources for the cells that match; the later rule wins")
    score: ShapeConfig = execution(
        default_factory=ShapeConfig, doc="resources of a scoring; what is not said: 1 node, 1 GPU (0 where the trial has none)"
    )


class SampleConfig(Section):
    """A part of the cells: those of smallest hash, so that a larger count keeps the earlier choice."""

    count: int = setting(ge=1, unit="cells", doc="how many cells are kept")
    seed: int = setting(0, ge=0, doc="another seed makes another choice")


class ReportedRowConfig(Section):
    """One row of a paper's table: the numbers printed for a cell or an ensemble of this study, or for an outside model."""

    cell: dict[str, Any] | None = setting(None, doc="paths and canonical values that name exactly one cell")
    ensemble: str | None = setting(None, doc="NAME/RULE of `ensembles`; the rule may be left out where there is one")
    model: str | None = setting(None, doc="an outside model, shown as a row of its own")
    values: tuple[float | None, ...] = setting(doc="one value per metric, null where none was printed")
    note: str | None = setting(None, doc="shown beside the row")
    comparable: bool = setting(True, doc="false: shown, but no difference is computed")

    @model_validator(mode="after")
    def _one_subject(self) -> ReportedRowConfig:
        if sum(subject is not None for subject in (self.cell, self.ensemble, self.model)) != 1:
            raise ValueError("a row names either a `cell`, an `ensemble` or a `model`")
        return self


class ReportedConfig(Section):
    """Numbers that one source printed."""

    source: str = setting(doc="where they were printed")
    note: str | None = setting(None, doc="shown beside every row")
    metrics: tuple[str, ...] = setting(min_length=1, doc="the metrics of the values, in order")
    rows: tuple[ReportedRowConfig, ...] = setting(doc="the rows")


class ClaimConfig(Section):
    """One thing that the study is meant to show, of one of four kinds: `better`, `best`, `no_effect`, `monotone`."""

    say: str | None = setting(None, doc="the claim in words; null: its parts as written")
    better: dict[str, Any] | None = setting(None, doc="paths and canonical values of the cells that are better (a list means any)")
    than: dict[str, Any] | None = setting(None, doc="of the cells that they are better than; with `better`")
    best: dict[str, Any] | None = setting(None, doc="of the one cell that is better than every other")
    no_effect: str | None = setting(None, doc="the path that makes no difference of more than `within`")
    monotone: str | None = setting(None, doc="the path from each of whose values to the next the metric changes one way")
    by: Literal["value", "parameters", "order"] = setting(
        "value", doc="order of the values of `monotone`: their value, the size in a backbone's name, or as the definition lists them"
    )
    way: Literal["rises", "falls"] = setting("rises", doc="whether quality rises or falls along `monotone`")
    within: float | None = setting(
        None,
        gt=0,
        unit="the metric's",
        doc="differences that do not matter: of `no_effect` required, of `monotone` a step that may go astray",
    )
    where: dict[str, Any] | None = setting(None, doc="only cells that match: paths and canonical values")
    on: str = setting(doc="the metric: validation/METRIC, or BENCHMARK/METRIC of a benchmark in `evaluate`")

    @property
    def kind(self) -> Literal["better", "best", "no_effect", "monotone"]:
        """Which of the four it is."""
        if self.better is not None:
            return "better"
        return "best" if self.best is not None else "no_effect" if self.no_effect is not None else "monotone"

    @model_validator(mode="after")
    def _one_kind(self) -> ClaimConfig:
        given = [name for name in ("better", "best", "no_effect", "monotone") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a claim has one of `better`, `best`, `no_effect`, `monotone`")
        if (self.than is not None) != (given == ["better"]):
            raise ValueError("`better` goes with `than`" if given == ["better"] else "`than` goes with `better`")
        if given == ["no_effect"] and self.within is None:
            raise ValueError("`no_effect` says `within` which difference")
        if self.within is not None and given[0] not in ("no_effect", "monotone"):
            raise ValueError("`within` goes with `no_effect` or `monotone`")
        if any(getattr(self, name) == {} for name in ("better", "than", "best")):
            raise ValueError("a mapping without a path names every cell")
        return self


class NeedConfig(Section):
    """What trials need before they can run: a trial of another sweep, a model, or a stage of this sweep."""

    sweep: str | None = setting(None, doc="another definition, by name or path, one of whose trials is needed")
    where: dict[str, Any] = setting({}, doc="paths and canonical values that name exactly one of its cells")
    seed: Literal["same"] | int = setting("same", doc="`same`: the seed of the trial that needs it; or one seed for all")
    model: str | None = setting(None, doc="a folder, or ORGANISATION/NAME on the hub")
    trial: dict[str, Any] | None = setting(
        None, doc="a stage: a trial over this definition's `trial.backbone` and `trial.data`, with these keys; no cell of the sweep"
    )
    resources: dict[str, Any] | None = setting(None, doc="what the stage asks of the cluster; null: the definition's own")

    @model_validator(mode="after")
    def _one_kind(self) -> NeedConfig:
        if sum(value is not None for value in (self.sweep, self.model, self.trial)) != 1:
            raise ValueError("a need has exactly one of `sweep`, `model` and `trial`")
        if self.where and self.sweep is None:
            raise ValueError("`where` names a cell of another sweep: it goes with `sweep`")
        if self.resources is not None and self.trial is None:
            raise ValueError("`resources` are those of a stage: they go with `trial`")
        return self


GATES = ("length_bias", "ece")
"""What a gate may be on besides a metric; see :mod:`core.analysis.sanity`."""


class GateConfig(Section):
    """Bounds beyond which a cell is marked "do not promote"."""

    max: float | None = setting(None, unit="the value's", doc="the most that it may be")
    min: float | None = setting(None, unit="the value's", doc="the least that it may be")

    @model_validator(mode="after")
    def _a_bound(self) -> GateConfig:
        if self.max is None and self.min is None:
            raise ValueError("a gate has a `max`, a `min` or both")
        return self


def _seeds(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return value
    count = TypeAdapter(Annotated[int, Field(ge=1)]).validate_python(value)
    return list(range(count))


def _distinct(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value:
        raise ValueError("at least one seed")
    if len(set(value)) != len(value):
        raise ValueError("a seed stands twice")
    return value


Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], BeforeValidator(_seeds), AfterValidator(_distinct)]

SEQUENTIAL = "Pocock, Biometrika 64 (1977); Jennison and Turnbull, JRSS B 51 (1989)"

MOST_SEEDS = 50
"""Seeds of a cell that may be added one after the other: beyond them nobody waits, and the level of a look is tiny."""


class UntilConfig(Section):
    """The question that further seeds are to answer: one of `halfwidth` and `decided`."""

    halfwidth: float | None = setting(
        None, gt=0, unit="the metric's", doc="a cell gets seeds until half of its 95 % interval over seeds is at most this"
    )
    decided: Literal["best"] | None = setting(
        None, doc="best: the best cell, and those that are not told apart from it, get seeds until it is better than every other"
    )
    metric: str | None = setting(None, doc="the metric that is meant; null: the objective")

    @model_validator(mode="after")
    def _one_question(self) -> UntilConfig:
        if (self.halfwidth is None) == (self.decided is None):
            raise ValueError("`until` has one of `halfwidth` and `decided`")
        return self


class SequentialConfig(Section):
    """Seeds that are added only where the interval still crosses what the question needs."""

    start: int = setting(3, ge=2, unit="seeds", doc="seeds that every cell begins with: 0 to start-1")
    max: int = setting(le=MOST_SEEDS, unit="seeds", doc="seeds that a cell has at most")
    step: int = setting(1, ge=1, unit="seeds", doc="seeds that a cell gets at a time; fewer looks make narrower intervals")
    until: UntilConfig = setting(doc="the question", source=SEQUENTIAL)

    @model_validator(mode="after")
    def _room(self) -> SequentialConfig:
        if self.max <= self.start:
            raise ValueError(f"`max` is above `start`, which is {self.start}")
        return self


def _kind_of_seeds(value: Any) -> str:
    # pydantic shows a tag in an error's location; one in brackets is taken out of the path that a user reads
    return "[sequential]" if isinstance(value, Mapping | SequentialConfig) else "[fixed]"


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class DefinitionConfig(Section):
    """A sweep definition as a whole, schema 1."""

    version: Literal["1"] = setting(doc="version of the language: 1")
    name: Annotated[str, Field(pattern=f"^{_NAME}$")] = setting(doc="name of the sweep: letters, digits, dot, dash, underscore")
    project: Annotated[str, Field(pattern=f"^{_NAME}$")] | None = setting(None, doc="the MLflow experiment; null: the name")
    base: str | None = setting(None, doc="another definition, by name or path, that hands down " + ", ".join(HANDED_DOWN))
    code: tuple[str, ...] = setting((), doc="files with your own components, relative to this file")
    description: str | None = setting(None, doc="what the study is about, in words")
    trial: dict[str, Any] = setting({}, doc="the fixed part of every trial")
    grid: dict[str, Any] = setting({}, doc="axes by path, each a list of values: every combination is a cell")
    cases: tuple[dict[str, Any], ...] = setting((), doc="small grids, each combined with `grid`; the cells are the union of all")
    exclude: tuple[dict[str, Any], ...] = setting((), doc="cells that match every path given are dropped; a list means any of the values")
    sample: SampleConfig | None = setting(None, doc="keep only some of the cells, chosen by hash")
    search: SearchConfig | None = setting(None, doc="suggest cells one after the other, beside or instead of the grid's own")
    seeds: Annotated[Annotated[Seeds, Tag("[fixed]")] | Annotated[SequentialConfig, Tag("[sequential]")], Discriminator(_kind_of_seeds)] = (
        setting((0,), doc="replicates of each cell: a number n means 0 to n-1, a list, or {start, max, until}: more only where needed")
    )
    validation: ValidationConfig = setting(default_factory=ValidationConfig, doc="pairs held out of the training sets")
    evaluate: tuple[Any, ...] = setting((), doc="benchmarks that score every trial, by name or with their own keys")
    objective: ObjectiveConfig = setting(default_factory=ObjectiveConfig, doc="the metric that the study optimises")
    checkpoint: CheckpointConfig = setting(default_factory=CheckpointConfig, doc="how often a trial saves, and what is left of it")
    resources: ResourcesConfig = setting(default_factory=ResourcesConfig, doc="what a trial asks of the cluster")
    needs: dict[str, NeedConfig] = setting(
        {}, doc="what trials need before they can run, by name; `${needs.NAME}` under `trial` stands for it"
    )
    failures: FailuresConfig = setting(default_factory=FailuresConfig, doc="what follows a failure, by cause; no part of any id")
    ensembles: tuple[EnsembleConfig, ...] = setting((), doc="derived rows: cells put together by rules, without training")
    reported: tuple[ReportedConfig, ...] = setting((), doc="numbers that papers printed, shown beside ours")
    gates: dict[str, GateConfig] = setting({}, doc="bounds on length_bias, ece or a metric; a cell beyond one is marked: do not promote")
    claims: tuple[ClaimConfig, ...] = setting((), doc="what the study is meant to show; the report gives each a verdict")


def validate_evaluate(value: Any) -> tuple[BaseModel, ...]:
    """The benchmark configurations of an ``evaluate`` list.

    Raises:
        ValueError: not a list of names or mappings with a name, or a name stands twice.
    """
    if not isinstance(value, list | tuple):
        raise ValueError("`evaluate` is a list of benchmarks")
    out: list[BaseModel] = []
    for index, entry in enumerate(value):
        given = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise ValueError("a benchmark is a name, or a mapping with a `name`")
        out.append(named(index, registry.get("benchmark", given["name"]).config, given))
    names = [getattr(benchmark, "name", "") for benchmark in out]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the benchmark {name} stands twice")
    return tuple(out)


def shape(config: ResourcesConfig, matching: tuple[bool, ...]) -> tuple[Shape, Shape]:
    """The shape of a trial and of its scorings; ``matching`` says for each rule of ``when`` whether it holds."""
    own = _given(config)
    for rule, holds in zip(config.when, matching, strict=True):
        if holds:
            own.update(_given(rule))
    trial = _shape(own, nodes=1, gpus=1)
    score = {"gpu_type": trial.gpu_type, **_given(config.score)}
    return trial, _shape(score, nodes=1, gpus=min(1, trial.gpus))


def _given(config: ShapeConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.model_fields_set & set(ShapeConfig.model_fields)}


def _shape(given: dict[str, Any], *, nodes: int, gpus: int) -> Shape:
    time = given.get("time", "auto")
    return Shape(
        nodes=nodes if given.get("nodes") is None else given["nodes"],
        gpus=gpus if given.get("gpus") is None else given["gpus"],
        gpu_type=given.get("gpu_type"),
        cpus=given.get("cpus"),
        memory=given.get("memory"),
        time=None if time == "auto" else parse_duration(time),
    )
