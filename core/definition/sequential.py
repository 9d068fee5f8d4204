"""``seeds`` as a part of a definition: the replicates that every cell has, and when it gets further ones."""

from __future__ import annotations

from core.definition.problems import place_of
from core.definition.reading import Document
from core.definition.schema import DefinitionConfig, SequentialConfig
from core.errors import DefinitionError


def read_seeds(document: Document, config: DefinitionConfig) -> tuple[tuple[int, ...], SequentialConfig | None]:
    """The seeds that every cell has, and the rule for further ones, where there is one.

    Raises:
        DefinitionError: the rule is given together with a search or with needs, which it cannot serve.
    """
    if not isinstance(config.seeds, SequentialConfig):
        return config.seeds, None
    places = document.places
    if config.search is not None:
        raise DefinitionError(
            "a search decides by itself which of its cells get further seeds",
            found=f"seeds with `until` ({place_of(places, ('seeds',))}) and search ({place_of(places, ('search',))})",
            allowed="with `search` a number of seeds: the best `search.replicate` cells are trained with all of them",
            place=place_of(places, ("seeds",)),
        )  # fmt: skip
    if config.needs:
        raise DefinitionError(
            "a further seed cannot bring a stage or another trial of its own", found=f"needs ({place_of(places, ('needs',))})",
            allowed="`needs` with a fixed number of seeds; or give what is needed as a model's path", place=place_of(places, ("needs",)),
        )  # fmt: skip
    return tuple(range(config.seeds.start)), config.seeds
