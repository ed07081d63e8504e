# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Changed pixels of images as the processors of the Qwen-VL families lay them out, in patches.

A change acts on the picture that the model sees, after the processor's resizing. A pixel value is (x - mean) / std of a
channel, x in [0, 1].
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from verl_mapo.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class ViewSettings:
    """How the images of a row are changed for its second pass.

    Attributes:
        change: ``squares``: squares of the picture are black; ``blur``: by a Gaussian; ``noise``: Gaussian noise is
            added; ``hidden``: there are no image tokens, while every other token keeps its place.
        side: of a square, in pixels, > 0.
        share: probability that a square is black, in [0, 1].
        sigma: standard deviation of the blur, in pixels, > 0.
        noise: standard deviation of the noise, as a share of the range from black to white, > 0.
        seed: a row's change depends on it and on the row's tokens alone.
    """

    change: Literal["squares", "blur", "noise", "hidden"] = "squares"
    side: Annotated[int, Field(gt=0)] = 14
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    sigma: Annotated[float, Field(gt=0)] = 10.0
    noise: Annotated[float, Field(gt=0)] = 0.5
    seed: int = 0


class PatchLayout(NamedTuple):
    """How a processor makes patches of a picture.

    Attributes:
        patch: side of a patch, in pixels.
        merged: side of the square of patches that makes one token, in patches.
        frames: frames in a patch; both frames of an image are the same.
        mean: of each channel.
        std: of each channel.
    """

    patch: int
    merged: int
    frames: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, image_processor: Any) -> PatchLayout:
        """The layout of an image processor of transformers."""
        return cls(
            image_processor.patch_size,
            image_processor.merge_size,
            image_processor.temporal_patch_size,
            tuple(image_processor.image_mean),
            tuple(image_processor.image_std),
        )


@torch.no_grad()
def changed_pixels(
    pixels: Tensor, grids: Tensor, layout: PatchLayout, view: ViewSettings, generator: torch.Generator
) -> Tensor:
    """The patches of some images after a change, which is drawn for each image on its own.

    Args:
        pixels: (patches, values of a patch) of any float dtype, the images one after the other.
        grids: (images, 3) int64, numbers of patches in time, height and width.
        layout: of the patches.
        view: the change; not ``hidden``.
        generator: on the device of ``pixels``.

    Returns:
        A new tensor of the shape and dtype of ``pixels``.
    """
    sizes = grids.prod(dim=1).tolist()
    parts = zip(pixels.split(sizes), grids.tolist(), strict=True)
    return torch.cat([_changed(part, tuple(grid), layout, view, generator) for part, grid in parts])


def to_picture(patches: Tensor, grid: tuple[int, int, int], layout: PatchLayout) -> Tensor:
    """(frames, channels, height, width) of one image, of its patches."""
    t, h, w = grid
    m, p = layout.merged, layout.patch
    split = patches.view(t, h // m, w // m, m, m, len(layout.mean), layout.frames, p, p)
    return split.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(t * layout.frames, len(layout.mean), h * p, w * p)


def to_patches(picture: Tensor, grid: tuple[int, int, int], layout: PatchLayout) -> Tensor:
    """The inverse of :func:`to_picture`: (patches, values of a patch)."""
    t, h, w = grid
    m, p = layout.merged, layout.patch
    split = picture.view(t, layout.frames, len(layout.mean), h // m, m, p, w // m, m, p)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1)


def _changed(
    patches: Tensor, grid: tuple[int, int, int], layout: PatchLayout, view: ViewSettings, generator: torch.Generator
) -> Tensor:
    picture = to_picture(patches, grid, layout).float()
    height, width = picture.shape[-2:]
    mean, std = (picture.new_tensor(values).view(-1, 1, 1) for values in (layout.mean, layout.std))
    if view.change == "squares":
        squares = -(-height // view.side), -(-width // view.side)
        gone = torch.rand(squares, generator=generator, device=picture.device) < view.share
        gone = gone.repeat_interleave(view.side, 0).repeat_interleave(view.side, 1)[:height, :width]
        picture = torch.where(gone, -mean / std, picture)
    elif view.change == "noise":
        noise = torch.randn(picture.shape[1:], generator=generator, device=picture.device)
        picture = torch.clamp(picture + noise * view.noise / std, -mean / std, (1 - mean) / std)
    else:
        # a reflection at the border reaches no further than the picture
        reach = min(round(3 * view.sigma), height - 1, width - 1)
        # a Gaussian is the product of one along each axis, and torchvision's kernel of both has the square of the work
        for size in ([2 * reach + 1, 1], [1, 2 * reach + 1]):
            picture = gaussian_blur(picture, size, [view.sigma] * 2)
    return to_patches(picture, grid, layout).to(patches.dtype)
