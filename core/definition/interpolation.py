"""``${...}`` in a definition: relative to the trial's root, other top-level keys by name, defaults visible.

OmegaConf resolves. The environment (``${oc.env:...}``) may say where things lie and how a trial is executed; in a field that
is hashed it is refused, because the same file would then mean different trials on different machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from core import registry
from core.definition.identity import jsonable
from core.definition.layers import PLACES_IN_EVALUATE
from core.definition.problems import place_of
from core.definition.reading import Path_, leaves
from core.definition.schema import VARIABLE, DefinitionConfig
from core.definition.trial import TrialConfig
from core.definition.walk import COMPONENTS, NAMED, Keys, role
from core.errors import DefinitionError

if TYPE_CHECKING:
    from core.definition.sections import SectionPlan

ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\b")
_SENTINEL = "<from the environment>"


class Interpolation:
    """Resolves ``${...}`` in one section: relative to the trial's root, top-level keys by name, defaults visible."""

    def __init__(self, plan: SectionPlan, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> None:
        self.plan, self.indices = plan, indices
        tree = {name: plan.source.tree.get(name) for name in ("name", "project", "description")}
        tree["project"] = tree["project"] or tree["name"]
        tree["needs"] = dict(plan.source.needs)
        for name in (plan.name, *plan.reads):
            tree[name] = with_defaults(name, plans[name].raw(plans, indices))
        self.tree = tree

    def resolve(self, raw: Any) -> Any:
        """The section with everything interpolated.

        Raises:
            DefinitionError: a name that does not exist, a cycle, or the environment in an identity field.
        """
        name = self.plan.name
        if any(isinstance(text, str) and ENVIRONMENT.search(text) for _, text in leaves(self.tree)):
            hidden = _map_text(self.tree, lambda text: _SENTINEL if ENVIRONMENT.search(text) else text)
            for path, text in leaves(self._resolve(hidden)):
                if isinstance(text, str) and _SENTINEL in text:
                    self._refuse_environment((name, *(str(part) for part in path)))
        return _restrict(self._resolve(self.tree), raw)

    def _resolve(self, tree: Any) -> Any:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        name = self.plan.name
        try:
            holder = OmegaConf.create(tree)
            value = holder[name]
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except (OmegaConfBaseException, RecursionError) as error:
            prefix: Path_ = (name,) if name in VARIABLE else ("trial", name)
            bad = next((path for path, text in leaves(self.tree[name]) if isinstance(text, str) and "${" in text), ())
            message = str(error).splitlines()[0] if str(error) else "a cycle"
            found = _at(self.tree[name], bad)
            raise DefinitionError(
                f"an interpolation in {name} does not resolve: {message}",
                found=found,
                allowed="paths from the trial's root such as ${optim.lr}, or top-level keys by name",
                place=place_of(self.plan.places(self.indices), (*prefix, *bad)),
            ) from None

    def _refuse_environment(self, keys: Keys) -> None:
        hashed = keys[-1] not in PLACES_IN_EVALUATE if keys[0] == "evaluate" else keys[0] not in VARIABLE and role(keys) == "identity"
        if hashed:
            raise DefinitionError(
                f"{'.'.join(keys)} is part of an identity and may not come from the environment",
                found="${oc.env:...}",
                allowed="a written value; the environment may set paths and execution fields",
                place=place_of(self.plan.places(self.indices), ("trial", *keys)),
            )


def _at(tree: Any, path: Path_) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _map_text(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map_text(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_map_text(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _restrict(value: Any, raw: Any) -> Any:
    """``value`` without the defaults that were filled in: only the keys that ``raw`` has."""
    if isinstance(value, dict) and isinstance(raw, dict):
        return {key: _restrict(value[key], raw[key]) for key in raw}
    return value


def with_defaults(section: str, raw: Any) -> Any:
    """A raw section with the schema's defaults where nothing is written, so that ``${...}`` sees them."""
    if section == "evaluate" or isinstance(raw, str):
        return raw
    declared = (DefinitionConfig if section in VARIABLE else TrialConfig).model_fields[section]
    given = dict(raw or {})
    if (section,) in COMPONENTS:
        name = given.get("name", "naive" if section == "paradigm" else "mlp")
        known = isinstance(name, str) and registry.has(COMPONENTS[(section,)], name)
        return {**_defaults(registry.get(COMPONENTS[(section,)], name).config), "name": name, **given} if known else given
    if (section,) in NAMED:
        names = given or {"bradley_terry": None}
        return {
            name: {**_defaults(registry.get("loss", name).config), **(term or {})}
            for name, term in names.items()
            if registry.has("loss", name)
        }
    model = declared.annotation
    return {**_defaults(model), **given} if isinstance(model, type) and issubclass(model, BaseModel) else raw


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    out = {}
    for name, declared in model.model_fields.items():
        if not declared.is_required():
            out[name] = jsonable(declared.get_default(call_default_factory=True))
    return out
