"""Layers of a definition, from a base up to the file itself: bringing each to one form, and laying one over another.

A later layer wins key by key; lists are replaced whole. Two rules go beyond that. The budgets of training (``train.epochs``,
``steps``, ``pairs``, ``tokens``) are exclusive: one replaces another that an earlier layer set. And where a later layer
names another component, the earlier layers' keys that the new one does not have are dropped, with a notice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import registry
from core.definition.problems import Places, dotted, place_of
from core.definition.reading import Document, Path_
from core.definition.schema import HANDED_DOWN, DefinitionConfig
from core.definition.trial import BUDGETS, SHORTHAND, TrialConfig
from core.definition.walk import COMPONENTS, Keys, role
from core.errors import DefinitionError, nearest

PLACES_IN_EVALUATE = ("data", "media", "prior")


def normalise(document: Document, folder: Path) -> None:
    """Bring one layer to one form, in place: shorthands spelled out, paths made absolute, its own contradictions refused.

    Raises:
        DefinitionError: an unknown key, a section that is no mapping, or two budgets in this layer.
    """
    tree, places = document.tree, document.places
    known = list(DefinitionConfig.model_fields)
    for key in tree:
        if key not in known:
            raise DefinitionError(
                f"unknown key {key}", found=key, allowed=known, nearest=nearest(key, known), place=place_of(places, (key,))
            )
    for key in ("trial", "grid", "search", "validation", "objective", "checkpoint", "resources"):
        if tree.get(key) is None:
            tree.pop(key, None)
        elif not isinstance(tree[key], dict):
            raise DefinitionError(f"{key} is a mapping", found=tree[key], place=place_of(places, (key,)))
    if "trial" in tree:
        _normalise_trial(tree["trial"], places)
        absolute(tree["trial"], (), folder)
    if isinstance(tree.get("needs"), dict):
        for need in tree["needs"].values():
            _normalise_need(need, folder)
    if isinstance(tree.get("evaluate"), list):
        tree["evaluate"] = [absolute_benchmark(entry, folder) for entry in tree["evaluate"]]


def _normalise_need(need: Any, folder: Path) -> None:
    """Paths of a need, absolute: a model's folder, another definition's file, and those in a stage's trial."""
    if not isinstance(need, dict):
        return
    for key in ("model", "sweep"):
        text = need.get(key)
        if isinstance(text, str) and (folder / Path(text).expanduser()).exists() and "/" in text:
            need[key] = str((folder / Path(text).expanduser()).resolve())
    if isinstance(need.get("trial"), dict):
        for key in SHORTHAND:
            if isinstance(need["trial"].get(key), str):
                need["trial"][key] = {"name": need["trial"][key]}
        absolute(need["trial"], (), folder)


def _normalise_trial(trial: dict[str, Any], places: dict[Path_, Any]) -> None:
    known = [name for name in TrialConfig.model_fields if name not in ("seed", "rehearsal")]
    for key in trial:
        place = place_of(places, ("trial", key))
        if key == "seed":
            raise DefinitionError(
                "the seed is no part of `trial`: replicates are set by `seeds`", found="trial.seed", allowed="seeds", place=place
            )
        if key in known or key == "rehearsal":
            continue
        if "." in key:
            raise DefinitionError(
                "under `trial` keys are nested, not dotted",
                found=key,
                allowed=f"{key.split('.')[0]}: {{{key.split('.', 1)[1]}: ...}}",
                place=place,
            )
        raise DefinitionError(f"unknown key {key}", found=key, allowed=known, nearest=nearest(key, known), place=place)
    for key in SHORTHAND:
        if isinstance(trial.get(key), str):
            places[("trial", key, "name")] = places[("trial", key)]
            trial[key] = {"name": trial[key]}
    for path in (("loss",), ("data", "sources")):
        entries: Any = trial
        for part in path:
            entries = entries.get(part) if isinstance(entries, dict) else None
        for name in entries if isinstance(entries, dict) else ():
            entries[name] = {} if entries[name] is None else entries[name]
    if isinstance(trial.get("train"), dict):
        one_budget([("trial", "train", name) for name in BUDGETS if trial["train"].get(name) is not None], places)


