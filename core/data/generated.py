"""Image preferences whose right answer can only be read off the image.

Every picture shows one coloured shape on a noisy background. The question asks for one property of it; the chosen answer
names the property that is shown and the rejected answer another one. Examples come in *couples*: the same question and the
same two answers over two pictures, each of which makes the other answer right. So every (question, answer A, answer B) occurs
as often with A chosen as with B chosen, and whatever reads only text, the length of an answer included, is right in exactly
half of the couples' examples.

The names of the values of one property differ in length, so that the longer answer is never a tie. The control
``labels="shuffled"`` turns the preference of half of the examples, ``images="blank"`` paints every picture grey: both must
leave a learner at chance.

For backbones that read text alone, ``images="told"`` puts a sentence that tells the property in front of the question instead of a
picture: what reads only question and answers is still right in half of the couples' examples.

The two splits (``train`` and ``benchmark``) draw from different random streams; the noise in each picture makes all pictures
different.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from core.data.config import GeneratedImagesConfig, GeneratedTextConfig
from core.data.examples import Media, PreferenceExample, PreferenceLabel, pair
from core.data.streams import generator

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

VERSION = 1
"""Part of the fingerprint: raised whenever the same arguments would yield other examples."""

SIDE = 56
"""Width and height of a picture in pixels."""

COLOURS = {"red": (220, 40, 40), "blue": (40, 70, 220), "green": (40, 180, 70), "yellow": (235, 210, 40)}
"""The property that is asked for; no two names have the same length."""

SHAPES = ("square", "disc", "triangle")

QUESTIONS = (
    ("What colour is the shape in the picture?", "The shape is {}."),
    ("Which colour do you see?", "I see {}."),
    ("Name the colour of the object.", "It is {}."),
    ("Tell me the colour shown here.", "The colour shown is {}."),
)
"""Templates of question and answer."""


def generate_pairs(
    count: int,
    seed: int,
    *,
    split: Literal["train", "benchmark"] | str,
    images: Literal["shown", "blank", "told"] = "shown",
    labels: Literal["true", "shuffled"] = "true",
    groups: Sequence[str] = (),
) -> list[PreferenceExample]:
    """Generate ``count`` preferences; the first ones of a larger count are those of a smaller one.

    Args:
        count: number of preferences; an even count is exactly balanced.
        seed: seed of the generator.
        split: names the random stream: different splits share no picture.
        images: ``blank`` hides the content of the pictures; ``told`` tells it in words instead.
        labels: ``shuffled`` turns the preference of a random half of the examples.
        groups: prefixes of the ids (``GROUP-...``), cycling couple by couple.
    """
    examples: list[PreferenceExample] = []
    for couple in range((count + 1) // 2):
        examples.extend(_couple(couple, seed, split, images, labels, groups[couple % len(groups)] if groups else None))
    return examples[:count]


def _couple(index: int, seed: int, split: str, images: str, labels: str, group: str | None) -> tuple[PreferenceExample, PreferenceExample]:
    """Two examples over the same question and answers, whose preferences are opposite."""
    draw = generator(seed, "generated", VERSION, split, index)
    first, second = (str(name) for name in draw.permutation(list(COLOURS))[:2])
    question, answer = QUESTIONS[int(draw.integers(len(QUESTIONS)))]
    turned = draw.permutation(2) if labels == "shuffled" else (0, 0)
    name = f"{split}-{seed}-{index:06d}"

    def example(shown: str, other: str, suffix: str, turn: bool) -> PreferenceExample:
        told = images == "told"
        pictures = [] if told else [blank() if images == "blank" else draw_picture(shown, draw)]
        made = pair(
            id=(f"{group}-" if group else "") + name + suffix,
            prompt=f"The picture is {shown}. {question}" if told else question,
            chosen=answer.format(shown),
            rejected=answer.format(other),
            media=[Media("image", data=picture) for picture in pictures],
            source="generated_text" if told else "generated_images",
            category=group,
        )
        if turn:
            made = replace(made, responses=made.responses[::-1], label=PreferenceLabel((0, 1)))
        return replace(made, group=name, origin=f"generated {'text' if told else 'images'}, {name}{suffix}")

    return example(first, second, "a", bool(turned[0])), example(second, first, "b", bool(turned[1]))


def draw_picture(colour: str, draw: np.random.Generator) -> bytes:
    """A PNG of one shape of this colour; shape, place, size, background and noise are random."""
    import numpy as np
    from PIL import Image, ImageDraw

    grey = int(draw.integers(90, 166))
    canvas = Image.new("RGB", (SIDE, SIDE), (grey, grey, grey))
    size = int(draw.integers(30, 45))
    left, top = (int(value) for value in draw.integers(2, SIDE - size - 1, 2))
    box = (left, top, left + size, top + size)
    pen = ImageDraw.Draw(canvas)
    shape = SHAPES[int(draw.integers(len(SHAPES)))]
    fill = COLOURS[colour]
    if shape == "square":
        pen.rectangle(box, fill=fill)
    elif shape == "disc":
        pen.ellipse(box, fill=fill)
    else:
        pen.polygon([(left, top + size), (left + size, top + size), (left + size // 2, top)], fill=fill)
    noise = draw.normal(0.0, 8.0, (SIDE, SIDE, 3))
    pixels = np.clip(np.asarray(canvas, dtype=np.float64) + noise, 0, 255).astype(np.uint8)
    return encode_png(Image.fromarray(pixels))


def blank() -> bytes:
    """The PNG of a grey picture."""
    from PIL import Image

    return encode_png(Image.new("RGB", (SIDE, SIDE), (128, 128, 128)))


def encode_png(image: Image.Image) -> bytes:
    """The image as PNG (lightly compressed: these pictures live only in memory)."""
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=1)
    return out.getvalue()


class GeneratedPreferences:
    """The sources ``generated_images`` and ``generated_text``."""

    def __init__(self, name: str, config: GeneratedImagesConfig | GeneratedTextConfig) -> None:
        self.name = name
        self.config = config

    @property
    def count(self) -> int:
        """Number of pairs."""
        return self.config.pairs

    def fingerprint(self) -> str:
        """Hash of everything that decides the content."""
        config = self.config
        images = config.images if isinstance(config, GeneratedImagesConfig) else "told"
        text = json.dumps(["generated_images", VERSION, config.pairs, config.seed, config.labels, images])
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Nothing can be missing."""

    def __iter__(self) -> Iterator[PreferenceExample]:
        config = self.config
        images = config.images if isinstance(config, GeneratedImagesConfig) else "told"
        yield from generate_pairs(config.pairs, config.seed, split="train", images=images, labels=config.labels)
