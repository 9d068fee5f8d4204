"""``data`` and ``fetch``: what is trained on, and bringing it to this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core.errors import EnvironmentFault
from sweeps.cli.common import JsonOption, OverridesArgument, hint, print_json, say, table
from sweeps.cli.define import DefinitionArgument


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, help="What is trained on: known sets, checks and statistics.", rich_markup_mode=None)
    group.command()(show)
    group.command()(check)
    group.command()(stats)
    app.add_typer(group, name="data")
    app.command()(fetch)


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A public set or a named mixture; without it all of them.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> int:
    """List the public sets and mixtures, or show one with its field map and its first pair."""
    from sweeps import datasets

    if name is None:
        found = datasets.listing()
        if json:
            print_json(found)
            return 0
        rows = [[s["name"], s["title"], " ".join(s["reads"]), s["hub"], "here" if s["here"] else ""] for s in found["sets"]]
        table(["set", "title", "reads", "hub", ""], rows)
        say()
        table(["mixture", "sources"], [[m["name"], ", ".join(m["sources"])] for m in found["mixtures"]])
        return 0
    shown = datasets.one(name)
    if json:
        print_json(shown)
        return 0
    for key, value in shown.items():
        if key == "first" and value is not None:
            say("first pair:")
            for part in ("prompt", "chosen", "rejected"):
                say(f"  {part + ':':<10}{value[part]}")
        elif value not in (None, [], {}):
            say(f"{key}: {value}")
    return 0


def check(definition: DefinitionArgument, overrides: OverridesArgument = None, json: JsonOption = False) -> int:
    """Read every row of every source of a definition; exit code 2 where a row is refused, 3 where data are missing."""
    from sweeps import datasets

    found = datasets.check(datasets.read(definition, overrides))
    if json:
        print_json(found)
    else:
        table(
            ["source", "type", "", "pairs", "left out", "found"],
            [
                [s["source"], s["type"], s["verdict"], s["pairs"], _counts(s["skipped"]), s["message"] or s["place"]]
                for s in found["sources"]
            ],
        )
    return max((datasets.EXIT[source["verdict"]] for source in found["sources"]), default=0)


def stats(definition: DefinitionArgument, overrides: OverridesArgument = None, json: JsonOption = False) -> int:
    """Count what each source gives to training, and what repeats or stands in a benchmark too."""
    from sweeps import datasets

    found = datasets.stats(datasets.read(definition, overrides))
    if json:
        print_json(found)
        return 0
    for number, mixture in enumerate(found["mixtures"]):
        if number:
            say()
        rows = [
            [
                s["source"],
                s["counts"]["rows"],
                s["counts"]["train"],
                s["counts"]["per_epoch"],
                s["counts"]["held_out"],
                s["counts"]["ties"],
                s["with_media"],
                f"{s['longer_chosen']:.1%}" if s["longer_chosen"] is not None else "",
                s["repeated"],
                _counts(s["overlaps"]),
            ]
            for s in mixture["sources"]
        ]
        columns = ["source", "pairs", "train", "per epoch", "held out", "ties", "media", "longer chosen", "repeated", "in benchmarks"]
        table(columns, rows, title=f"{', '.join(mixture['cells'][:3])}  fingerprint {mixture['fingerprint']}")
    for line in found["notices"]:
        hint(line)
    return 0


def fetch(
    definition: DefinitionArgument,
    overrides: OverridesArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be brought, and bring nothing.")] = False,
    json: JsonOption = False,
) -> int:
    """Bring weights, public data and benchmarks of a definition from the hub, at their revisions; jobs then run offline."""
    from sweeps import datasets, fetching

    loaded = datasets.read(definition, overrides)
    done: list[dict[str, Any]] = []
    faults: list[EnvironmentFault] = []
    for download in fetching.needs(loaded):
        try:
            commit, files = fetching.plan(download)
            size = sum(files.values())
            hint(f"{download.what}: {download.repository} at {commit[:10]}, {len(files)} files, {size / 1e9:,.2f} GB")
            folder = None if dry_run else str(fetching.fetch(download, files).folder)
        except EnvironmentFault as fault:
            faults.append(fault)
            continue
        done.append(
            {
                "what": download.what,
                "repository": download.repository,
                "kind": download.kind,
                "revision": download.revision,
                "commit": commit,
                "pinned": download.pinned,
                "files": len(files),
                "bytes": size,
                "folder": folder,
                "unpack": list(download.unpack),
            }
        )
    elsewhere = fetching.elsewhere(loaded)
    if json:
        print_json({"fetched": done, "elsewhere": elsewhere, "failed": [fault.message for fault in faults], "dry_run": dry_run})
    else:
        for entry in done:
            where = f" in {entry['folder']}" if entry["folder"] else ""
            say(f"{entry['what']}: {entry['repository']} at {entry['commit'][:10]}{where}")
            if entry["unpack"] and entry["folder"]:
                say(f"  next: unpack {', '.join(entry['unpack'])} into a folder of yours, and name it as `path` of the source")
        for line in elsewhere:
            say(f"not on the hub: {line}")
        loose = [entry["what"] for entry in done if not entry["pinned"]]
        if loose:
            hint(f"not pinned: {', '.join(loose)}; `revision` with the commit above makes everybody read the same")
    if faults:
        first = faults[0]
        if len(faults) == 1:
            raise first
        raise EnvironmentFault(f"{len(faults)} things could not be fetched", found=[fault.message for fault in faults], next=first.next)
    return 0


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in values.items() if count)
