"""``new``, ``keys`` and ``plan``: from an idea to a definition that says what it would cost."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from core.errors import UsageError
from sweeps.cli.common import (
    ClusterOption,
    JsonOption,
    OverridesArgument,
    RealDataOption,
    RehearseOption,
    WorkersOption,
    WorkspaceOption,
    hint,
    print_json,
    say,
    table,
)
from sweeps.wiring import workspace_root

DefinitionArgument = Annotated[
    str, typer.Argument(metavar="DEF", help="A definition: a path, or a name in ./sweeps or among the shipped ones.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(new)
    app.command()(keys)
    app.command()(plan)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the sweep; the file is sweeps/NAME.yaml.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> int:
    """Write a commented starting file."""
    from core.definition.template import starting_file
    from core.workspace.files import fault, write_atomic

    path = Path(name) if name.endswith((".yaml", ".yml")) else Path("sweeps") / f"{name}.yaml"
    if path.exists() and not force:
        raise UsageError("the file is there already", found=str(path), next=f"sweep plan {path}, or --force to overwrite it")
    text = starting_file(path.stem)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(error, path) from error
    write_atomic(path, text)
    say(f"wrote {path}")
    say(f"next: sweep plan {path}, then sweep launch {path} --rehearse")
    return 0


def keys(
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="Only the keys below this path.", show_default=False)] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON Schema of a definition, for editors.")] = False,
    json: JsonOption = False,
) -> int:
    """List every key of a definition with type, unit, default and source."""
    if schema:
        from core.definition.json_schema import json_schema

        print_json(json_schema())
        return 0
    from core.definition.keys import keys as listing

    found = listing(path)
    if json:
        print_json([asdict(key) for key in found])
        return 0
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for key in found:
        line = Text(key.path, style="bold")
        unit = f" [{key.unit}]" if key.unit else ""
        line.append(f"  {key.type}{unit}", style="cyan")
        line.append(f"  default {key.default}" if key.default is not None else "", style="dim")
        line.append(f"  ({key.role})" if key.role and key.role != "identity" else "", style="dim")
        console.print(line)
        doc = key.doc + (f" [source: {key.source}]" if key.source else "")
        console.print(Text(textwrap.fill(doc, console.width, initial_indent="    ", subsequent_indent="    ")))
    return 0


def plan(
    definition: DefinitionArgument,
    overrides: OverridesArgument = None,
    rehearse: RehearseOption = False,
    real_data: RealDataOption = None,
    why: Annotated[
        list[str] | None,
        typer.Option("--why", metavar="PATH=VALUE", help="Which clause made, merged or dropped these cells.", show_default=False),
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only the counts; streams, for very large grids.")] = False,
    all: Annotated[bool, typer.Option("--all", help="List every trial, however many.")] = False,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Show what a launch would do and cost, and start nothing."""
    from sweeps import costs, planning, rules
    from sweeps.jobs import jobs_on

    if why:
        # `--why a=1 b=2`: further PATH=VALUE words are part of the question, not overrides
        return _why(definition, why + (overrides or []), rehearse, json)
    loaded = planning.read(definition, overrides or [], rehearse, real_data)
    place = planning.workspace_if_any(workspace_root(workspace))
    if not json:
        for line in [*loaded.notices, *(f"warning: {text}" for text in loaded.warnings)]:
            hint(line)
    if count:
        counts = planning.count(loaded, place)
        if json:
            print_json(counts)
        else:
            say("  ".join(f"{name} {number}" for name, number in counts.items()))
        return 0
    chosen = planning.where(loaded, workspace_root(workspace), cluster)
    result = planning.make(loaded, place, elsewhere=chosen.profile.kind == "slurm")
    jobs = jobs_on(result, chosen) if chosen.profile.kind == "slurm" else []
    cost = costs.costs(result, place, costs.at_once(result, jobs, workers))
    if json:
        print_json(planning.as_json(result, loaded.name) | {"cost": costs.as_json(cost), "jobs": [found.as_json() for found in jobs]})
        return 0
    trials = [planned for planned, _ in result.trials]
    for line in [*planning.untrained(trials), *planning.not_applicable(trials), *planning.real_rows(loaded, trials)]:
        hint(line)
    shown = result.trials if all else result.trials[:LISTED]
    varied = list(dict.fromkeys(path for planned, _ in result.trials for path in planned.cell))
    title = f"{loaded.name}" + ("  REHEARSAL: tiny random models, generated images" if rehearse else "")
    rows = [[p.id[:10], *(p.cell.get(path, "") for path in varied), p.seed, p.shape.key, action] for p, action in shown]
    if rows:
        table(["trial", *varied, "seed", "shape", "action"], rows, title=title)
    else:
        say(title)
    if len(shown) < len(result.trials):
        say(f"... and {len(result.trials) - len(shown)} more (--all lists them)")
    say()
    if result.search is not None:
        from sweeps.search_words import plan_lines

        for line in plan_lines(loaded, result.search):
            say(line)
    if (rule := rules.rule_of(loaded)) is not None:
        say(rules.plan_line(rule, result.counts["cells"], len(result.gained)))
    if loaded.ensembles:
        from sweeps.ensembles import lines as ensemble_lines

        for line in ensemble_lines(planning.ensembles(result)):
            say(line)
    say("  ".join(f"{name} {number}" for name, number in result.counts.items()))
    say("shapes: " + ", ".join(f"{n} x {shape.key}" for shape, n in result.shapes.items()))
    for found in jobs:
        say(f"jobs on {chosen.name}: {found.words()}")
    if first := planning.canaries(result):
        say(f"canaries: {len(first)} trials go first, which together have every shape and every value that may fail by itself")
    for planned, action in result.trials:
        asked = planning.cost(planned) if planned.stage is not None and action == "new" else None
        if asked is not None:
            say(
                f"stage {planned.stage}: {asked['texts']:,} texts by {asked['by']}, up to {asked['tries']} tries each, "
                f"at most {asked['tokens']:,} tokens written"
            )
    for group in planning.memory(result):
        need = group.memory
        fits = "" if need.room is None else f", room for {need.room:,} tokens in one forward pass of {need.gpu:g} GiB"
        say(
            f"memory of one GPU, {group.backbone} on {group.shape.key} ({need.layout.name}): "
            f"{need.states + need.buffers:.1f} GiB and {need.activations:.2f} for 1,000 tokens{fits}"
        )
    for line in costs.lines(cost):
        say(line)
    for fault in result.missing:
        say(f"missing: {planning.one_line(fault)}")
    if result.missing:
        say("next: sweep fetch DEF brings what the hub has; or add --rehearse")
    return 0


LISTED = 60
"""Trials that a plan lists before it says how many more there are."""


def _why(definition: str, question: list[str], rehearse: bool, json: bool) -> int:
    from core.definition import why
    from sweeps import planning

    assignments = {}
    for word in question:
        path, equals, value = word.partition("=")
        if not equals:
            raise UsageError("--why takes PATH=VALUE", found=word, next="sweep plan DEF --why head.layers=1")
        assignments[path] = value
    lines = why(planning.read(definition, [], rehearse), assignments)
    if json:
        print_json({"why": assignments, "clauses": lines})
    else:
        for line in lines:
            say(line)
    return 0
