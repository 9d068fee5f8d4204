"""Typed configurations of the data sources (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from core.data import maps
from core.definition.fields import identity, place
from core.definition.trial import SourceConfig
from core.errors import nearest
from core.registry import register

FIELDS = (
    "prompt",
    "chosen",
    "rejected",
    "id",
    "image",
    "video",
    "margin",
    "strength",
    "is_tie",
    "category",
    "domain",
    "user",
    "group",
    "principle",
    "chosen_reason",
    "rejected_reason",
    "conversations",
)
"""Our names of the fields of a row, as the field map of a source may give them other names."""


class FileSourceConfig(SourceConfig):
    """Preference pairs in a local JSONL, JSON or Parquet file."""

    type: Literal["file"] = identity("file", doc="a local file")
    format: Literal["pair", "sharegpt"] = identity(
        "pair", doc="`pair`: prompt, chosen, rejected; `sharegpt`: conversations, chosen, rejected"
    )
    fields: dict[str, str] = identity(
        {}, doc="field map: our name of a field to the file's (dotted paths reach into mappings); ours are " + ", ".join(FIELDS)
    )
    path: str | None = place(doc="the file; null looks for NAME.jsonl, NAME.json, NAME.parquet in $SWEEP_DATA")
    media: str | None = place(doc="folder that image and video paths are relative to; null: the folder of the file")

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in FIELDS:
                raise ValueError(f"unknown field {name!r}; allowed: {', '.join(FIELDS)}; did you mean: {nearest(name, FIELDS)}")
        return value


class PublicSetConfig(SourceConfig):
    """A public preference set that has a field map; ``sweep data show`` lists them."""

    type: str = identity(doc="the set, by the name of its field map")
    revision: str | None = identity(
        None, doc="revision of the set on the hub (a commit); null takes what was fetched, and the fingerprint of the content tells"
    )
    fields: dict[str, str] = identity({}, doc="names of fields that replace the field map's: our name to the set's")
    path: str | None = place(doc="a local copy, a folder or one file; null looks for TYPE in $SWEEP_DATA, then in the hub's cache")
    media: str | None = place(doc="folder that image and video paths are relative to; null: the folder of the set")


class GeneratedImagesConfig(SourceConfig):
    """Generated image preferences whose right answer can only be read off the image."""

    type: Literal["generated_images"] = identity("generated_images", doc="generated image preferences")
    pairs: int = identity(640, ge=1, unit="pairs", doc="how many pairs are generated")
    seed: int = identity(0, ge=0, doc="seed of the generator; data do not change with the trial's seed")
    labels: Literal["true", "shuffled"] = identity(
        "true", doc="`shuffled` swaps chosen and rejected at random: a control that must stay at chance"
    )
    images: Literal["shown", "blank"] = identity("shown", doc="`blank` hides the picture's content: a control that must stay at chance")


class GeneratedTextConfig(SourceConfig):
    """Generated text preferences, for backbones that read text alone: a sentence tells what the picture would show."""

    type: Literal["generated_text"] = identity("generated_text", doc="generated text preferences")
    pairs: int = identity(640, ge=1, unit="pairs", doc="how many pairs are generated")
    seed: int = identity(0, ge=0, doc="seed of the generator; data do not change with the trial's seed")
    labels: Literal["true", "shuffled"] = identity(
        "true", doc="`shuffled` swaps chosen and rejected at random: a control that must stay at chance"
    )


register("source", "file", FileSourceConfig, "core.data.sources:FileSource")
for _name in maps.names():
    register("source", _name, PublicSetConfig, "core.data.public:PublicSource")
register("source", "generated_images", GeneratedImagesConfig, "core.data.generated:GeneratedPreferences")
register("source", "generated_text", GeneratedTextConfig, "core.data.generated:GeneratedPreferences")
