# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a converted set: what its rows hold, and what they cost a run. No picture is decoded.

Memory grows by some tens of bytes a row; rows are read as a stream.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from verl_mapo import names
from verl_mapo.data.families import families_of
from verl_mapo.data.prompt_text import PromptText
from verl_mapo.data.read_rows import ReadRow, count_rows, read_rows
from verl_mapo.data.reasons import LeftOut
from verl_mapo.planning import arithmetic as sums
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.settings import ConfigError, count_at

SMALL_SIDE = 1000
"""Longest side in pixels below which a zoom has little to reveal: the model has seen nearly all pixels [ours]."""

NAMED = 100
"""Number of faulty rows that are named for each reason."""

_BATCH = 256
"""Number of prompts that are tokenised at once."""


@dataclass(frozen=True)
class Spread:
    """Median, 99th percentile, largest value and mean; percentiles are values that occur."""

    p50: int
    p99: int
    most: int
    mean: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread | None:
        """The spread of some values; None without any."""
        if not len(values):
            return None
        found = np.asarray(values)
        p50, p99 = np.percentile(found, (50, 99), method="inverted_cdf")
        return cls(int(p50), int(p99), int(found.max()), float(found.mean()))


@dataclass
class OfFamily:
    """What a model family makes of the set.

    Attributes:
        name: of the family, or of the model's folder.
        refused: why the run's limits cannot be used with this family; empty where they can.
        image_tokens: of each image.
        row_tokens: of all images of each row.
        prompts: tokens of each whole prompt; empty without a model.
    """

    name: str
    refused: str = ""
    image_tokens: array = field(default_factory=lambda: array("q"))
    row_tokens: array = field(default_factory=lambda: array("q"))
    prompts: array = field(default_factory=lambda: array("q"))
    resize: ProcessorResize | None = None

    def over(self, budget: int) -> int:
        """Number of rows longer than a budget of prompt tokens; without a model, of those whose images alone are."""
        return int((np.asarray(self.prompts or self.row_tokens) > budget).sum())

    def memory(self, batch: int, group: int, pixels: Sequence[int], rows: int) -> dict[str, float]:
        """Expected bytes of host memory for the originals of a step, by what holds them (docs/performance.md).

        ``decoded``: in the agent-loop workers, once for each prompt; ``requests``: as seen, once for each rollout;
        ``features``: the pixel values of a rollout in TransferQueue, in bfloat16. What tools return comes on top.

        Args:
            batch: prompts of a step.
            group: rollouts of a prompt.
            pixels: of each image as it is stored.
            rows: number of rows.
        """
        tokens = sum(self.row_tokens) / rows
        side = self.resize.factor
        return {
            "decoded": sums.DECODED * batch * sum(pixels) / rows,
            "requests": batch * group * sums.feature_bytes(tokens, 3 * side**2, 1),
            "features": batch * group * sums.feature_bytes(tokens, 6 * side**2, sums.BFLOAT16),
        }


