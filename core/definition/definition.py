"""A sweep definition that has been read, merged and checked: everything that a plan is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.definition.axes import Block
from core.definition.ensembling import EnsembleConfig
from core.definition.failures import FailuresConfig
from core.definition.identity import canonical_json
from core.definition.matching import Conditions
from core.definition.needs import Need
from core.definition.reading import write_text
from core.definition.schema import VARIABLE, ClaimConfig, DefinitionConfig, GateConfig, ReportedConfig, SampleConfig, SequentialConfig
from core.definition.searching import ObjectiveConfig, SearchConfig
from core.definition.sections import Source
from core.definition.space import Space
from core.definition.trial import RehearsalConfig
from core.errors import Place


@dataclass(frozen=True)
class Exclude:
    """One rule of ``exclude``; ``written`` is the rule as the file has it."""

    conditions: Conditions
    written: Mapping[str, Any]
    place: Place | None


@dataclass(frozen=True)
class SweepDefinition:
    """What :func:`core.definition.load` makes of a file. Made once, never changed.

    Attributes:
        name: name of the sweep.
        project: the MLflow experiment.
        description: what the study is about.
        files: all YAML files that were read, the named one first, then its bases.
        code: the user's own component files, absolute.
        notices: what the command line or a base changed that a reader might not expect.
        warnings: what is probably a mistake, and no error; a complete pass over the cells adds what only they show.
        seeds: the replicates.
        objective: the metric that the study optimises.
        failures: what follows a failure, by cause.
        reported: numbers that papers printed.
        ensembles: derived rows, made of the scores of cells.
        gates: bounds beyond which a cell is not to be promoted.
        claims: what the study is meant to show.
        rehearsal: what a rehearsal changes; ``None`` for a real sweep.
        source: the merged definition as written, with places.
        blocks: the grid, or each case with it.
        exclude: the rules that drop cells.
        sample: the part of the cells that is kept.
        needs: what its trials need, by name.
        search: how cells are suggested beyond the grid; ``None``: the grid is all there is.
        space: what the search chooses from.
        objectives: what it optimises, one or two.
        further: when a cell gets seeds beyond ``seeds``; ``None``: never.
    """

    name: str
    project: str
    description: str | None
    files: tuple[Path, ...]
    code: tuple[Path, ...]
    notices: list[str]
    warnings: list[str]
    seeds: tuple[int, ...]
    objective: ObjectiveConfig
    failures: FailuresConfig
    reported: tuple[ReportedConfig, ...]
    gates: Mapping[str, GateConfig]
    claims: tuple[ClaimConfig, ...]
    rehearsal: RehearsalConfig | None
    source: Source = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    exclude: tuple[Exclude, ...] = field(repr=False)
    sample: SampleConfig | None = None
    needs: Mapping[str, Need] = field(default_factory=dict, repr=False)
    search: SearchConfig | None = None
    space: Space | None = None
    objectives: tuple[ObjectiveConfig, ...] = ()
    ensembles: tuple[EnsembleConfig, ...] = ()
    further: SequentialConfig | None = None

    def text(self) -> str:
        """The merged definition as YAML without ``base``: loading it again gives the same trials."""
        tree = self.source.tree
        return write_text({key: tree[key] for key in DefinitionConfig.model_fields if key != "base" and _said(tree.get(key))})

    def family(self) -> str:
        """32 hex digits over what a suggested cell, or a further seed, computes and is judged by.

        An edit that leaves it as it is (more cells, another sampler or pruner; more seeds, another question) goes on with what there is.
        """
        tree, search = self.source.tree, self.search
        of_cells = {key: tree.get(key) for key in ("trial", "grid", "cases", "exclude", "code", *VARIABLE) if _said(tree.get(key))}
        own = None if search is None else [tree["search"]["space"], [item.model_dump(mode="json") for item in search.objectives]]
        if self.further is not None:
            own = ["seeds", tree.get("sample")]
        rehearsal = None if self.rehearsal is None else self.rehearsal.model_dump(mode="json")
        prompts = sorted(self.source.prompts.items())
        return hashlib.sha256(canonical_json([of_cells, own, self.seeds[0], prompts, rehearsal])).hexdigest()[:32]

    def digest(self) -> str:
        """32 hex digits over :meth:`text`, the prompt files that it names, and whether it is a rehearsal."""
        rehearsal = None if self.rehearsal is None else self.rehearsal.model_dump(mode="json")
        prompts = sorted(self.source.prompts.items())
        return hashlib.sha256(canonical_json([self.text(), prompts, rehearsal])).hexdigest()[:32]


def _said(value: Any) -> bool:
    return value is not None and value != {} and value != []
