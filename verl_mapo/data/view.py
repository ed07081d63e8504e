# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A page of sampled rows as the model will see them: the rendered prompt, the images at the size seen, the truth."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from verl_mapo import names
from verl_mapo.data.prompt_text import IMAGE, PromptText
from verl_mapo.data.read_rows import ReadRow, count_rows, read_rows
from verl_mapo.data.reasons import LeftOut
from verl_mapo.report.pages import jpeg_url, write_page
from verl_mapo.rollout.decode import UnreadableImage, decode, read_file
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.settings import ConfigError, count_at
from verl_mapo.tools.coordinates import Size
from verl_mapo.tools.image_history import full_view

PAGE = "view.html"

_MOST_SIDE = 1400
"""Longest side in pixels of an image in the page; larger ones are shrunk for it, and the page says what is seen."""


@dataclass(frozen=True)
class ShownImage:
    """An image at the size at which the model sees it.

    Attributes:
        name: name of its file.
        stored, seen: (width, height) in pixels, as it is stored and as the model sees it.
        tokens: its number of image tokens.
        url: a ``data:`` URL.
        boxes: ground-truth regions as ``(x, y, width, height)`` in pixels of the image as seen.
    """

    name: str
    stored: Size
    seen: Size
    tokens: int
    url: str
    boxes: list[tuple[float, float, float, float]]


@dataclass(frozen=True)
class ShownRow:
    """A row of the page.

    Attributes:
        row: the row.
        images: its images.
        text: its prompt as the template renders it, with one placeholder for each image.
        tokens: length of the prompt in tokens, images included.
    """

    row: ReadRow
    images: list[ShownImage]
    text: str
    tokens: int


@dataclass(frozen=True)
class Sample:
    """Rows drawn from a set.

    Attributes:
        rows: in the order of the set.
        read: number of rows of the set that can be shown.
        faults: number of rows that cannot be shown, by reason.
        named: the first of these, by reason.
    """

    rows: list[ReadRow]
    read: int
    faults: Counter[str]
    named: dict[str, str]


def sample_rows(place: Path, number: int, seed: int) -> Sample:
    """Draw rows, each with the same probability, in one pass.

    Args:
        place: a folder with ``.parquet`` files, or one such file.
        number: number of rows.
        seed: of the choice.
    """
    chosen: list[ReadRow] = []
    faults: Counter[str] = Counter()
    named: dict[str, str] = {}
    rng, read = random.Random(seed), 0
    for row in tqdm(read_rows(place), desc="rows", unit="row", total=count_rows(place)):
        if isinstance(row, LeftOut):
            faults[row.reason] += row.examples
            named.setdefault(row.reason, row.detail)
            continue
        read += 1
        if len(chosen) < number:
            chosen.append(row)
        elif (place_of := rng.randrange(read)) < number:
            chosen[place_of] = row
    return Sample(sorted(chosen, key=lambda row: row.number), read, faults, named)


def write_view(place: Path, config: DictConfig, model: Path, out: Path, number: int = 24, seed: int = 0) -> Path:
    """Write the page.

    Args:
        place: a folder with ``.parquet`` files, or one such file.
        config: the configuration of the run whose tools and limits apply.
        model: folder of the model whose tokenizer and template render the prompts.
        out: folder of the page.
        number: number of rows to show.
        seed: of the choice.

    Returns:
        The HTML file.

    Raises:
        ConfigError: there are no rows, the model's folder lacks a file, or the longest prompt is no number.
    """
    text, budget = PromptText(model, config), count_at(config, names.PROMPT_LENGTH)
    sample = sample_rows(place, number, seed)
    if not sample.read and not sample.faults:
        raise ConfigError(f"{place} holds no row: give the folder that verl-mapo data convert wrote.")
    shown = []
    for row in sample.rows:
        try:
            shown.append(_shown(row, text))
        except LeftOut as left:
            sample.faults[left.reason] += 1
            sample.named.setdefault(left.reason, f"row {row.number}: {left.detail}")
    start = common_start([row.text for row in shown])
    context = {
        "place": place.name or str(place),
        "model": text.family.name,
        "sample": sample,
        "start": start,
        "rows": [(row, pieces(row.text.removeprefix(start))) for row in shown],
        "budget": budget,
        "seed": seed,
    }
    write_page("view.html.j2", context, out / PAGE, Path(__file__).parent)
    return out / PAGE


def _shown(row: ReadRow, text: PromptText) -> ShownRow:
    rendered = text.render(row)
    images = [
        _image(picture.path, replace(text.resize, asked=asked), row.boxes if index == 0 else [])
        for index, (picture, asked) in enumerate(row.images)
    ]
    length = text.lengths([rendered])[0] - len(images) + sum(image.tokens for image in images)
    return ShownRow(row, images, rendered, length)


def _image(path: Path, resize: ProcessorResize, boxes: list[list[float]]) -> ShownImage:
    try:
        view = full_view(decode(read_file(path)), 0, resize)
    except UnreadableImage as error:
        raise LeftOut("broken_image", f"{path}: {error}") from None
    stored, seen = view.pixels.size, view.image.size
    across, down = seen[0] / stored[0], seen[1] / stored[1]
    scaled = [(x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down) for x1, y1, x2, y2 in boxes]
    tokens = seen[0] * seen[1] // resize.factor**2
    return ShownImage(path.name, stored, seen, tokens, jpeg_url(view.image, _MOST_SIDE), scaled)


def common_start(texts: list[str]) -> str:
    """The lines before the first image with which all texts begin; none for a single text."""
    if len(texts) < 2:
        return ""
    common = os.path.commonprefix(texts).partition(IMAGE)[0]
    return common[: common.rfind("\n") + 1]


def pieces(text: str) -> list[str | None]:
    """A rendered prompt in pieces of text, with None in the place of each image."""
    found: list[str | None] = []
    for number, piece in enumerate(text.split(IMAGE)):
        found += [None] * bool(number) + [piece] * bool(piece)
    return found
