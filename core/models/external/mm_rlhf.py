"""MM-RLHF-Reward (arXiv 2502.10391), ``yifanzhang114/MM-RLHF-Reward-7B-llava-ov-qwen`` on the hub: a critique, then a reward behind it.

The checkpoint is LLaVA-OneVision's own layout (``model_type: llava_qwen``) with a head: two linear layers with tanh between them, read at
the last token. Prompt, chat (``qwen_1_5``), greedy critique of at most 4,096 tokens and the second pass over prompt and critique follow
``llava/eval/eval_mm_reward_bench.py`` and ``llava/model/language_model/llava_qwen.py`` of github.com/Kwai-YuanQi/MM-RLHF. Here the model is
transformers' own LLaVA-OneVision; names of weights are translated as in its ``convert_llava_onevision_weights_to_hf.py``. The frames of a
video are pooled in both passes (that script forgets to say in the second one that they are a video).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, LlavaOnevisionImageProcessorPil

from core.data.examples import PreferenceExample
from core.data.media import MediaError, load_frames, load_image, refuse
from core.data.streams import stream_seed
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.chat import SYSTEM, TURNS, Dialect
from core.models.chat_backbone import refuse_length
from core.models.config import PROMPTS
from core.models.external.base import ExternalModel, new_tokens, question
from core.models.judgement import Judgement, Sampling
from core.models.twin import VISION_WIDTH, random_model, text_shape, twin_tokenizer

TEMPLATE = PROMPTS / "mm_rlhf_reward.txt"
DIALECT = Dialect("LLaVA-OneVision", SYSTEM, TURNS)

EYE: Mapping[str, Any] = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
"""The vision tower that the checkpoint names (SigLIP so400m, without its last layer); a twin's own stands in its config.json."""

TEXT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
)  # fmt: skip
"""Fields of the checkpoint's config.json that are those of its language model."""

