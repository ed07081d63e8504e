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
"""The images of one trajectory: full-resolution originals, and the views of them the model has seen so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from verl_mapo.tools.coordinates import Box, BoxError, Size, View, outward

Resize = Callable[[Size], Size]
"""From the size of an image to the size the model's processor gives it; a fixed point of the processor's own resize."""

_TURN = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}


@dataclass
class ToolImage:
    """What one tool call shows the model.

    Attributes:
        view: where it comes from.
        image: pixels as the model will see them.
        crop: the same pixels before the processor's resize, for a scorer.
        asked: the box as said, in pixels of the original, before it was clipped and grown; None without a box.
    """

    view: View
    image: Image.Image
    crop: Image.Image
    asked: Box | None = None


def whole(image: Image.Image, index: int, resize: Resize) -> ToolImage:
    """The sight of original ``index``, whole."""
    return _look(image, index, (0, 0, *image.size), 0, resize)


def _look(original: Image.Image, index: int, box: Box, quarter_turns: int, resize: Resize) -> ToolImage:
    region = outward(box, original.size)
    crop = original if region == (0, 0, *original.size) else original.crop(region)
    if quarter_turns:
        crop = crop.transpose(_TURN[quarter_turns])
    size = resize(crop.size)
    seen = crop if crop.size == size else crop.resize(size, Image.Resampling.BICUBIC)
    return ToolImage(View(index, region, quarter_turns, size), seen, crop)


@dataclass
class ImageHistory:
    """Originals by index, and views in the order the model saw them; the first views show the originals whole.

    Attributes:
        wholes: the originals with how they are seen; shared between the rollouts of a prompt, never changed.
        resize: the processor's resize of a crop, see :data:`Resize`.
        views: what has been seen, by index.
        images: the pixels of each view, as seen.
    """

    wholes: list[ToolImage]
    resize: Resize
    views: list[View] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)

    @classmethod
    def of(cls, wholes: list[ToolImage], resize: Resize) -> ImageHistory:
        """A gallery in which the originals have been seen, and nothing else."""
        return cls(wholes, resize, [sight.view for sight in wholes], [sight.image for sight in wholes])

    def first(self, count: int) -> ImageHistory:
        """A gallery of its own with the first ``count`` views; images are shared, not copied."""
        return ImageHistory(self.wholes, self.resize, self.views[:count], self.images[:count])

    def size(self, image: int) -> Size:
        """Full-resolution (width, height) of an original."""
        return self.wholes[image].crop.size

    def view(self, index: int) -> View:
        """The view with this index.

        Raises:
            BoxError: the model named an image it has not seen.
        """
        if not 0 <= index < len(self.views):
            raise BoxError(f"there is no image {index}: images 0 to {len(self.views) - 1} have been shown")
        return self.views[index]

    def look(self, image: int, box: Box, quarter_turns: int = 0) -> ToolImage:
        """Cut a box (pixels of the original) out of an original and turn it; the gallery is not changed."""
        return _look(self.wholes[image].crop, image, box, quarter_turns, self.resize)

    def add(self, sight: ToolImage) -> int:
        """Make a sight part of what the model has seen; returns its index."""
        self.views.append(sight.view)
        self.images.append(sight.image)
        return len(self.views) - 1
