"""What a good annotator would write about generated preferences: what the tiny model of a rehearsal learns to write."""

from __future__ import annotations

COLOURS = ("red", "blue", "green", "yellow")
"""The property that generated pictures differ in."""


def colour_of(text: str) -> str | None:
    """The colour that a text names."""
    return next((colour for colour in COLOURS if colour in text), None)


def critique(shown: str, said: str) -> str:
    """A critique of a response that says one colour of a picture that shows another or the same."""
    return f"The picture is {shown}. That is {'right' if shown == said else 'wrong'}."


def reasoning(shown: str) -> str:
    """Reasoning about two responses to a picture."""
    return f"The picture is {shown}."


def generated_texts() -> list[str]:
    """All texts that can be written."""
    return [critique(shown, said) for shown in COLOURS for said in COLOURS] + [reasoning(shown) for shown in COLOURS]
