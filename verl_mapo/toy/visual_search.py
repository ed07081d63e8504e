# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Scenes of a synthetic visual search: coloured shapes on a background, each with a letter too small to read unzoomed.

A scene is a function of (settings, seed, split, index) alone. Knows nothing of models, of tools or of verl.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as settings_dataclass

from verl_mapo.settings import STRICT

GENERATOR = 3
"""Version of the generator: raise it when a scene, a question or a demonstration changes, so that caches are redone."""

SIDE, GRID, OBJECTS = 448, 4, 5
"""Side of a scene in pixels, cells along a side, objects in a scene."""
CELL = SIDE // GRID

COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 40),
    "purple": (150, 60, 190),
    "orange": (240, 135, 30),
}
SHAPES = {"square": "squares", "circle": "circles", "triangle": "triangles", "cross": "crosses"}
"""Shapes and their plurals."""
LETTERS = "OXTLAHKECJ"
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)

_PHOTOS = ("astronaut", "coffee", "cat", "rocket", "hubble_deep_field", "immunohistochemistry", "retina")
"""Photographs that lie inside scikit-image's wheel."""

Kind = Literal["letter", "colour", "shape", "count"]
Split = Literal["train", "test", "warm_start", "clip", "evaluation"]
"""Scenes of two splits are drawn from different random streams."""


@dataclass(frozen=True)
class SceneObject:
    """One shape; ``box`` is in pixels of the scene, half-open; ``cell`` counts row by row."""

    colour: str
    shape: str
    letter: str
    cell: int
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes:
        kind: only ``letter`` needs a zoom; the others can be answered from the scene as seen.
        subject: what the question asks about, as a thought names it (``"red square"``, ``"circles"``).
        target: the object asked about; None for a count.
    """

    kind: Kind
    text: str
    answer: str
    subject: str
    target: SceneObject | None

    @property
    def needs_zoom(self) -> bool:
        return self.kind == "letter"


@dataclass(frozen=True)
class Scene:
    """A full-resolution picture, what is on it, and a question."""

    image: Image.Image
    objects: tuple[SceneObject, ...]
    question: Question

    @property
    def empty_cells(self) -> list[int]:
        return sorted(set(range(GRID * GRID)) - {thing.cell for thing in self.objects})


@settings_dataclass(frozen=True, config=STRICT)
class VisualSearch:
    """The dials of the task.

    Attributes:
        letters: how many different letters there are; with 2 a blind answer is right half of the time.
        shared_letters: several objects may carry the same letter, so that a look at the wrong one is often right too.
        no_zoom_share: share of questions about colours, shapes and counts, for which the tool is optional.
        background: a faint gradient, or real photographs (needs scikit-image).
    """

    letters: Annotated[int, Field(ge=2, le=len(LETTERS))] = len(LETTERS)
    shared_letters: bool = False
    no_zoom_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    background: Literal["gradient", "photos"] = "gradient"

    @model_validator(mode="after")
    def _enough_letters(self) -> VisualSearch:
        if self.letters < OBJECTS and not self.shared_letters:
            raise ValueError(
                f"letters={self.letters} is too few for {OBJECTS} objects with a letter of their own: "
                f"set shared_letters=True, or letters to {OBJECTS} or more"
            )
        return self

    @property
    def alphabet(self) -> str:
        return LETTERS[: self.letters]

    def scene(self, seed: int, split: Split, index: int) -> Scene:
        """The scene with this index of a split."""
        rng = random.Random(f"{seed}/{split}/{index}")
        image = _gradient().copy() if self.background == "gradient" else _photo(rng)
        draw = ImageDraw.Draw(image)
        cells = rng.sample(range(GRID * GRID), OBJECTS)
        colours = rng.sample(list(COLOURS), OBJECTS)
        letters = rng.choices(self.alphabet, k=OBJECTS) if self.shared_letters else rng.sample(self.alphabet, OBJECTS)
        things = tuple(
            _draw(draw, rng, colour, rng.choice(list(SHAPES)), letter, cell)
            for colour, letter, cell in zip(colours, letters, cells, strict=True)
        )
        return Scene(image, things, self.ask(things, rng))

    def ask(self, things: tuple[SceneObject, ...], rng: random.Random) -> Question:
        """A question about these objects."""
        if rng.random() >= self.no_zoom_share:
            return letter_question(rng.choice(things))
        return optional_question(things, rng)


def letter_question(target: SceneObject) -> Question:
    """The question that needs a zoom."""
    return Question("letter", f"Which letter is inside the {target.name}?", target.letter, target.name, target)


def optional_question(things: tuple[SceneObject, ...], rng: random.Random) -> Question:
    """A question that can be answered from the scene as seen."""
    kind = rng.choice(["colour", "shape", "count"])
    if kind == "count":
        shape, plural = rng.choice(list(SHAPES.items()))
        count = sum(thing.shape == shape for thing in things)
        return Question("count", f"How many {plural} are there?", str(count), plural, None)
    shapes = [thing.shape for thing in things]
    lone = [thing for thing in things if shapes.count(thing.shape) == 1]
    if kind == "colour" and lone:
        target = rng.choice(lone)
        return Question("colour", f"Which colour is the {target.shape}?", target.colour, target.shape, target)
    target = rng.choice(things)
    subject = f"{target.colour} object"
    return Question("shape", f"Which shape is the {subject}?", target.shape, subject, target)


def _draw(
    draw: ImageDraw.ImageDraw, rng: random.Random, colour: str, shape: str, letter: str, cell: int
) -> SceneObject:
    """Draw one object near the middle of its cell, its letter near its own middle."""
    radius = rng.randint(28, 36)
    x = cell % GRID * CELL + CELL // 2 + rng.randint(-4, 4)
    y = cell // GRID * CELL + CELL // 2 + rng.randint(-4, 4)
    fill = tuple(min(255, max(0, value + rng.randint(-15, 15))) for value in COLOURS[colour])
    box = (x - radius, y - radius, x + radius, y + radius)
    match shape:
        case "square":
            draw.rectangle(box, fill=fill)
        case "circle":
            draw.ellipse(box, fill=fill)
        case "triangle":
            draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=fill)
        case "cross":
            arm = radius * 2 // 5
            draw.rectangle((x - radius, y - arm, x + radius, y + arm), fill=fill)
            draw.rectangle((x - arm, y - radius, x + arm, y + radius), fill=fill)
    drop = radius // 6 if shape == "triangle" else 0
    place = (x + rng.randint(-2, 2), y + drop + rng.randint(-2, 2))
    draw.text(place, letter, font=_font(), fill=(20, 20, 20), anchor="mm", stroke_width=0.4)
    return SceneObject(colour, shape, letter, cell, (box[0], box[1], box[2] + 1, box[3] + 1))


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font; its capitals are 10 px high at this size."""
    return ImageFont.load_default(size=14)


@cache
def _gradient() -> Image.Image:
    ramp = np.linspace(175, 245, SIDE)
    red, blue = np.meshgrid(ramp, ramp)
    return Image.fromarray(np.stack([red, np.full_like(red, 225), blue], axis=-1).astype(np.uint8))


def _photo(rng: random.Random) -> Image.Image:
    """A random square of a random photograph, at the size of a scene."""
    photo = _photograph(rng.choice(_PHOTOS))
    side = rng.randint(min(photo.size) * 2 // 3, min(photo.size))
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    return photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


@cache
def _photograph(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)())
