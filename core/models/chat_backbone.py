"""What all our backbones share: a transformers model in a folder, a chat, rows padded on the right.

A family is one small file: it names its transformers classes and its :class:`~core.models.chat.Dialect`, says how its tiny twin is
shaped, how a medium becomes patches and tokens, and how a batch goes through the model. Everything else is here, so that real
models and twins, and all families, go the same way.

What silently goes wrong with these models, and is refused here instead: a checkpoint of another architecture, weights that are
missing or of another shape, places without pixels, types that disagree with the ids, a boolean 4-D mask.
"""

from __future__ import annotations

import io
import itertools
import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoTokenizer

from core.data.examples import Media, PreferenceExample
from core.data.media import MediaError, refuse
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.backbone import Backbone, Batch, Encoded, Limits, Patches
from core.models.chat import Chat, Dialect, TooLong
from core.models.locate import locate
from core.models.twin import random_model, twin_tokenizer

KINDS = (("image", 1), ("video", 2))
"""Kinds of places with their number in the types of a row; 0 is text."""


class ChatBackbone(Backbone):
    """A transformers model that reads chats; the base of every family.

    A subclass sets the class attributes, and implements :meth:`twin_shape`, :meth:`forward`, :meth:`part` and, where it reads media,
    :meth:`twin_processor`, :meth:`patches` and :meth:`place`.

    Args:
        model: the transformers model without language-model head.
        tokenizer: its tokenizer.
        processor: its Pillow image processor; ``None`` for a model that reads text alone.
        twin: whether this is a tiny twin, whose limits on pixels are its own.
    """

    dialect: ClassVar[Dialect]
    """How the family writes chats."""

    model_class: ClassVar[Any]
    """Its transformers model without language-model head."""

    processor_class: ClassVar[Any] = None
    """Its image processor that needs Pillow alone; ``None`` for a model that reads text alone."""

    other_architecture: ClassVar[Mapping[str, str]] = {}
    """For a ``model_type`` that users are likely to bring instead: how to come from it to this family's."""

    folder: Path | None = None
    """Where the weights came from; ``None`` for a twin that was made here."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, *, twin: bool) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.processor = processor
        self.twin = twin
        self.chat = Chat(tokenizer, self.dialect)
        self.text_config = getattr(model.config, "text_config", None) or model.config
        self.hidden_size = int(self.text_config.hidden_size)

    # -- where it comes from --------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Any:
        """The transformers configuration of the tiny twin of the member ``name``."""

    @classmethod
    def twin_processor(cls) -> Any:
        """The twin's image processor; ``None`` for a model that reads text alone."""
        return None

    @classmethod
    def build(cls, config: TrialConfig) -> Self:
        """The model of a trial on the CPU, in fp32: pretrained, or a twin in a rehearsal.

        Raises:
            EnvironmentFault: the weights are missing or do not fit the architecture.
        """
        if config.rehearsal is not None:
            tokenizer = twin_tokenizer(cls.dialect, config.paradigm.twin_texts())
            shape = cls.twin_shape(config.backbone.name, tokenizer)
            model = random_model(cls.model_class, shape, config.seed, config.execution.attention)
            return cls(model, tokenizer, cls.twin_processor(), twin=True)
        return cls.from_folder(locate(config.backbone), attention=config.execution.attention)

    @classmethod
    def from_folder(cls, folder: Path, *, attention: str, weights: bool = True, twin: bool = False) -> Self:
        """The model of a folder in the hub's layout.

        Args:
            folder: with config.json, tokenizer and preprocessor files and, where ``weights``, ``*.safetensors``.
            attention: the attention implementation.
            weights: read the weights; otherwise they are left random, to be read from elsewhere.
            twin: whether the folder holds a tiny twin.

        Raises:
            EnvironmentFault: another architecture, or a file, a control token or a weight is missing.
        """
        cls._check_architecture(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            processor = None if cls.processor_class is None else cls.processor_class.from_pretrained(str(folder), local_files_only=True)
            if weights:
                model, info = cls.model_class.from_pretrained(
                    str(folder), dtype=torch.float32, attn_implementation=attention, local_files_only=True, output_loading_info=True
                )
            else:
                shape = cls.model_class.config_class.from_pretrained(str(folder), local_files_only=True)
                model, info = cls.model_class._from_config(shape, attn_implementation=attention, dtype=torch.float32), {}
            backbone = cls(model, tokenizer, processor, twin=twin)
        except (OSError, ValueError, RuntimeError) as error:
            raise EnvironmentFault(
                f"the model folder cannot be loaded: {error}",
                found=str(folder),
                allowed=f"a complete {cls.dialect.family} checkpoint with its own tokenizer and preprocessor files",
                next="bring the folder again from where the weights are published",
            ) from error
        lost = sorted([*info.get("missing_keys", ()), *map(str, info.get("mismatched_keys", ()))])
        if lost:
            raise EnvironmentFault(
                f"{len(lost)} weights are missing or of another shape in the model folder",
                found=f"{folder}: {', '.join(lost[:3])}",
                allowed=f"a complete {cls.dialect.family} checkpoint",
            )
        backbone.folder = folder
        return backbone

    @classmethod
    def _check_architecture(cls, folder: Path) -> None:
        """Refuse a folder whose config.json names another architecture; what else is wrong with it is transformers' to say."""
        try:
            found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError):
            return
        wanted = cls.model_class.config_class.model_type
        if found is not None and found != wanted:
            raise EnvironmentFault(
                f"the model folder holds another architecture than {cls.dialect.family}",
                found=f"model_type {found} in {folder / 'config.json'}",
                allowed=f"model_type {wanted}",
                next=cls.other_architecture.get(found, "name the backbone that this checkpoint belongs to: sweep keys backbone"),
            )

    def save(self, folder: Path) -> None:
        """Write configuration, tokenizer and image processor (the hub's layout without weights)."""
        self.model.config.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        if self.processor is not None:
            self.processor.save_pretrained(str(folder))

    def language(self) -> nn.Module:
        """The language model; a model that reads text alone is one."""
        found: nn.Module = getattr(self.model, "language_model", self.model)
        return found

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass."""
        self.model.activation_checkpointing_enable({"use_reentrant": False})

    # -- writing ----------------------------------------------------------------------------------------------------------

    def language_weight(self) -> Tensor | None:
        """A fresh copy of the language-model head's weight ``[vocabulary, hidden]``; ``None`` where it is tied to the embeddings.

        A twin's is random. Where the folder holds no weights they are left empty, to be read from elsewhere.

        Raises:
            EnvironmentFault: the pretrained model has no such weight.
        """
        if bool(getattr(self.model.config, "tie_word_embeddings", False)) or bool(getattr(self.text_config, "tie_word_embeddings", False)):
            return None
        shape = tuple(self.model.get_input_embeddings().weight.shape)
        if self.twin:
            return torch.randn(shape) * 0.1
        if self.folder is None or not any(self.folder.glob("*.safetensors")):
            return torch.zeros(shape)
        return read_language_weight(self.folder)

    def seen(self, batch: Batch) -> dict[str, Any]:
        """What the vision tower sees of a batch, as keywords of the model; nothing for a model that reads text alone."""
        return {}

    def idle(self, batch: Batch) -> list[Tensor]:
        """What the vision tower makes of media that stand in no row; computed before :meth:`seen`, so that all ranks call it in turn."""
        return []

    def axes(self, positions: Tensor) -> Tensor:
        """Positions ``[3, rows, length]`` as the model takes them."""
        return positions[0]

    def read(self, batch: Batch, mask: Tensor, cache: Any) -> Tensor:
        """Hidden states ``[rows, length, hidden]`` of rows that are padded on the left; ``cache`` then holds what was read."""
        hidden: Tensor = self.model(
            input_ids=batch.ids,
            attention_mask=mask,
            position_ids=self.axes(batch.positions),
            past_key_values=cache,
            use_cache=True,
            **self.seen(batch),
        ).last_hidden_state
        return hidden

    def read_on(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Hidden states ``[rows, 1, hidden]`` of one more token per row; ``mask`` covers what was read before, too."""
        hidden: Tensor = self.model(
            input_ids=ids, attention_mask=mask, position_ids=self.axes(positions), past_key_values=cache, use_cache=True
        ).last_hidden_state
        return hidden

    # -- encoding: on the CPU, in loader threads ------------------------------------------------------------------------

    def patches(self, media: Media, limits: Limits) -> Patches:
        """One medium, cut into patches.

        Raises:
            MediaError: it cannot be read, or the family reads no media.
        """
        raise MediaError(f"{self.dialect.family} reads text alone, and the example has an {media.kind}")

    def place(self, patches: Patches) -> list[int]:
        """The ids that stand for one medium: as many places as it has features, and the control tokens around them.

        Raises:
            MediaError: the family reads no media.
        """
        raise MediaError(f"{self.dialect.family} reads text alone")

    def image_recipe(self, limits: Limits) -> dict[str, Any] | None:
        """How an image becomes patches and ids, for an exported model that has none of our code; ``None`` where none is read.

        ``arguments`` of the image processor; ``before``, ``place`` and ``after``: tokens; ``text`` behind them. The number of places is
        the grid's over ``merge`` squared, or ``features`` for each tile.
        """
        return None

    def positions(self, ids: NDArray[np.int64], types: NDArray[np.int64], media: Sequence[Patches]) -> NDArray[np.int64]:
        """``[3, length]``: positions in time, height and width; all three count tokens unless a family says otherwise."""
        return np.broadcast_to(np.arange(len(ids)), (3, len(ids)))

    def encode(self, example: PreferenceExample, responses: Sequence[int], limits: Limits, template: str | None) -> Encoded:
        """See :meth:`Backbone.encode`."""
        return self.compose(example, [self.chat.response(example.responses[index].text) for index in responses], limits, template)

    def compose(
        self,
        example: PreferenceExample,
        texts: Sequence[Sequence[int]],
        limits: Limits,
        template: str | None,
        *,
        shown: Sequence[int] = (),
        written: Sequence[int] = (),
    ) -> Encoded:
        """A prompt and what follows it, as :meth:`encode`, for paradigms that write.

        Args:
            example: the preference.
            texts: ids of what follows the prompt, a row each; an empty one leaves the model to write.
            limits: see :meth:`encode`.
            template: text around the prompt.
            shown: responses that stand in the prompt (see :meth:`Chat.prompt`).
            written: see :attr:`Encoded.written`.

        Raises:
            TrialFailed: see :meth:`encode`.
        """
        try:
            media = tuple(self.patches(item, limits) for item in example.media)
        except MediaError as error:
            raise refuse(example, error) from error
        longest = max(map(len, texts))
        places = [(item.kind, self.place(patches)) for item, patches in zip(example.media, media, strict=True)]
        try:
            ids = np.array(self.chat.prompt(example, template, places, limits.max_length - longest, shown), dtype=np.int64)
        except TooLong as error:
            raise refuse_length(example, error, longest, limits.max_length) from error
        types = np.zeros_like(ids)
        for kind, number in KINDS:
            if f"{kind}_pad" in self.chat.control:
                types[ids == self.chat.control[f"{kind}_pad"]] = number
        positions = self.positions(ids, types, media)
        return Encoded(ids, types, positions, tuple(np.array(text, dtype=np.int64) for text in texts), media, tuple(written))

    def blank(self, kind: str) -> Patches:
        """The smallest medium that the vision tower takes, for a batch that has none and must make the same calls as others."""
        picture = io.BytesIO()
        Image.new("RGB", (56, 56)).save(picture, "PNG")
        limits = Limits(max_length=0, min_pixels=28 * 28, max_pixels=56 * 56)
        patches = self.patches(Media("image", data=picture.getvalue()), limits)
        return replace(patches, kind="video" if kind == "video" else "image")

    def collate(self, examples: Sequence[Encoded], towers: Collection[str] = ()) -> Batch:
        """See :meth:`Backbone.collate`."""
        lengths = [len(item.prompt) + len(answer) for item in examples for answer in item.responses]
        rows, longest = len(lengths), max(lengths)
        ids = np.full((rows, longest), self.tokenizer.pad_token_id, dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        positions = np.zeros((3, rows, longest), dtype=np.int64)
        starts, ends = [], []
        written: list[int] = []
        uses: dict[str, list[int]] = {"image": [], "video": []}
        seen = {"image": 0, "video": 0}
        row = 0
        for item in examples:
            start = len(item.prompt)
            following = int(item.positions.max()) + 1
            for answer in item.responses:
                end = start + len(answer)
                ids[row, :start], ids[row, start:end] = item.prompt, answer
                types[row, :start] = item.types
                mask[row, :end] = 1
                positions[:, row, :start] = item.positions
                positions[:, row, start:end] = np.arange(following, following + len(answer))
                starts.append(start)
                ends.append(end)
                count = dict(seen)
                for medium in item.media:
                    uses[medium.kind].append(count[medium.kind])
                    count[medium.kind] += 1
                row += 1
            written += item.written or [0] * len(item.responses)
            for medium in item.media:
                seen[medium.kind] += 1
        images, image_grid = self._media(examples, "image", towers)
        videos, video_grid = self._media(examples, "video", towers)
        batch = Batch(
            ids=torch.from_numpy(ids),
            types=torch.from_numpy(types),
            mask=torch.from_numpy(mask),
            positions=torch.from_numpy(positions),
            response_start=torch.tensor(starts),
            response_end=torch.tensor(ends),
            written=torch.tensor(written),
            images=images,
            image_grid=image_grid,
            image_use=tuple(uses["image"]),
            videos=videos,
            video_grid=video_grid,
            video_use=tuple(uses["video"]),
            responses=tuple(len(item.responses) for item in examples),
            tokens=sum(item.tokens for item in examples),
        )
        self.check(batch)
        return batch

    def _media(self, examples: Sequence[Encoded], kind: str, towers: Collection[str]) -> tuple[Tensor | None, Tensor | None]:
        """Pixels and grids of all media of one kind, each once."""
        found = [item for item in itertools.chain.from_iterable(example.media for example in examples) if item.kind == kind]
        if not found and kind in towers:
            found = [self.blank(kind)]
        if not found:
            return None, None
        return torch.from_numpy(np.concatenate([item.pixels for item in found])), torch.tensor([item.grid for item in found])

    def check(self, batch: Batch) -> None:
        """Refuse a batch from which the model would silently compute something else.

        Raises:
            ValueError: types and ids disagree, places have no pixels, or the mask has another shape than the ids.
        """
        if batch.mask.shape != batch.ids.shape:
            raise ValueError(
                f"the mask is {list(batch.mask.shape)}: eager attention would add a boolean 4-D mask as 0 and 1; "
                f"pass [rows, length] = {list(batch.ids.shape)}"
            )
        if batch.types is None or batch.types.shape != batch.ids.shape:
            raise ValueError("token types are missing: images would silently get one-dimensional positions")
        for kind, number in KINDS:
            pixels, use = (batch.images, batch.image_use) if kind == "image" else (batch.videos, batch.video_use)
            places = batch.types == number
            if f"{kind}_pad" in self.chat.control and not torch.equal(places, batch.ids == self.chat.control[f"{kind}_pad"]):
                raise ValueError(f"token types and {kind} places disagree")
            if bool(places.any()) != bool(use) or (use and pixels is None):
                raise ValueError(f"the rows have {kind} places but no {kind} reaches the model, or the other way round")


def refuse_length(example: PreferenceExample, error: Exception, response: int, limit: int) -> TrialFailed:
    """The failure for an example whose response and media do not fit: a response is never cut."""
    origin = example.origin or example.id
    return TrialFailed(
        "data_error",
        f"{origin}: does not fit into max_length {limit}: a response has {response} tokens; {error}. "
        "A response is never cut: raise train.max_length, or take the row out",
    )


def read_language_weight(folder: Path) -> Tensor:
    """``lm_head.weight`` of a folder in the hub's layout.

    Raises:
        EnvironmentFault: no file holds it.
    """
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                if name.rsplit(".", 2)[-2:] == ["lm_head", "weight"]:
                    weight: Tensor = weights.get_tensor(name).float()
                    return weight
    raise EnvironmentFault(
        "the model folder has no language-model head, and its embeddings are not tied to one",
        found=f"{folder} without lm_head.weight",
        allowed="a model that writes, for paradigms that write; or paradigm: naive",
    )
