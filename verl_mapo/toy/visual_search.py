# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes of a synthetic visual search: coloured shapes, each with a letter that is too small to read without a zoom.

A scene depends only on the task's settings, the seed, the split and the index. This module imports nothing of models,
tools or verl.
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

GENERATOR = 4
"""Version of the toy. Increase it when scenes, questions, demonstrations or models change, so that toys are made
anew."""

SIDE, GRID, OBJECTS = 448, 4, 5
"""Side of a scene in pixels, number of cells along a side, number of objects in a scene."""
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
"""Names of photographs in scikit-image's wheel."""

Kind = Literal["letter", "colour", "shape", "count"]
Split = Literal["train", "test", "warm_start", "clip", "evaluation"]
"""Each split has its own random stream."""


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        colour: key of :data:`COLOURS`.
        shape: key of :data:`SHAPES`.
        letter: the letter inside.
        cell: index of its cell, row by row.
        box: (x1, y1, x2, y2) in pixels of the scene; x2 and y2 are exclusive.
    """

    colour: str
    shape: str
    letter: str
    cell: int
    box: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        """Colour and shape, such as ``"red square"``."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes:
        kind: only ``letter`` needs a zoom; the others can be answered from the scene as the model sees it.
        text: the question's text.
        answer: the correct answer.
        subject: name of what the question is about, such as ``"red square"`` or ``"circles"``.
        target: the object that the question is about; None for a count.
    """

    kind: Kind
    text: str
    answer: str
    subject: str
    target: SceneObject | None

    @property
    def needs_zoom(self) -> bool:
        """Whether the answer cannot be read without a zoom."""
        return self.kind == "letter"


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        image: the image at full resolution.
        objects: its objects.
        question: a question about it.
    """

    image: Image.Image
    objects: tuple[SceneObject, ...]
    question: Question

    @property
    def empty_cells(self) -> list[int]:
        """Indices of the cells without an object, in order."""
        return sorted(set(range(GRID * GRID)) - {each.cell for each in self.objects})


@settings_dataclass(frozen=True, config=STRICT)
class VisualSearch:
    """Settings of the task.

    Attributes:
        letters: number of different letters; with 2, a guess is correct half of the time.
        shared_letters: whether several objects may have the same letter, so that a zoom at a wrong object can also lead
            to the correct answer.
        no_zoom_share: share of questions about colours, shapes and counts, which need no zoom.
        background: a faint gradient, or photographs (requires scikit-image).
    """

    letters: Annotated[int, Field(ge=2, le=len(LETTERS))] = len(LETTERS)
    shared_letters: bool = False
    no_zoom_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    background: Literal["gradient", "photos"] = "gradient"

    @model_validator(mode="after")
    def _enough_letters(self) -> VisualSearch:
        if self.letters < OBJECTS and not self.shared_letters:
            raise ValueError(
                f"letters={self.letters} is too few for {OBJECTS} objects with different letters: "
                f"set shared_letters=True, or letters to {OBJECTS} or more"
            )
        return self

    @property
    def alphabet(self) -> str:
        """The letters in use."""
        return LETTERS[: self.letters]

    def scene(self, seed: int, split: Split, index: int) -> Scene:
        """Draw the scene with this index of a split.

        Args:
            seed: seed of the data.
            split: name of the split.
            index: index of the scene, from 0.
        """
        rng = random.Random(f"{seed}/{split}/{index}")
        image = _gradient().copy() if self.background == "gradient" else _photo(rng)
        draw = ImageDraw.Draw(image)
        cells = rng.sample(range(GRID * GRID), OBJECTS)
        colours = rng.sample(list(COLOURS), OBJECTS)
        letters = rng.choices(self.alphabet, k=OBJECTS) if self.shared_letters else rng.sample(self.alphabet, OBJECTS)
        objects = tuple(
            _draw(draw, rng, colour, rng.choice(list(SHAPES)), letter, cell)
            for colour, letter, cell in zip(colours, letters, cells, strict=True)
        )
        return Scene(image, objects, self.ask(objects, rng))

    def ask(self, objects: tuple[SceneObject, ...], rng: random.Random) -> Question:
        """Draw a question about these objects."""
        if rng.random() >= self.no_zoom_share:
            return letter_question(rng.choice(objects))
        return optional_question(objects, rng)


def letter_question(target: SceneObject) -> Question:
    """The question about an object's letter, which needs a zoom."""
    return Question("letter", f"Which letter is inside the {target.name}?", target.letter, target.name, target)


def optional_question(objects: tuple[SceneObject, ...], rng: random.Random) -> Question:
    """Draw a question that needs no zoom."""
    kind = rng.choice(["colour", "shape", "count"])
    if kind == "count":
        shape, plural = rng.choice(list(SHAPES.items()))
        count = sum(each.shape == shape for each in objects)
        return Question("count", f"How many {plural} are there?", str(count), plural, None)
    shapes = [each.shape for each in objects]
    unique = [each for each in objects if shapes.count(each.shape) == 1]
    if kind == "colour" and unique:
        target = rng.choice(unique)
        return Question("colour", f"Which colour is the {target.shape}?", target.colour, target.shape, target)
    target = rng.choice(objects)
    subject = f"{target.colour} object"
    return Question("shape", f"Which shape is the {subject}?", target.shape, subject, target)


def _draw(
    draw: ImageDraw.ImageDraw, rng: random.Random, colour: str, shape: str, letter: str, cell: int
) -> SceneObject:
    """Draw an object near the middle of its cell, and its letter near the middle of the object."""
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
    """Pillow's scalable font; capitals are 10 px high at this size."""
    return ImageFont.load_default(size=14)


@cache
def _gradient() -> Image.Image:
    ramp = np.linspace(175, 245, SIDE)
    red, blue = np.meshgrid(ramp, ramp)
    return Image.fromarray(np.stack([red, np.full_like(red, 225), blue], axis=-1).astype(np.uint8))


def _photo(rng: random.Random) -> Image.Image:
    """A random square of a random photograph, resized to the size of a scene."""
    photo = _photograph(rng.choice(_PHOTOS))
    side = rng.randint(min(photo.size) * 2 // 3, min(photo.size))
    left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
    return photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


@cache
def _photograph(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)())
