# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What all HTML pages share: their style, their filters, and images inside the page. A page is one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from verl_mapo.charts import BLUE, VERMILION

RETURNED, REQUESTED = BLUE, VERMILION
"""Colours of boxes: the region that a tool returned, and the box as the model requested it."""

_HEAD, _TAIL = 500, 250
"""Characters of a long text that are kept at its start and at its end."""


def write_page(template: str, context: Mapping[str, Any], file: Path, folder: Path | None = None) -> None:
    """Render a template and write the page.

    Args:
        template: its name, in ``folder`` or in the folder of this module.
        context: the values that it uses.
        file: the HTML file to write.
        folder: the folder of the template, if it is another one.
    """
    page = _environment(folder).get_template(template).render(context)
    # A model or a data set may have half of a surrogate pair, which UTF-8 cannot encode.
    file.write_bytes(page.encode("utf-8", errors="replace"))


def _environment(folder: Path | None) -> Environment:
    folders = [Path(__file__).parent, *([] if folder is None else [folder])]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"returned": RETURNED, "requested": REQUESTED}
    environment.filters["share"] = lambda value: "\u2013" if value is None else f"{value:.1%}"
    environment.filters["number"] = lambda value: "\u2013" if value is None else _minus(f"{value:.2f}")
    environment.filters["signed"] = lambda value: "\u2013" if value is None else _minus(f"{value:+.2f}")
    environment.filters["box"] = lambda box: "\u2013" if box is None else ", ".join(f"{value:g}" for value in box)
    environment.filters["shortened"] = shortened
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment


def _minus(number: str) -> str:
    return number.replace("-", "\u2212")


def shortened(text: str) -> str:
    """The text, or its start and its end if it is long."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]} \u2026 ({len(text) - _HEAD - _TAIL} characters left out) \u2026 {text[-_TAIL:]}"


def jpeg_url(image: Image.Image, side: int) -> str:
    """An image as a ``data:`` URL, its longest side at most ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return data_url(buffer.getvalue(), "image/jpeg")


def data_url(content: bytes, mime: str) -> str:
    """Bytes as a ``data:`` URL."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
