"""Scores responses with the reward model in this folder. It needs torch, transformers, safetensors and Pillow, nothing else.

>>> from reward_model import RewardModel
>>> model = RewardModel()                                       # the folder of this file
>>> model.score("What colour is it?", ["It is red.", "It is blue."], images=["shape.png"])
[1.73, -2.05]

A higher reward is a better response; rewards of different prompts are not comparable. Images stand before the prompt. ``paradigm`` in
reward_config.json says how a reward is read: ``naive`` at the end of the response, ``critic`` behind a critique that the model writes
first (``model.critique``), ``generative`` and ``generative_cot`` from what it writes about two responses (``model.compare``): there the
reward of a response is the share of its comparisons that it wins, each pair shown in both orders. What is written is greedy.
"""

from __future__ import annotations

import itertools
import json
import re
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
        self.head = self._head(folder).to(self.device).eval() if about["head"] else None
        self.words: torch.Tensor | None = None
        if about["writes"]:
            file = folder / "language_head.safetensors"
            words = load_file(file)["weight"] if file.exists() else self.model.get_input_embeddings().weight
            self.words = words.detach().float().to(self.device)

    def _head(self, folder: Path) -> nn.Sequential:
        about, weights = self.about["head"], load_file(folder / "reward_head.safetensors")
        layers: list[nn.Module] = []
        for index in range(about["layers"]):
            if index > 0:  # the head was trained with dropout in the second place, which does nothing here
                layers += [ACTIVATIONS[about["activation"]](), nn.Identity()]
            weight = weights[f"layers.{len(layers)}.weight"]
            layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
        head = nn.Sequential(*layers)
        head.load_state_dict({name.removeprefix("layers."): value for name, value in weights.items()})
        return head

    @torch.no_grad()
    def score(
        self, prompt: str, responses: Sequence[str], images: Sequence[Any] = (), system: str | None = None
    ) -> list[float] | list[float | None]:
        """One reward per response; images are paths or PIL images. ``None``: no text about the response named a winner."""
        pictures = [self._image(image) for image in images]
        if self.about["paradigm"].startswith("generative"):
            return self._shares(prompt, responses, pictures, system)
        start = self._prompt([prompt], pictures, system)
        rewards = []
        for response in responses:
            ids = self._text(response) + self._ids(self.about["end"])
            if self.about["paradigm"] == "critic":
                ids += self._request()
                ids += self._write(start + ids, pictures) + self._ids(self.about["end"])
            rewards.append(self._reward(start, ids, pictures))
        return rewards

    @torch.no_grad()
    def critique(self, prompt: str, response: str, images: Sequence[Any] = (), system: str | None = None) -> str:
        """What the model writes about a response (paradigm ``critic``)."""
        pictures = [self._image(image) for image in images]
        ids = self._text(response) + self._ids(self.about["end"]) + self._request()
        return str(self.tokenizer.decode(self._write(self._prompt([prompt], pictures, system) + ids, pictures)))

    @torch.no_grad()
    def compare(
        self, prompt: str, first: str, second: str, images: Sequence[Any] = (), system: str | None = None
    ) -> list[tuple[int | None, str]]:
        """The winner (0 or 1; ``None``: the text names none) and the text, with the first response shown first and then second."""
        return self._compared(prompt, (first, second), [self._image(image) for image in images], system)

    def _compared(self, prompt: str, pair: Sequence[str], pictures: list[Picture], system: str | None) -> list[tuple[int | None, str]]:
        out: list[tuple[int | None, str]] = []
        for order in (0, 1):
            places = {"{prompt}": prompt, "{response_1}": pair[order], "{response_2}": pair[1 - order]}
            parts = re.split(r"(\{prompt\}|\{response_[12]\})", self.about["template"])
            ids = self._prompt([places.get(part, part) for part in parts], pictures, system)
            text = str(self.tokenizer.decode(self._write(ids, pictures)))
            answers = re.findall(self.about["answer"], text)
            out.append(((int(answers[-1]) - 1 + order) % 2 if answers else None, text))
        return out

    def _shares(self, prompt: str, responses: Sequence[str], pictures: list[Picture], system: str | None) -> list[float | None]:
        won: list[list[bool]] = [[] for _ in responses]
        for pair in itertools.combinations(range(len(responses)), 2):
            for winner, _ in self._compared(prompt, [responses[index] for index in pair], pictures, system):
                if winner is not None:
                    for place, index in enumerate(pair):
                        won[index].append(winner == place)
        return [sum(found) / len(found) if found else None for found in won]

    def _inputs(self, ids: list[int], pictures: list[Picture]) -> dict[str, Any]:
        rows = torch.tensor([ids], device=self.device)
        inputs: dict[str, Any] = {"input_ids": rows}
        for name in pictures[0][1] if pictures else ():
            inputs[name] = torch.cat([values[name] for _, values in pictures]).to(self.device)
        if "image_grid_thw" in inputs:
            inputs["mm_token_type_ids"] = (rows == self._ids(self.about["image"]["place"])[0]).long()
        return inputs

    def _read(self, **inputs: Any) -> Any:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.about["dtype"] == "bf16"):
            return self.model(**inputs)

    def _reward(self, prompt: list[int], response: list[int], pictures: list[Picture]) -> float:
        if len(prompt) + len(response) > self.about["max_length"]:
            raise ValueError(f"{len(prompt) + len(response)} tokens are more than the {self.about['max_length']} of training")
        assert self.head is not None
        hidden = self._read(**self._inputs(prompt + response, pictures), use_cache=False).last_hidden_state[0]
        features = hidden[-1] if self.about["pooling"] == "last" else hidden[len(prompt) :].float().mean(0)
        return float(self.head(features.float()))

    def _write(self, ids: list[int], pictures: list[Picture]) -> list[int]:
        """The likeliest continuation up to the end of the turn, which is left out."""
        most = self.about["max_new_tokens"]
        if len(ids) + most > self.about["max_length"]:
            raise ValueError(f"{len(ids)} tokens and {most} to be written are more than the {self.about['max_length']} of training")
        assert self.words is not None
        end = self._ids(self.about["end"])[0]
        written: list[int] = []
        found = self._read(**self._inputs(ids, pictures), use_cache=True)
        while True:
            token = int((self.words @ found.last_hidden_state[0, -1].float()).argmax())
            if token == end:
                return written
            written.append(token)
            if len(written) == most:
                return written
            found = self._read(input_ids=torch.tensor([[token]], device=self.device), past_key_values=found.past_key_values, use_cache=True)

    def _prompt(self, parts: Sequence[str], pictures: list[Picture], system: str | None) -> list[int]:
        if self.about["paradigm"] == "naive" and self.about["template"] is not None:
            parts = [self.about["template"].replace("{prompt}", parts[0])]
        system = self.about["system"] if system is None else system
        before = [] if system is None else self._turn("system", self._text(system))
        content = [id for ids, _ in pictures for id in ids] + [id for part in parts if part for id in self._text(part)]
        return before + self._turn("user", content) + self._ids(self.about["start"]) + self._text("assistant\n")

    def _request(self) -> list[int]:
        """The turn that asks for a critique, up to where it begins."""
        user = self._turn("user", self._text(self.about["template"]))
        return self._text("\n") + user + self._ids(self.about["start"]) + self._text("assistant\n")

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
