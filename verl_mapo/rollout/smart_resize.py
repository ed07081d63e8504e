# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The resize of the Qwen families as a function of the size, without importing torch.

transformers and qwen_vl_utils have this function, too, in modules that load torch and torchvision: 800 MB of memory and
seconds, for arithmetic. Tests compare it with both.
"""

from __future__ import annotations

import math


def smart_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int, least_side: int = 0
) -> tuple[int, int]:
    """The (height, width) in pixels, both in whole image tokens, at which a processor shows an image.

    Rounding may lead out of the limits for thin images, and to a side of 0 for images smaller than half a token.

    Args:
        height, width: of the image, in pixels.
        factor: pixels along one image token.
        min_pixels, max_pixels: limits of the number of pixels.
        least_side: the sides are rounded to at least this before they are compared with the limits: 0 in transformers'
            processors, ``factor`` in qwen_vl_utils.

    Source:
        ``transformers.models.qwen2_vl.image_processing_qwen2_vl.smart_resize`` (5.9) and
        ``qwen_vl_utils.vision_process.smart_resize`` (0.0.14).
    """
    rows = max(round(height / factor) * factor, least_side)
    columns = max(round(width / factor) * factor, least_side)
    if rows * columns > max_pixels:
        scale = math.sqrt(height * width / max_pixels)
        rows = max(factor, math.floor(height / scale / factor) * factor)
        columns = max(factor, math.floor(width / scale / factor) * factor)
    elif rows * columns < min_pixels:
        scale = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * scale / factor) * factor for side in (height, width))
    return rows, columns
