"""The keys of ``search`` and ``objective``, each with its type, unit and meaning. What ``search.space`` holds is read by
:mod:`core.definition.space`, because it depends on the paths that it names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from core.definition.fields import Section, setting

ASHA = "Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020"
HYPERBAND = "Li et al., Hyperband, JMLR 18 (2018)"

Sampler = Literal["tpe", "cmaes", "qmc", "random", "gp", "nsga2"]
PrunerKind = Literal["asha", "hyperband", "median", "wilcoxon"]

OWN_KEYS = {"asha": ("reduction",), "hyperband": ("reduction",), "median": ("startup",), "wilcoxon": ("p",)}
"""Keys that only these pruners take."""


class ObjectiveConfig(Section):
    """The metric that the study optimises."""

    metric: str = setting("validation/accuracy", doc="validation/METRIC, or BENCHMARK/METRIC of a benchmark in `evaluate`")
    mode: Literal["max", "min"] = setting("max", doc="whether more or less is better")


class PrunerConfig(Section):
    """Which trials of a search are stopped early. Progress is a trial's step as a share of its own last step."""

    kind: PrunerKind = setting(doc="rule by which trials are stopped", source=f"asha: {ASHA}; hyperband: {HYPERBAND}")
    first: float = setting(
        0.1, gt=0, lt=1, unit="fraction of training", doc="progress before which no trial is stopped; asha, hyperband: the first rung"
    )
    reduction: int | None = setting(None, ge=2, doc="asha, hyperband: of so many trials at a rung one goes on; null: 3")
    startup: int | None = setting(None, ge=1, unit="trials", doc="median: trials that must have finished before one is stopped; null: 4")
    p: float | None = setting(None, gt=0, lt=1, doc="wilcoxon: p value under which a trial is stopped; null: 0.1")
    metric: str | None = setting(None, doc="validation/METRIC that is watched; null: the objective, where that is one")
    mode: Literal["max", "min"] | None = setting(None, doc="whether more or less of `metric` is better; null: as in the objective")

    @model_validator(mode="after")
    def _own_keys(self) -> PrunerConfig:
        for key in ("reduction", "startup", "p"):
            owners = [kind for kind, keys in OWN_KEYS.items() if key in keys]
            if getattr(self, key) is not None and self.kind not in owners:
                raise ValueError(f"`{key}` is a key of {' and '.join(owners)}, not of {self.kind}")
        return self


def _pruner(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class SearchConfig(Section):
    """A search: cells that are suggested one after the other, by what the earlier ones have shown. Done with Optuna."""

    space: dict[str, Any] = setting(doc="what is searched: paths with a list of values, a generator, or low and high")
    n_cells: int = setting(ge=1, unit="cells", doc="cells that are suggested, for each cell of the grid")
    sampler: Sampler = setting("tpe", doc="who suggests")
    pruner: Annotated[PrunerConfig | None, BeforeValidator(_pruner)] = setting(
        None, doc="who stops trials early; null: nobody. A name is short for {kind: NAME}"
    )
    replicate: int = setting(3, ge=0, unit="cells", doc="the best so many cells are trained with the other seeds of `seeds` too")
    objectives: tuple[ObjectiveConfig, ...] = setting((), doc="two objectives at once; empty: the one in `objective`")
    warm_start: tuple[str, ...] = setting((), doc="sweeps of the workspace whose finished trials are told to the sampler first")
    seed: int = setting(0, ge=0, lt=2**32, doc="seed of the sampler")
