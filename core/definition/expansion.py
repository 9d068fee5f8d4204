"""From a definition to its cells and trials, streamed: at most the ids that were seen are held, and mostly not even they.

Order of the cells: blocks as the cases stand in the file, the last axis varying fastest. A cell that computes what an
earlier one computes is merged into it; then ``exclude``; then ``sample``; then ``seeds``.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from core.definition.claims import ClaimCheck
from core.definition.definition import SweepDefinition
from core.definition.ensembles import EnsembleCheck
from core.definition.identity import section_line
from core.definition.matching import all_hold, read_rules
from core.definition.needs import needed
from core.definition.plan import Cell, PlannedTrial, Shape
from core.definition.problems import place_of
from core.definition.reported import RowCheck
from core.definition.schema import shape
from core.definition.sections import SECTIONS
from core.definition.trial import TrialConfig
from core.definition.visits import Visit, Walker, seed_line
from core.definition.walk import Keys
from core.errors import DefinitionError, Place


class Expansion:
    """The cells and trials of a definition. Every pass streams; counts are kept from the first complete one."""

    def __init__(self, definition: SweepDefinition) -> None:
        self.definition = definition
        settings = definition.rehearsal
        line = section_line("rehearsal", settings)
        self._walkers = [Walker(definition, block, line, list(definition.exclude)) for block in definition.blocks]
        self._counts: dict[str, int] | None = None
        self._warnings: list[str] = []
        self._seed_lines = [(seed, seed_line(seed)) for seed in definition.seeds]
        self._shapes: dict[Any, tuple[Shape, Shape]] = {}

    @property
    def counts(self) -> dict[str, int]:
        """``cells`` (after merging, exclude and sample), ``trials``, ``excluded``, ``merged``.

        Raises:
            DefinitionError: two cells compute the same and differ in what is not identity; a reported row fits several cells.
        """
        if self._counts is None:
            for _ in self._kept():
                pass
        assert self._counts is not None
        return dict(self._counts)

    @property
    def warnings(self) -> list[str]:
        """What only the cells show: an exclude that matches nothing, a reported row without a cell."""
        _ = self.counts
        return list(self._warnings)

    def cells(self) -> Iterator[Cell]:
        """The cells, in order."""
        for visit in self._kept():
            config = self._config(visit)
            del config["seed"]
            shapes = self._shape(visit)
            yield Cell(visit.id, visit.coordinates(), config, *shapes, tuple(visit.results["evaluate"].dump))

    def trials(self) -> Iterator[PlannedTrial]:
        """Cells times seeds, the seeds of one cell together. Configurations share their sections: treat them as frozen."""
        for visit in self._kept():
            config = self._config(visit)
            trial, score = self._shape(visit)
            cell = visit.coordinates()
            evaluate = tuple(visit.results["evaluate"].dump)
            waits = visit.results["paradigm"].value.waits()
            for seed, line in self._seed_lines:
                id = visit.id if seed == 0 else visit.block.id(visit.results, line)
                wanted = needed(self.definition.needs, config, seed)
                yield PlannedTrial(id, cell, seed, {**config, "seed": seed}, trial, score, evaluate, wanted, waits=waits)

    def stages(self) -> Iterator[PlannedTrial]:
        """The stages that the trials need, each once."""
        if not self.definition.needs:
            return
        wanted = {target for planned in self.trials() for target in planned.needed_trials}
        seen: set[str] = set()
        for need in self.definition.needs.values():
            if need.stage is not None and need.stage.id in wanted - seen:
                seen.add(need.stage.id)
                yield need.stage

    def kept(self) -> Iterator[Visit]:
        """The points that are cells; read each before going on."""
        return self._kept()

    def walk(self) -> Iterator[Visit]:
        """Every point of every block with what became of it (``sample`` comes after).

        Raises:
            DefinitionError: two cells compute the same and differ in what is not identity.
        """
        repeats = self._walkers[0].repeats() if len(self._walkers) == 1 else None
        yield from self._walk_by_id() if repeats is None else self._walk_by_group(self._walkers[0], repeats)

    def _walk_by_group(self, walker: Walker, repeats: list[tuple[tuple[int, ...], set[tuple[int, ...]]]]) -> Iterator[Visit]:
        known = [(positions, repeating) for positions, repeating in repeats if repeating]
        for visit in walker.visits():
            indices = visit.indices
            if any(tuple([indices[position] for position in positions]) in repeating for positions, repeating in known):
                visit.outcome = "merged"
            else:
                visit.rule = walker.excluded_by(visit)
                visit.outcome = "kept" if visit.rule is None else "excluded"
            yield visit

    def _walk_by_id(self) -> Iterator[Visit]:
        """The general way: remember every id (some 130 bytes each)."""
        seen: dict[bytes, int] = {}
        others: dict[tuple[str, ...], int] = {}
        for walker in self._walkers:
            for visit in walker.visits():
                other = tuple([visit.results[name].other for name in SECTIONS])
                number = others.setdefault(other, len(others))
                key = bytes.fromhex(visit.id)
                known = seen.get(key)
                if known is None:
                    seen[key] = number
                    visit.rule = walker.excluded_by(visit)
                    visit.outcome = "kept" if visit.rule is None else "excluded"
                elif known == number:
                    visit.outcome = "merged"
                else:
                    raise self._contradiction(visit)
                yield visit

    def first(self, id: str) -> Visit:
        """The first point with an id: the one that later ones merge into."""
        return next(visit for walker in self._walkers for visit in walker.visits() if visit.id == id)

    @cached_property
    def chosen(self) -> frozenset[bytes] | None:
        """Ids of the cells that ``sample`` keeps; ``None`` without a sample."""
        sample = self.definition.sample
        if sample is None:
            return None
        kept = (visit.id for visit in self.walk() if visit.outcome == "kept")
        ranked = ((hashlib.sha256(f"{sample.seed}:{id}".encode()).digest(), id) for id in kept)
        return frozenset(bytes.fromhex(id) for _, id in heapq.nsmallest(sample.count, ranked))

    def _kept(self) -> Iterator[Visit]:
        """The cells after everything; a complete pass leaves counts and warnings behind."""
        chosen = self.chosen
        count: Counter[str] = Counter()
        hits: Counter[int] = Counter()
        check = RowCheck(self.definition) if self._counts is None and self.definition.reported else None
        claims = ClaimCheck(self.definition) if self._counts is None and self.definition.claims else None
        ensembles = (
            EnsembleCheck(self.definition) if self._counts is None and self.definition.ensembles and not self.definition.search else None
        )
        for visit in self.walk():
            count[visit.outcome] += 1
            if visit.rule is not None:
                hits[visit.rule] += 1
            if visit.outcome != "kept" or (chosen is not None and bytes.fromhex(visit.id) not in chosen):
                continue
            count["cells"] += 1
            if check is not None:
                check.see(visit.get, visit.labels() if visit.block.has_labels else {}, lambda visit=visit: _by_keys(visit))
            if claims is not None and claims.open:
                claims.see(visit.get, visit.labels() if visit.block.has_labels else {})
            if ensembles is not None:
                ensembles.see(visit.get, visit.labels() if visit.block.has_labels else {})
            yield visit
        self._finish(count, hits, [one for one in (check, claims, ensembles) if one is not None])

    def _finish(self, count: Counter[str], hits: Counter[int], checks: Sequence[RowCheck | ClaimCheck | EnsembleCheck]) -> None:
        if self._counts is not None:
            return
        for number, rule in enumerate(self.definition.exclude):
            if not hits[number]:
                self._warnings.append(f"{rule.place}: exclude rule {number + 1} matches no cell: {dict(rule.written)}")
        self._warnings += [warning for check in checks for warning in check.finish()]
        if not count["cells"]:
            self._warnings.append("no cell is left")
        known = self.definition.warnings
        known.extend(warning for warning in self._warnings if warning not in known)
        seeds = len(self.definition.seeds)
        self._counts = {"cells": count["cells"], "trials": count["cells"] * seeds, "excluded": count["excluded"], "merged": count["merged"]}

    def _config(self, visit: Visit) -> dict[str, Any]:
        settings = self.definition.rehearsal
        fixed = {"seed": 0, "rehearsal": None if settings is None else settings.model_dump(mode="json")}
        return {name: fixed[name] if name in fixed else visit.results[name].dump for name in TrialConfig.model_fields}

    def _shape(self, visit: Visit) -> tuple[Shape, Shape]:
        result, settings = visit.results["resources"], self.definition.rehearsal
        labels = visit.labels() if visit.block.has_labels else {}
        matching = tuple(all_hold(rule, visit.get, labels) for rule in read_rules(result.value, self.definition.source.places))
        ranks = visit.results["execution"].value.ranks
        batch = visit.results["train"].value.batch if settings is None else settings.batch
        trains = visit.results["task"].value == "reward_model"
        key = (result.other, matching, ranks, batch, trains)
        if key not in self._shapes:
            trial, score = shape(result.value, matching)
            if settings is not None:  # a rehearsal asks for no GPU; its processes may be several, and on several nodes
                trial, score = Shape(nodes=min(trial.nodes, ranks or 1)), Shape()
            # what is written, and what others have trained, is the work of one process, also where the cells have eight
            trial = replace(trial, ranks=ranks) if trains else replace(trial, nodes=1, gpus=min(1, trial.gpus))
            self._check_ranks(visit, trial, batch)
            self._shapes[key] = trial, score
        return self._shapes[key]

    def _check_ranks(self, visit: Visit, shape: Shape, batch: int) -> None:
        """Refuse a shape whose processes cannot share nodes, GPUs and the effective batch evenly.

        Raises:
            DefinitionError: with the numbers that would do.
        """
        places, ranks = self.definition.source.places, shape.processes
        where = place_of(places, ("trial", "execution", "ranks")) if shape.ranks else place_of(places, ("resources", "gpus"))
        if shape.gpus and ranks != shape.gpus:
            raise DefinitionError(
                f"execution.ranks is {ranks}, and a trial with GPUs has one process per GPU",
                found=f"resources.gpus: {shape.gpus}", allowed=f"{shape.gpus}, or no execution.ranks", place=where,
            )  # fmt: skip
        if ranks % shape.nodes:
            raise DefinitionError(
                f"{ranks} processes cannot stand evenly on {shape.nodes} nodes",
                found=show(visit.coordinates()), allowed=f"a multiple of {shape.nodes}", place=where,
            )  # fmt: skip
        if batch % ranks:
            near = [n for n in range(1, batch + 1) if batch % n == 0 and n % shape.nodes == 0] or [1]
            raise DefinitionError(
                f"an effective batch of {batch} pairs cannot be shared evenly by {ranks} processes",
                found=show(visit.coordinates()), allowed=[str(n) for n in near], nearest=str(min(near, key=lambda n: abs(n - ranks))),
                place=where, next=f"ask for another number of processes (resources.gpus), or make train.batch a multiple of {ranks}",
            )  # fmt: skip

    def _contradiction(self, visit: Visit) -> DefinitionError:
        results, cell = dict(visit.results), visit.coordinates()
        first = self.first(visit.id)
        paths = [path for name in SECTIONS for path in _differences((name,), first.results[name].dump, results[name].dump)]
        place: Place | None = visit.block.block.place or place_of(self.definition.source.places, ())
        two = f"{show(first.coordinates())} ({first.block.block.origin}) and {show(cell)} ({visit.block.block.origin})"
        return DefinitionError(
            "two cells compute the same and differ only in what is no part of a trial's identity",
            found=f"{two}; they differ in {', '.join(paths)}",
            allowed="one value of these paths for all cells that compute the same",
            place=place,
        )


def _by_keys(visit: Visit) -> dict[Keys, Any]:
    return {tuple(path.split(".")): value for path, value in visit.coordinates().items()}


def _differences(path: Keys, one: Any, two: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in dict.fromkeys([*one, *two]):
            yield from _differences((*path, key), one.get(key), two.get(key))
    elif one != two:
        yield ".".join(path)


def show(cell: Mapping[str, Any]) -> str:
    """A cell's coordinates in one line."""
    return "{" + ", ".join(f"{path}: {'null' if value is None else value}" for path, value in cell.items()) + "}"


def expand(definition: SweepDefinition) -> Expansion:
    """The cells and trials of a definition; nothing is computed until asked for."""
    return Expansion(definition)