@dataclass
class DataStats:
    """Figures of a converted set.

    Attributes:
        place: the folder or file.
        config: the configuration of the run whose limits apply.
        families: figures by family; one with a model.
        rows: number of rows that can be shown.
        without_images: of these, those without an image.
        sources, styles: rows by data source, and by how the answer is checked.
        with_boxes: rows that tell regions.
        pixels, sides: of each image: its pixels as stored, and its longest side.
        faults: number of rows that cannot be shown, by reason.
        named: what is wrong with the first :data:`NAMED` of them, by reason.
    """

    place: Path
    config: DictConfig
    families: list[OfFamily]
    rows: int = 0
    without_images: int = 0
    with_boxes: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    styles: Counter[str] = field(default_factory=Counter)
    pixels: array = field(default_factory=lambda: array("q"))
    sides: array = field(default_factory=lambda: array("q"))
    faults: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """``data.max_prompt_length``."""
        return count_at(self.config, names.PROMPT_LENGTH)

    @property
    def step(self) -> tuple[int, int]:
        """Prompts of a step, and rollouts of a prompt."""
        return count_at(self.config, names.TRAIN_BATCH_SIZE), count_at(self.config, names.ROLLOUT_N)

    @property
    def small_share(self) -> float | None:
        """The share of the images whose longest side is below :data:`SMALL_SIDE` pixels, in [0, 1]; None without."""
        return float((np.asarray(self.sides) < SMALL_SIDE).mean()) if self.sides else None

    def add(self, row: ReadRow) -> None:
        """Count a row; its prompt is counted elsewhere."""
        self.rows += 1
        self.without_images += not row.images
        self.with_boxes += bool(row.boxes)
        self.sources[row.data_source] += 1
        self.styles[row.style] += 1
        for picture, _ in row.images:
            self.pixels.append(picture.width * picture.height)
            self.sides.append(max(picture.width, picture.height))
        for family in self.families:
            if family.resize is not None:
                family.image_tokens.extend(tokens := image_tokens(row, family.resize))
                family.row_tokens.append(sum(tokens))

    def leave_out(self, left: LeftOut) -> None:
        """Count and name what cannot be shown."""
        self.faults[left.reason] += left.examples
        named = self.named.setdefault(left.reason, [])
        if len(named) < NAMED:
            named.append(left.detail)

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {
            "place": str(self.place),
            "rows": self.rows,
            "images": len(self.pixels),
            "without_images": self.without_images,
            "with_boxes": self.with_boxes,
            "sources": dict(self.sources.most_common()),
            "styles": dict(self.styles.most_common()),
            "pixels": _plain(Spread.of(self.pixels)),
            f"share_under_{SMALL_SIDE}_px": self.small_share,
            "budget": {"setting": names.PROMPT_LENGTH, "tokens": self.budget},
            "step": dict(zip(("prompts", "rollouts_of_a_prompt"), self.step, strict=True)),
            "families": {family.name: self._of_family(family) for family in self.families},
            "faults": {
                reason: {"count": count, "named": self.named[reason]} for reason, count in self.faults.most_common()
            },
        }

    def _of_family(self, family: OfFamily) -> dict[str, Any]:
        if family.refused:
            return {"refused": family.refused}
        return {
            "image_tokens": _plain(Spread.of(family.image_tokens)),
            "prompt_tokens": _plain(Spread.of(family.prompts)),
            "rows_over_budget": family.over(self.budget),
            "host_bytes_of_a_step": family.memory(*self.step, self.pixels, self.rows) if self.rows else None,
        }


def image_tokens(row: ReadRow, resize: ProcessorResize) -> list[int]:
    """Number of tokens of each image of a row."""
    sides = []
    for picture, asked in row.images:
        width, height = replace(resize, asked=asked)((picture.width, picture.height))
        sides.append(width * height // resize.factor**2)
    return sides


def stats_of(place: Path, config: DictConfig, model: Path | None = None) -> DataStats:
    """Read a converted set and count.

    Args:
        place: a folder with ``.parquet`` files, or one such file.
        config: the configuration of the run whose limits apply, see :func:`verl_mapo.planning.compose.composed`.
        model: folder of the model; with it, prompts are rendered and counted.

    Raises:
        ConfigError: there are no rows, the model's folder lacks a file, a setting is invalid, or the run's limits can
            be used with no family.
    """
    for setting in (names.PROMPT_LENGTH, names.TRAIN_BATCH_SIZE, names.ROLLOUT_N):
        count_at(config, setting)
    text = None if model is None else PromptText(model, config)
    families = _released(config) if text is None else [OfFamily(text.family.name, resize=text.resize)]
    stats = DataStats(place, config, families)
    waiting: list[tuple[str, int]] = []
    for row in tqdm(read_rows(place), desc="rows", unit="row", total=count_rows(place)):
        if isinstance(row, LeftOut):
            stats.leave_out(row)
            continue
        if text is not None:
            try:
                waiting.append((text.render(row), len(row.images)))
            except LeftOut as left:
                stats.leave_out(LeftOut(left.reason, f"row {row.number}: {left.detail}"))
                continue
        stats.add(row)
        if len(waiting) == _BATCH:
            _count_prompts(text, waiting, families[0])
    if waiting:
        _count_prompts(text, waiting, families[0])
    if not stats.rows and not stats.faults:
        raise ConfigError(f"{place} holds no row: give the folder that verl-mapo data convert wrote.")
    return stats


def _released(config: DictConfig) -> list[OfFamily]:
    """The family of the run's model, or all released ones where it is not known.

    Raises:
        ConfigError: the run's settings can be used with none of them.
    """
    found, refusals = [], []
    for family in families_of(config):
        try:
            found.append(OfFamily(family.name, resize=family.resize(config)))
        except ConfigError as error:
            found.append(OfFamily(family.name, refused=str(error)))
            refusals.append(error)
    if len(refusals) == len(found):
        raise refusals[0]
    return found


def _count_prompts(text: PromptText, waiting: list[tuple[str, int]], family: OfFamily) -> None:
    """Add the lengths of the last rows' prompts, each image with all of its tokens, and empty the list."""
    texts = [text for text, _ in waiting]
    of_images = family.row_tokens[-len(waiting) :]
    for length, (_, images), tokens in zip(text.lengths(texts), waiting, of_images, strict=True):
        family.prompts.append(length - images + tokens)
    waiting.clear()


def _plain(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else asdict(spread)