def one_budget(found: list[Path_], places: Places) -> None:
    """Refuse two budgets in one layer.

    Raises:
        DefinitionError: more than one, with the place of each.
    """
    if len(found) > 1:
        raise DefinitionError(
            "two budgets of training in one layer",
            found=" and ".join(f"{dotted(path[-2:])} ({place_of(places, path)})" for path in found),
            allowed="exactly one of " + ", ".join(BUDGETS),
            place=place_of(places, found[-1]),
        )


def absolute(tree: Any, keys: Keys, folder: Path) -> Any:
    """Make the paths in place fields absolute, in place where ``tree`` is a mapping; a text is returned."""
    if isinstance(tree, dict):
        for key in tree:
            tree[key] = absolute(tree[key], (*keys, key), folder)
        return tree
    if isinstance(tree, str) and role(keys) == "place":
        return str(_absolute(folder, tree))
    return tree


def absolute_benchmark(entry: Any, folder: Path) -> Any:
    """A benchmark of ``evaluate`` with the paths in its place fields made absolute."""
    if not isinstance(entry, dict):
        return entry
    return {
        key: str(_absolute(folder, value)) if key in PLACES_IN_EVALUATE and isinstance(value, str) else value
        for key, value in entry.items()
    }


def _absolute(folder: Path, text: str) -> Path | str:
    if text.startswith("${"):
        return text
    path = Path(text).expanduser()
    return path if path.is_absolute() else folder / path


def lay_over(base: Document, own: Document, notices: list[str]) -> Document:
    """The definition that ``own`` makes of what ``base`` hands down. Both are normalised; neither is changed."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    below = {key: base.tree[key] for key in HANDED_DOWN if key in base.tree}
    if "trial" in below and "trial" in own.tree:
        below["trial"] = _make_room(below["trial"], own.tree["trial"], notices)
    tree = dict(own.tree)
    for key, value in below.items():
        if key not in tree:
            tree[key] = value
        elif key == "code":
            tree[key] = list(dict.fromkeys([*value, *tree[key]]))
        elif isinstance(value, dict) and isinstance(tree[key], dict):
            try:
                merged = OmegaConf.merge(OmegaConf.create(value), OmegaConf.create(tree[key]))
            except OmegaConfBaseException as error:
                raise DefinitionError(f"{key} cannot be read: {str(error).splitlines()[0]}", place=place_of(own.places, (key,))) from None
            tree[key] = OmegaConf.to_container(merged, resolve=False)
    inherited = {path: place for path, place in base.places.items() if path and path[0] in HANDED_DOWN}
    return Document(tree, {**inherited, **own.places})


def _make_room(below: dict[str, Any], above: dict[str, Any], notices: list[str]) -> dict[str, Any]:
    """The trial of an earlier layer without what a later one makes pointless."""
    out = dict(below)
    if isinstance(above.get("train"), dict) and isinstance(out.get("train"), dict):
        out["train"] = without_other_budgets(out["train"], above["train"])
    for (section,), kind in COMPONENTS.items():
        old, new = out.get(section), above.get(section)
        if isinstance(old, dict) and isinstance(new, dict) and isinstance(new.get("name"), str) and new["name"] != old.get("name"):
            if not registry.has(kind, new["name"]):
                continue
            fields = registry.get(kind, new["name"]).config.model_fields
            dropped = [key for key in old if key not in fields]
            out[section] = {key: value for key, value in old.items() if key in fields}
            notices.extend(f"{section}.{key} is dropped: {new['name']} has no such key" for key in dropped)
    return out


def without_other_budgets(train: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """``train`` without its budgets where a later layer sets one."""
    if not any(later.get(name) is not None for name in BUDGETS):
        return train
    return {key: value for key, value in train.items() if key not in BUDGETS}
