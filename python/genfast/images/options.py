"""What `generate` takes, validated in one place; a wrong one is a ValueError that names it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

OUTPUTS = ("pil", "np")
MAX_SIDE = 16384


@dataclass(frozen=True)
class Step:
    """What a callback is told: call `index` (from 0) of `steps` is done, `sample` is what there is
    (float32, of the latents' shape)."""

    index: int
    steps: int
    sample: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Options:
    """The keywords of `ImagePipeline.generate`; None: the pipeline's own."""

    negative_prompt: str | list[str] | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    seed: int | None = None
    n: int = 1
    latents: Any = None
    image: Any = None
    strength: float | None = None
    mask: Any = None
    scheduler: str | None = None
    truncation: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    output_type: str = "pil"
    callback: Callable[[Step], Any] | None = None

    @classmethod
    def make(cls, given: dict[str, Any]) -> Options:
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise ValueError(f"unknown keyword {name!r}; there are {', '.join(known)}")
        options = cls(**given)
        options._check()
        return options

    def _check(self) -> None:
        integer("steps", self.steps, 1, 1 << 20)
        integer("height", self.height, 1, MAX_SIDE)
        integer("width", self.width, 1, MAX_SIDE)
        integer("seed", self.seed, 0, 2**64 - 1)
        integer("n", self.n, 1, 1 << 12, optional=False)
        number("guidance_scale", self.guidance_scale, 0, 1e4)
        number("strength", self.strength, 0, 1)
        number("truncation", self.truncation, 0, 10)
        number("temperature", self.temperature, 0, 100)
        integer("top_k", self.top_k, 0, 1 << 22)
        number("top_p", self.top_p, 0, 1)
        if self.output_type not in OUTPUTS:
            refuse("output_type", self.output_type, " or ".join(map(repr, OUTPUTS)))
        if self.callback is not None and not callable(self.callback):
            refuse("callback", self.callback, "None or a function of a Step")
        if self.mask is not None and self.image is None:
            raise ValueError("mask needs image: it says which part of it is made anew")
        if self.strength is not None and self.image is None:
            raise ValueError("strength needs image: it says how much of it is made anew")
        if self.latents is not None and self.image is not None:
            raise ValueError("latents and image exclude each other")

    def only(self, *names: str, why: str) -> None:
        """ValueError where a keyword is given that is not among `names` nor of every pipeline."""
        usual = {"seed", "n", "output_type", "callback", "strength", *names}
        for option in fields(self):
            if option.name not in usual and getattr(self, option.name) is not None:
                raise ValueError(f"{option.name} is not allowed: {why}")

    def sampling(self) -> dict[str, Any]:
        """How codes are drawn, as `Model.generate` takes it; at temperature 1 unless told."""
        given = {name: getattr(self, name) for name in ("temperature", "top_k", "top_p")}
        return {"temperature": 1.0} | {k: v for k, v in given.items() if v is not None}

    def seed_or_new(self) -> int:
        return secrets.randbits(64) if self.seed is None else self.seed


def integer(name: str, value: Any, low: int, high: int, *, optional: bool = True) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        refuse(name, value, f"{'None or ' if optional else ''}an int {low} to {high}")


def number(name: str, value: Any, low: float, high: float, *, optional: bool = True) -> None:
    if value is None and optional:
        return
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        refuse(name, value, f"{'None or ' if optional else ''}a number {low:g} to {high:g}")


def refuse(name: str, value: Any, allowed: str) -> None:
    raise ValueError(f"{name}={value!r} is not allowed; allowed: {allowed}")


def labels_of(prompt: Any, count: int | None, names: dict[str, int]) -> list[int]:
    """A prompt of a class-conditional model as class numbers, one an image.

    prompt: a class (its number, or its name in `names`), or a list of them. count: how many
    classes there are; None: the model knows none, and only None is a prompt, for one image.
    """
    if count is None:
        if prompt is not None:
            refuse("prompt", prompt, "None: this model is told nothing of what to make")
        return [0]
    several = prompt if isinstance(prompt, list | tuple | range | np.ndarray) else [prompt]
    labels = []
    for label in several:
        text = label.strip() if isinstance(label, str) else ""
        if text in names:
            label = names[text]
        elif text.isascii() and text.isdigit():
            label = int(text)
        whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
        if not whole or not 0 <= label < count:
            named = ", or a class's name" if names else ""
            refuse("prompt", label, f"a class, 0 to {count - 1}{named}, or a list of them")
        labels.append(int(label))
    if not labels:
        refuse("prompt", prompt, "at least one class")
    return labels
