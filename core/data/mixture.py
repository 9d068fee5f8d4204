"""Several sources become one training set, one validation split, and an order of the data.

The validation split is chosen by hash, before caps and weights: of all pairs of all sources, those with the smallest hash of
their content, so that every cell over the same sources validates on the same pairs, whatever its seed, head, cap or batch.
Pairs of one ``group`` (and pairs with the same content) stay together on one side.

A mixture may leave pairs out before anything else (:mod:`core.data.curation`): those that come again, and those that a benchmark asks.

A ``cap`` keeps the pairs of smallest hash of a source: a larger cap keeps the earlier choice.

A ``weight`` is relative. The source of the largest weight is used once per epoch; one of half that weight gives half of its
pairs, drawn anew in every epoch. A ``text_ratio`` then uses fewer pairs of the text sources, or of the multimodal ones, until an epoch
has that many text pairs for each multimodal one; no pair is repeated within an epoch.

The order of epoch ``e`` is a permutation from the stream ``data`` of the trial's seed. Batch ``s`` is a slice of the endless
row of epochs, so that the number of pairs that were consumed is the whole position.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.data.curation import Dedup, Overlaps, media_name, repeated
from core.data.examples import PreferenceExample
from core.data.streams import generator
from core.errors import DefinitionError


@dataclass(frozen=True)
class Portion:
    """The training pairs of one source: ``length`` consecutive ones, of which an epoch uses ``per_epoch``."""

    source: str
    start: int
    length: int
    per_epoch: int


@dataclass(frozen=True)
class TrainingData:
    """What a trial trains and validates on.

    Attributes:
        train: all training pairs, source by source.
        held_out: the validation split.
        portions: which pairs belong to which source, and how many of them an epoch uses.
        counts: for each source: ``rows``, ``train``, ``per_epoch``, ``held_out`` and ``ties``, and where the mixture leaves pairs out
            ``repeated`` and ``overlap/BENCHMARK``.
        fingerprint: sha256 over the contents of the sources.
    """

    train: Sequence[PreferenceExample]
    held_out: Sequence[PreferenceExample]
    portions: tuple[Portion, ...]
    counts: Mapping[str, Mapping[str, int]]
    fingerprint: str

    @property
    def epoch_size(self) -> int:
        """Pairs in one epoch, after weights."""
        return sum(portion.per_epoch for portion in self.portions)

    def order(self, seed: int) -> DataOrder:
        """The order in which a trial of this seed sees the training pairs."""
        return DataOrder(self.portions, seed)


@dataclass
class DataOrder:
    """The endless row of epochs: indices into the training pairs, a function of the seed alone."""

    portions: tuple[Portion, ...]
    seed: int
    _epochs: dict[int, list[int]] = field(default_factory=dict)

    def slice(self, start: int, count: int) -> list[int]:
        """Indices of the pairs at positions ``start`` to ``start + count`` of the endless row."""
        size = sum(portion.per_epoch for portion in self.portions)
        return [self._epoch(position // size)[position % size] for position in range(start, start + count)]

    def _epoch(self, epoch: int) -> list[int]:
        if epoch not in self._epochs:
            import numpy as np  # here, as in all of this room: a look at a sweep asks for fingerprints alone

            draw = generator(self.seed, "data", epoch)
            chosen = [portion.start + draw.permutation(portion.length)[: portion.per_epoch] for portion in self.portions]
            indices = np.concatenate(chosen)
            self._epochs = {known: row for known, row in self._epochs.items() if known >= epoch - 1}
            self._epochs[epoch] = draw.permutation(indices).tolist()
        return self._epochs[epoch]


def split_key(example: PreferenceExample) -> str:
    """The hash by which an example is held out or capped: of its group, or else of its content.

    Neither ids nor labels count: the same pair in two sources, or with its preference turned, falls on the same side. Of media
    in files the file's name counts, of media in memory their content.
    """
    if example.group is not None:
        return hashlib.sha256(json.dumps(["group", example.source, example.group]).encode()).hexdigest()
    media = [media_name(item) for item in example.media]
    history = [[turn.role, turn.text] for turn in example.history]
    texts = sorted(response.text for response in example.responses)
    return hashlib.sha256(json.dumps([history, example.prompt, texts, media]).encode()).hexdigest()


def hold_out(examples: Iterable[tuple[str, PreferenceExample]], count: int) -> set[str]:
    """The keys that are held out: groups by ascending hash while they fit, ``count`` pairs in all where group sizes allow.

    Args:
        examples: every example with its :func:`split_key`.
        count: pairs to hold out.
    """
    sizes: dict[str, int] = {}
    for key, _ in examples:
        sizes[key] = sizes.get(key, 0) + 1
    chosen: set[str] = set()
    left = count
    for key in sorted(sizes):
        if left == 0:
            break
        if sizes[key] <= left:
            chosen.add(key)
            left -= sizes[key]
    return chosen


@dataclass(frozen=True)
class Ingredient:
    """One source as the mixture sees it."""

    name: str
    examples: Sequence[PreferenceExample]
    weight: float
    cap: int | None
    fingerprint: str


@dataclass(frozen=True)
class Recipe:
    """How sources are put together beyond their weights and caps.

    Attributes:
        text_ratio: text pairs for each multimodal pair of an epoch; ``None`` takes what the weights give.
        dedup: which repeated pairs are left out.
        overlaps: the benchmarks whose questions are left out.
    """

    text_ratio: float | None = None
    dedup: Dedup = "none"
    overlaps: Overlaps | None = None


def curate(ingredients: Sequence[Ingredient], recipe: Recipe) -> tuple[list[Ingredient], dict[str, dict[str, int]]]:
    """The ingredients without what the recipe leaves out, and for each source how many pairs that was, by reason."""
    again = repeated({part.name: part.examples for part in ingredients}, recipe.dedup)
    kept, left_out = [], {}
    for part in ingredients:
        reasons: dict[str, int] = {"repeated": len(again[part.name])} if recipe.dedup != "none" else {}
        examples = []
        for index, example in enumerate(part.examples):
            benchmark = recipe.overlaps.of(example) if recipe.overlaps is not None else None
            if benchmark is not None:
                reasons[f"overlap/{benchmark}"] = reasons.get(f"overlap/{benchmark}", 0) + 1
            if index not in again[part.name] and benchmark is None:
                examples.append(example)
        kept.append(replace(part, examples=examples))
        left_out[part.name] = dict(sorted(reasons.items()))
    return kept, left_out


def mix(ingredients: Sequence[Ingredient], held_out: int, recipe: Recipe | None = None) -> TrainingData:
    """Curate, split, cap and weigh the sources.

    Raises:
        DefinitionError: nothing is left to train on, or more pairs are to be held out than there are, or a text ratio is asked for
            where all sources are of one kind.
    """
    rows = {part.name: len(part.examples) for part in ingredients}
    left_out: dict[str, dict[str, int]] = {}
    if recipe is not None:
        ingredients, left_out = curate(ingredients, recipe)
    keyed = {part.name: [(split_key(example), example) for example in part.examples] for part in ingredients}
    check_counts({part.name: len(part.examples) for part in ingredients}, held_out)
    chosen = hold_out((pair for rows in keyed.values() for pair in rows), held_out)
    kept: dict[str, list[int]] = {}
    for part in ingredients:
        free = [(key, index) for index, (key, _) in enumerate(keyed[part.name]) if key not in chosen]
        kept[part.name] = sorted(index for _, index in (sorted(free)[: part.cap] if part.cap is not None else free))
    per_epoch = _per_epoch(ingredients, {name: len(indices) for name, indices in kept.items()}, recipe)
    train: list[PreferenceExample] = []
    portions: list[Portion] = []
    counts: dict[str, dict[str, int]] = {}
    for part in ingredients:
        mine = keyed[part.name]
        portions.append(Portion(part.name, len(train), len(kept[part.name]), per_epoch[part.name]))
        train += [mine[index][1] for index in kept[part.name]]
        counts[part.name] = {
            "rows": rows[part.name],
            "train": len(kept[part.name]),
            "per_epoch": per_epoch[part.name],
            "held_out": sum(key in chosen for key, _ in mine),
            "ties": sum(example.tie for _, example in mine),
            **left_out.get(part.name, {}),
        }
    if sum(per_epoch.values()) == 0:
        raise DefinitionError("no pair is left to train on", found=f"{counts}", allowed="larger sources, weights or caps")
    validation = [row for part in ingredients for row in keyed[part.name] if row[0] in chosen]
    validation.sort(key=lambda row: (row[0], row[1].source or "", row[1].id))
    fingerprint = joint_fingerprint((part.name, part.fingerprint) for part in ingredients)
    return TrainingData(train, [example for _, example in validation], tuple(portions), counts, fingerprint)


def _per_epoch(ingredients: Sequence[Ingredient], sizes: Mapping[str, int], recipe: Recipe | None) -> dict[str, int]:
    """How many pairs of each source an epoch uses."""
    heaviest = max(part.weight for part in ingredients)
    share = {part.name: sizes[part.name] * part.weight / heaviest for part in ingredients}
    if recipe is not None and recipe.text_ratio is not None:
        text = {part.name: not any(example.media for example in part.examples) for part in ingredients}
        totals = [sum(value for name, value in share.items() if text[name] is kind) for kind in (False, True)]
        if 0 in totals:
            kind = "multimodal" if totals[0] == 0 else "text"
            raise DefinitionError(
                "a text ratio needs sources of both kinds", found=f"no {kind} pairs in {', '.join(share)}", allowed="leave it out"
            )
        wanted = recipe.text_ratio * totals[0]
        scale = {False: min(1.0, totals[1] / wanted), True: min(1.0, wanted / totals[1])}
        share = {name: value * scale[text[name]] for name, value in share.items()}
    return {name: round(value) for name, value in share.items()}


def joint_fingerprint(parts: Iterable[tuple[str, str]]) -> str:
    """16 hex digits over the names and contents of the sources."""
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()[:16]


def check_counts(rows: Mapping[str, int], held_out: int) -> None:
    """Whether the sources are large enough.

    Raises:
        DefinitionError: there is no source, no row, or no row beyond those that are held out.
    """
    total = sum(rows.values())
    if not rows:
        raise DefinitionError("the trial has no data source with a weight above 0", allowed="at least one entry in `data.sources`")
    if total <= held_out:
        raise DefinitionError(
            f"{held_out} pairs are to be held out for validation, but the sources hold only {total}",
            found=", ".join(f"{name}: {count}" for name, count in rows.items()),
            allowed=f"validation.items below {total}",
        )
