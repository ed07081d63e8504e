# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a plan needs to know of the data: images a row, their sizes, and how long the prompts are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from omegaconf import DictConfig

from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.rollout.row_dataset import plain_image
from verl_mapo.rollout.row_messages import image_parts, read_messages
from verl_mapo.rollout.row_pictures import Picture
from verl_mapo.tools.coordinates import BoxError

SAMPLE = 256
"""Number of rows, evenly spaced, whose image files are opened [ours]."""

TEXT_TOKENS = 400
"""Tokens of a prompt beside its images [ours]: about 300 declare the tools, the others ask the question."""


@dataclass(frozen=True)
class DataFacts:
    """The rows of a data set; means are of :data:`SAMPLE` rows.

    Attributes:
        rows: number of rows.
        most_images: number of images of the row with the most, so far as the column of images tells.
        images: mean number of images of a row.
        pixels: mean number of pixels of a row's images as they are stored.
        tokens: mean number of image tokens of a row, as the model sees its images.
        prompts: about how many tokens the prompt of each sampled row has, in ascending order.
        unreadable: number of sampled rows whose images cannot be opened; they are left out of the means.
    """

    rows: int
    most_images: int
    images: float
    pixels: float
    tokens: float
    prompts: tuple[int, ...]
    unreadable: int = 0

    @classmethod
    def of(cls, dataset: Dataset, data: DictConfig, resize: ProcessorResize) -> DataFacts:
        """Look at a data set.

        Args:
            dataset: its rows, whose images are not decoded.
            data: the node ``data`` of the configuration.
            resize: the resize of an original.
        """
        chosen = [index * len(dataset) // min(SAMPLE, len(dataset)) for index in range(min(SAMPLE, len(dataset)))]
        columns = [data.get("prompt_key", "prompt"), data.get("image_key", "images")]
        kept = dataset.select_columns([name for name in columns if name in dataset.column_names])
        found, unreadable = [], 0
        for row in kept.select(chosen):
            try:
                found.append(_images(row, *columns, resize))
            except (UnreadableImage, BoxError):
                unreadable += 1
        counts, pixels, tokens = zip(*found, strict=True) if found else ((0,), (0,), (0,))
        return cls(
            rows=len(dataset),
            most_images=max(_longest_list(kept, columns[1]), *counts, 0),
            images=mean(counts),
            pixels=mean(pixels),
            tokens=mean(tokens),
            prompts=tuple(sorted(count + TEXT_TOKENS for count in tokens)),
            unreadable=unreadable,
        )

    def share_longer_than(self, limit: int) -> float:
        """The share of the sampled prompts with more tokens than a limit, in [0, 1]."""
        return mean(tokens > limit for tokens in self.prompts)


def _images(row: Mapping[str, Any], prompt: str, column: str, resize: ProcessorResize) -> tuple[int, int, int]:
    """Number of images of a row, their stored pixels, and their tokens."""
    count = pixels = tokens = 0
    for picture in _pictures(row, prompt, column):
        size = picture.stored_size()
        seen = replace(resize, asked=picture.asked)(size)
        count, pixels = count + 1, pixels + size[0] * size[1]
        tokens += seen[0] * seen[1] // resize.factor**2
    return count, pixels, tokens


def _pictures(row: Mapping[str, Any], prompt: str, column: str) -> Iterator[Picture]:
    for image in [*(row.get(column) or []), *image_parts(read_messages(row[prompt]))]:
        yield Picture.of(plain_image(image))


def _longest_list(dataset: Dataset, column: str) -> int:
    """Length of the longest list in a column of all rows; 0 where there is none."""
    if column not in dataset.column_names:
        return 0
    longest = 0
    for part in dataset.data.column(column).chunks:
        if pa.types.is_list(part.type) or pa.types.is_large_list(part.type):
            longest = max(longest, pc.max(pc.list_value_length(part)).as_py() or 0)
    return longest
