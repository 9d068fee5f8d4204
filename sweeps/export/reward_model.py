"""Scores responses with the reward model in this folder. It needs torch, transformers, safetensors and Pillow, nothing else.

>>> from reward_model import RewardModel
>>> model = RewardModel()                                       # the folder of this file
>>> model.score("What colour is it?", ["It is red.", "It is blue."], images=["shape.png"])
[1.73, -2.05]

A higher reward is a better response; rewards of different prompts are not comparable. Images stand before the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import nn

Picture = tuple[list[int], dict[str, torch.Tensor]]
"""The ids that stand for an image, and what the model takes of it."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU}


class RewardModel:
    """The model on one device; ``about`` is reward_config.json."""

    def __init__(self, folder: str | Path = Path(__file__).parent, device: str = "cpu") -> None:
        folder = Path(folder)
        self.about: dict[str, Any] = json.loads((folder / "reward_config.json").read_text(encoding="utf-8"))
        about = self.about
        self.device = torch.device(device)
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self.processor: Any = getattr(transformers, about["processor"]).from_pretrained(folder) if about["image"] else None
        model = getattr(transformers, about["model"]).from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval().to(self.device)
        weights = load_file(folder / "reward_head.safetensors")
        layers: list[nn.Module] = []
        for index in range(about["head"]["layers"]):
            if index > 0:  # the head was trained with dropout in the second place, which does nothing here
                layers += [ACTIVATIONS[about["head"]["activation"]](), nn.Identity()]
            weight = weights[f"layers.{len(layers)}.weight"]
            layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
        self.head = nn.Sequential(*layers).to(self.device).eval()
        self.head.load_state_dict({name.removeprefix("layers."): value for name, value in weights.items()})

    @torch.no_grad()
    def score(self, prompt: str, responses: Sequence[str], images: Sequence[Any] = (), system: str | None = None) -> list[float]:
        """One reward per response; images are paths or PIL images."""
        pictures = [self._image(image) for image in images]
        prompt_ids = self._prompt(prompt, pictures, system)
        return [self._reward(prompt_ids, self._text(response) + self._ids(self.about["end"]), pictures) for response in responses]

    def _reward(self, prompt: list[int], response: list[int], pictures: list[Picture]) -> float:
        if len(prompt) + len(response) > self.about["max_length"]:
            raise ValueError(f"{len(prompt) + len(response)} tokens are more than the {self.about['max_length']} of training")
        ids = torch.tensor([prompt + response], device=self.device)
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        for name in pictures[0][1] if pictures else ():
            inputs[name] = torch.cat([values[name] for _, values in pictures]).to(self.device)
        if "image_grid_thw" in inputs:
            inputs["mm_token_type_ids"] = (ids == self._ids(self.about["image"]["place"])[0]).long()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.about["dtype"] == "bf16"):
            hidden = self.model(**inputs).last_hidden_state[0]
        features = hidden[-1] if self.about["pooling"] == "last" else hidden[len(prompt) :].float().mean(0)
        return float(self.head(features.float()))

    def _prompt(self, prompt: str, pictures: list[Picture], system: str | None) -> list[int]:
        if self.about["template"] is not None:
            prompt = self.about["template"].replace("{prompt}", prompt)
        system = self.about["system"] if system is None else system
        before = [] if system is None else self._turn("system", self._text(system))
        content = [id for ids, _ in pictures for id in ids] + self._text(prompt)
        return before + self._turn("user", content) + self._ids(self.about["start"]) + self._text("assistant\n")

    def _turn(self, role: str, content: list[int]) -> list[int]:
        about = self.about
        return self._ids(about["start"]) + self._text(role + "\n") + content + self._ids(about["end"]) + self._text("\n")

    def _image(self, image: Any) -> Picture:
        recipe = self.about["image"]
        if recipe is None:
            raise ValueError("this model reads text alone")
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        values = self.processor(images=[opened.convert("RGB")], return_tensors="pt", **recipe["arguments"])
        if "image_grid_thw" in values:
            places = int(values["image_grid_thw"].prod()) // recipe["merge"] ** 2
        else:
            places = len(values["pixel_values"]) * recipe["features"]
        ids = self._ids(recipe["before"]) + self._ids(recipe["place"]) * places + self._ids(recipe["after"]) + self._text(recipe["text"])
        return ids, {name: values[name] for name in ("pixel_values", "image_grid_thw") if name in values}

    def _ids(self, token: str) -> list[int]:
        return [self.tokenizer.convert_tokens_to_ids(token)]

    def _text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids
