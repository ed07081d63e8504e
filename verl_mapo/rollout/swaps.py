# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Images that are shown in the place of those that a tool returned, to see whether the look causes the answer."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass as settings_dataclass

from verl_mapo.settings import STRICT
from verl_mapo.tools.coordinates import Region, View, iou
from verl_mapo.tools.image_history import ImageHistory, ToolImage

Kind = Literal["random_crop", "other_image", "blank", "repeat"]

TRUTH = "{truth}"
"""What stands for the right answer in ``visual_tool.audit.answer``."""

MOST_OVERLAP = 0.5
"""Largest IoU of a random crop with the region in whose place it is shown [ours]."""

_DRAWS = 16
_GREY = (127, 127, 127)


@settings_dataclass(frozen=True, config=STRICT)
class AuditSettings:
    """Which validation rollouts are audited, and how: ``visual_tool.audit``.

    An audited rollout that looked goes on once more from its first look for each of ``swaps``, with other images in the
    place of all that tools return from there on. Its tokens up to that look are the same, and so is the number of
    tokens of each image.

    Attributes:
        share: share of the validation questions that are audited, all rollouts of a question or none. The question's
            identity decides, as for ``records.share``. An audit costs about as much as the rest of its rollout.
        swaps: what is shown. ``random_crop``: a part of the same image with the same size, elsewhere (CauAudit's);
            ``other_image``: a part of the same size of another question's image; ``blank``: grey; ``repeat``: the same
            again, with other random numbers where the run has a seed, which tells how much sampling alone changes.
        answer: the turn whose probability is the evidence of a look, with ``{truth}`` for the right answer; only the
            tokens of the truth count [ours].
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    swaps: Annotated[list[Kind], Field(min_length=1)] = Field(
        default_factory=lambda: ["random_crop", "other_image", "blank"]
    )
    answer: str = f"<answer>{TRUTH}</answer>"

    @field_validator("swaps")
    @classmethod
    def _differ(cls, swaps: list[str]) -> list[str]:
        if len(set(swaps)) < len(swaps):
            raise ValueError("a swap is named twice: name each once")
        return swaps

    @field_validator("answer")
    @classmethod
    def _has_the_truth(cls, answer: str) -> str:
        if answer.count(TRUTH) != 1:
            raise ValueError(f"it needs {TRUTH} once, as in <answer>{TRUTH}</answer>")
        return answer


@dataclass(frozen=True)
class Shown:
    """An image that is shown instead of another one.

    Attributes:
        image: of the same size as that one.
        box: the part of the picture that it shows, in its pixels; None for a blank image.
    """

    image: Image.Image
    box: Region | None


@dataclass
class Swapper:
    """Replaces the images of one rollout, which the random numbers of ``random`` determine.

    Attributes:
        kind: what is shown instead.
        random: the random numbers.
        other: another question's image; None without one.
    """

    kind: Kind
    random: Random
    other: ToolImage | None = None

    def first(self, view: View, image: Image.Image, history: ImageHistory) -> Shown | None:
        """What is shown in the place of an image; None where nothing else can be shown.

        That is so for a random crop of a region without room for another one that overlaps it by at most
        :data:`MOST_OVERLAP`, and for another image where there is none.

        Args:
            view: what the image shows.
            image: the image as the model saw it.
            history: the images of the rollout.
        """
        if self.kind == "repeat":
            return Shown(image, view.region)
        if self.kind == "blank":
            return Shown(Image.new("RGB", image.size, _GREY), None)
        if self.kind == "other_image" and self.other is None:
            return None
        others = [self.other] if self.kind == "other_image" else history.originals
        source = ImageHistory.of(others, history.resize)
        index = 0 if self.kind == "other_image" else view.image
        box = self._box(view.region, others[index].pixels.size, self.kind == "random_crop")
        if box is None:
            return None
        found = source.crop(index, box, view.quarter_turns).image
        return Shown(found if found.size == image.size else found.resize(image.size, Image.Resampling.BICUBIC), box)

    def later(self, view: View, image: Image.Image, history: ImageHistory) -> Image.Image:
        """What is shown in the place of a later image of the same rollout: a blank one where nothing else can be."""
        shown = self.first(view, image, history)
        return shown.image if shown else Image.new("RGB", image.size, _GREY)

    def _box(self, region: Region, size: tuple[int, int], elsewhere: bool) -> Region | None:
        """A random box with the sides of a region, as far as there is room for them."""
        sides = [min(region[2 + axis] - region[axis], size[axis]) for axis in (0, 1)]
        found = []
        for _ in range(_DRAWS):
            x, y = (self.random.randint(0, size[axis] - sides[axis]) for axis in (0, 1))
            found.append((x, y, x + sides[0], y + sides[1]))
        if not elsewhere:
            return found[0]
        box = min(found, key=lambda box: iou(box, region))
        return box if iou(box, region) <= MOST_OVERLAP else None