NAMES = (
    (r"model\.vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?", "model.vision_tower."),
    (r"model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
)
"""How names of the checkpoint's weights begin, and how transformers calls them."""

SIDE = 6
"""An image is cut into at most 6 x 6 tiles (``image_grid_pinpoints`` of the checkpoint: ``(1x1),...,(6x6)``)."""


class RewardHead(nn.Module):
    """Hidden states to rewards; the dropout of the public code does nothing at scoring."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """``[...]`` of ``[..., hidden]``."""
        rewards: Tensor = self.out_proj(torch.tanh(self.dense(hidden.float()))).squeeze(-1)
        return rewards


class MMRLHFReward(ExternalModel):
    """The model, its head and what makes images and texts of an example into embeddings."""

    def __init__(self, model: Any, head: RewardHead, tokenizer: Any, config: TrialConfig) -> None:
        self.model = model
        self.head = head
        self.tokenizer = tokenizer
        self.config = config
        self.template = TEMPLATE.read_text(encoding="utf-8")
        self.most = new_tokens(config)
        tile = int(model.config.vision_config.image_size)
        self.processor = LlavaOnevisionImageProcessorPil(
            size={"height": tile, "width": tile},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
            image_grid_pinpoints=model.config.image_grid_pinpoints,
        )
        self.ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]

    @classmethod
    def load(cls, folder: Path, config: TrialConfig, device: str) -> Self:
        """See :meth:`ExternalModel.load`."""
        try:
            about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if about.get("model_type") != "llava_qwen":
                raise EnvironmentFault(
                    "the model folder holds another architecture than MM-RLHF-Reward",
                    found=f"model_type {about.get('model_type')} in {folder / 'config.json'}",
                    allowed="model_type llava_qwen: LLaVA-OneVision's own layout",
                )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = LlavaOnevisionForConditionalGeneration._from_config(shape_of(about), dtype=torch.float32)
            head = RewardHead(int(about["hidden_size"]))
            lost = load_weights(folder, model, head)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EnvironmentFault(f"the model folder cannot be loaded: {error}", found=str(folder)) from error
        if lost:
            raise EnvironmentFault(
                f"{len(lost)} weights are missing in the model folder",
                found=f"{folder}: {', '.join(lost[:3])}",
                allowed="a complete MM-RLHF-Reward checkpoint, with the vision tower and rm_head",
            )
        if device == "cuda":
            model = model.to(torch.bfloat16)
        return cls(model.to(device).eval(), head.to(device).eval(), tokenizer, config)

    @classmethod
    def write_twin(cls, folder: Path, config: TrialConfig) -> None:
        """See :meth:`ExternalModel.write_twin`."""
        tokenizer = twin_tokenizer(DIALECT, [TEMPLATE.read_text(encoding="utf-8")])
        text = text_shape(32, tokenizer)
        eye = {**EYE, "hidden_size": VISION_WIDTH, "intermediate_size": 2 * VISION_WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
        about = {"model_type": "llava_qwen", **text, "vision_config": {**eye, "image_size": 56}, "tiles": 2}
        (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
        tokenizer.save_pretrained(str(folder))
        model = random_model(LlavaOnevisionForConditionalGeneration, shape_of(about), config.seed, "sdpa")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "head"))
            head = RewardHead(text["hidden_size"])
        state = {public_name(name): value.contiguous() for name, value in model.state_dict().items()}
        state |= {f"rm_head.{name}": value for name, value in head.state_dict().items()}
        save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})

    @torch.no_grad()
    def judge(
        self,
        examples: Sequence[PreferenceExample],
        *,
        batch: int = 16,
        max_pixels: int | None = None,
        frames: int | None = None,
        sampling: Sampling | None = None,
    ) -> list[list[Judgement]]:
        """A critique of each response per vote, and the reward behind it, one at a time as in the public script."""
        sampling = sampling or Sampling()
        return [self._judged(example, frames or self.config.backbone.frames, sampling) for example in examples]

    def _judged(self, example: PreferenceExample, frames: int, sampling: Sampling) -> list[Judgement]:
        try:
            seen = self.features(example, frames)
        except MediaError as error:
            raise refuse(example, error) from error
        verdicts = []
        for sample in range(sampling.votes):
            texts, scores = [], []
            for index, response in enumerate(example.responses):
                asked = self.asked(example, response.text, seen)
                if asked.shape[1] + self.most > self.config.train.max_length:
                    why = ValueError(f"with its prompt {asked.shape[1]}, and {self.most} for the critique")
                    raise refuse_length(example, why, len(self.words(response.text)), self.config.train.max_length)
                texts.append(self.write(asked, sampling, (example.digest(), index, sample)))
                scores.append(self.reward(asked, texts[-1]))
            if not all(map(math.isfinite, scores)):
                raise TrialFailed("nan_loss", f"{example.origin or example.id}: the model's scores are {scores}")
            verdicts.append(Judgement(tuple(range(len(texts))), tuple(scores), tuple(texts), sample=sample))
        return verdicts

    def features(self, example: PreferenceExample, frames: int) -> list[Tensor]:
        """What the vision tower hands to the language model, ``[features, hidden]`` of each medium.

        A single image is cut into tiles; several are one tile each; the frames of a video are pooled two by two.
        """
        images = [load_image(media) for media in example.media if media.kind == "image"]
        out: list[Tensor] = []
        if images:
            values = self.processor(images=[images] if len(images) > 1 else images, return_tensors="pt")
            counts = torch.tensor([len(images)]) if len(images) > 1 else None
            pixels = values["pixel_values"].to(self.model.device, self.model.dtype)
            found = self.model.model.get_image_features(pixels, values["image_sizes"], batch_num_images=counts, return_dict=True)
            out += list(found.pooler_output)
        for media in example.media:
            if media.kind == "video":
                pictures = load_frames(media, frames)
                one = self.processor(images=[pictures] if len(pictures) > 1 else [square(pictures[0])], return_tensors="pt")["pixel_values"]
                tiles = one.to(self.model.device, self.model.dtype)[:, 0][None]
                out.append(self.model.model.get_video_features(tiles, return_dict=True).pooler_output[0])
        return out

    def words(self, text: str) -> list[int]:
        """Ids of a text; control tokens in it are those of the chat."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def embedded(self, text: str) -> Tensor:
        """Embeddings ``[1, tokens, hidden]`` of a text."""
        ids = torch.tensor([self.words(text)], device=self.model.device, dtype=torch.long)
        found: Tensor = self.model.get_input_embeddings()(ids)
        return found

    def asked(self, example: PreferenceExample, response: str, seen: Sequence[Tensor]) -> Tensor:
        """Embeddings ``[1, tokens, hidden]`` of the chat up to where the critique begins; media stand before the question."""
        prompt = re.sub(r"\{prompt\}|\{response\}", lambda found: question(example) if found[0] == "{prompt}" else response, self.template)
        parts = [self.embedded(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n")]
        for feature in seen:
            parts += [feature[None], self.embedded("\n")]
        return torch.cat([*parts, self.embedded(f"{prompt}<|im_end|>\n<|im_start|>assistant\n")], 1)

    def write(self, asked: Tensor, sampling: Sampling, about: tuple[object, ...]) -> str:
        """The critique: greedy, or drawn at the temperature where several are asked for."""
        drawn = {"do_sample": True, "temperature": sampling.temperature} if sampling.votes > 1 else {"do_sample": False}
        with torch.random.fork_rng(devices=[asked.device] if asked.is_cuda else []):
            torch.manual_seed(stream_seed(sampling.seed, "sampling", *map(str, about)))
            ids = self.model.generate(
                inputs_embeds=asked,
                attention_mask=torch.ones(asked.shape[:2], device=asked.device, dtype=torch.long),
                max_new_tokens=self.most,
                eos_token_id=self.ends,
                pad_token_id=self.ends[-1],
                **drawn,
            )
        return str(self.tokenizer.decode(ids[0], skip_special_tokens=True)).strip()

    def reward(self, asked: Tensor, critique: str) -> float:
        """What the head reads at the last token of the chat with the critique in it."""
        said = torch.cat([asked, self.embedded(f"{critique}<|im_end|>\n")], 1) if critique else asked
        hidden = self.model.model.language_model(inputs_embeds=said, use_cache=False).last_hidden_state
        return float(self.head(hidden[0, -1]))


def square(picture: Image.Image) -> Image.Image:
    """A picture on a grey square, as frames are padded."""
    side = max(picture.size)
    out = Image.new("RGB", (side, side), (127, 127, 127))
    out.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return out


def shape_of(about: Mapping[str, Any]) -> LlavaOnevisionConfig:
    """transformers' configuration of a checkpoint's config.json."""
    eye = dict(about.get("vision_config") or EYE)
    tile, side = eye["image_size"], int(about.get("tiles", SIDE))
    grid = [[tile * rows, tile * columns] for rows in range(1, side + 1) for columns in range(1, side + 1)]
    text = {name: about[name] for name in TEXT if name in about}
    return LlavaOnevisionConfig(text_config={"model_type": "qwen2", **text}, vision_config=eye, image_grid_pinpoints=grid)


def own_name(name: str) -> str:
    """What transformers calls a weight of the checkpoint."""
    for public, own in NAMES:
        found, count = re.subn(f"^{public}", own, name)
        if count:
            return found
    return name


def public_name(name: str) -> str:
    """What the checkpoint calls a weight of transformers' model."""
    for own, public in (
        ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
        ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
        ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("model.language_model.", "model."),
    ):
        if name.startswith(own):
            return public + name.removeprefix(own)
    return name


def weights_of(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All weights of a folder's files, one at a time."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                yield name, weights.get_tensor(name)


def load_weights(folder: Path, model: nn.Module, head: nn.Module) -> list[str]:
    """Fill model and head from the checkpoint's files; the names of weights that no file holds."""
    places = {**model.state_dict(), **{f"rm_head.{name}": value for name, value in head.state_dict().items()}}
    missing = set(places)
    for name, value in weights_of(folder):
        target = places.get(own_name(name))
        if target is not None:  # the last layer of the vision tower, its head and constants have no place
            target.copy_(value)
            missing.discard(own_name(name))
    if getattr(model.config, "tie_word_embeddings", False):
        missing.discard("lm_head.weight")
    return sorted(missing)
