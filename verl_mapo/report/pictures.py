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
"""Pictures of a trajectory: the originals it looked at, the crops it was shown, and one PNG of the whole."""

from __future__ import annotations

import base64
import io
import logging
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from verl_mapo.report.load import Rollout
from verl_mapo.tools.image_history import ImageHistory, whole

logger = logging.getLogger(__name__)

EXECUTED, SAID = "#0072B2", "#D55E00"
"""Colours of boxes (Okabe and Ito's, told apart by all common forms of colour vision)."""
_INK, _SOFT, _GREY = "#1c2430", "#4d5866", "#d9dce1"
_UNKNOWN_SIZE = (640, 480)


def open_originals(trajectory: dict[str, Any], root: Path) -> list[Image.Image | None]:
    """The originals of a trajectory's record; None for one that is gone or no longer has the size it had.

    Args:
        trajectory: as :meth:`verl_mapo.rollout.trajectory.Trajectory.record` gives it.
        root: the run folder, where a relative path is looked for when it leads nowhere from here.
    """
    sizes = trajectory["image_sizes"] or [None] * len(trajectory["images"])
    return [_open(reference, size, root) for reference, size in zip(trajectory["images"], sizes, strict=True)]


def _open(reference: str, size: list[int] | None, root: Path) -> Image.Image | None:
    path = Path(reference.removeprefix("file://"))
    try:
        with Image.open(path if path.is_file() else root / path) as image:
            opened = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        logger.warning("The report draws a placeholder for image %r: %s", reference, error)
        return None
    if size is not None and opened.size != tuple(size):
        logger.warning("The report draws a placeholder for image %r: it had %s pixels then.", reference, size)
        return None
    return opened


def original_size(trajectory: dict[str, Any], index: int, original: Image.Image | None) -> tuple[int, int]:
    """(width, height) of an original in pixels: of the image, of the record, or made up where neither is known."""
    if original is not None:
        return original.size
    sizes = trajectory["image_sizes"]
    return tuple(sizes[index]) if index < len(sizes) else _UNKNOWN_SIZE


def cut(turn: dict[str, Any], originals: list[Image.Image | None]) -> Image.Image | None:
    """What a turn was shown, at full resolution; None where it was shown nothing or the original is gone."""
    if turn["status"] != "ok" or turn["box_executed"] is None:
        return None
    original = originals[turn["image"]]
    if original is None:
        return None
    gallery = ImageHistory.of([whole(original, 0, _as_it_is)], _as_it_is)
    return gallery.look(0, tuple(turn["box_executed"]), turn["quarter_turns"]).crop


def _as_it_is(size: tuple[int, int]) -> tuple[int, int]:
    return size


def called(turn: dict[str, Any]) -> bool:
    """Whether a turn tried to call a tool."""
    return turn["status"] not in ("answer", "cut")


def area(turn: dict[str, Any], size: tuple[int, int]) -> float:
    """The share of an original of this size that the executed box covers."""
    x1, y1, x2, y2 = turn["box_executed"]
    return (x2 - x1) * (y2 - y1) / (size[0] * size[1])


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


def trajectory_picture(record: Rollout, out: Path, root: Path = Path()) -> None:
    """One PNG of one trajectory: the image with its boxes, every call with crop, label and score, the answer.

    Drawn is the original that the first call looked at.

    Args:
        record: a line of ``trajectories/<split>/<step>.jsonl``, see :meth:`Rollout.of`.
        out: the file to write.
        root: the run folder, see :func:`open_originals`.
    """
    originals = open_originals(record.trajectory, root)
    calls = [(number, turn) for number, turn in enumerate(record.trajectory["turns"], 1) if called(turn)]
    pitch = min(max((_HEIGHT - 2.0) / max(len(calls), 1), 1.4), 2.6)
    height = max(_HEIGHT, 2.0 + pitch * len(calls))
    figure = Figure(figsize=(_WIDTH, height), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    _draw_scene(figure.add_axes((0.015, 0.09, 0.44, 0.88), anchor="N"), record, originals, calls)
    handles = [Line2D([], [], color=EXECUTED, lw=2.2, label="box that was cut")]
    if any(turn["box_asked"] for _, turn in calls):
        handles.append(Line2D([], [], color=SAID, lw=2.2, ls=(0, (3, 2)), label="box the model said"))
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.01, 0), ncols=2, frameon=False, fontsize=9)
    _draw_story(figure, record, originals, calls, pitch)
    figure.savefig(out, metadata={"Software": None})


_WIDTH, _HEIGHT = 10.6, 5.2
"""Of the picture in inches; many calls make it higher."""


def _draw_scene(
    axes: Axes, record: Rollout, originals: list[Image.Image | None], calls: list[tuple[int, dict[str, Any]]]
) -> None:
    index = next((turn["image"] for _, turn in calls if turn["image"] is not None), 0)
    original = originals[index] if originals else None
    width, height = original_size(record.trajectory, index, original)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    if original is None:
        axes.add_patch(Rectangle((0, 0), width, height, color=_GREY))
        axes.text(width / 2, height / 2, "image not found", ha="center", va="center", color=_SOFT)
    else:
        axes.imshow(original, extent=(0, width, height, 0))
    looks = [(number, turn) for number, turn in calls if turn["image"] == index]
    executed = [(number, turn["box_executed"]) for number, turn in looks if turn["box_executed"] is not None]
    asked = [box for _, turn in looks if (box := turn["box_asked"]) is not None]
    for box in [*asked, *(box for _, box in executed)]:
        _draw_box(axes, box, "white", 4.5, "-")
    for _, box in executed:
        _draw_box(axes, box, EXECUTED, 2.2, "-")
    for box in asked:
        _draw_box(axes, box, SAID, 2.2, (0, (4, 3)))
    for number, box in executed:
        badge = {"boxstyle": "circle,pad=0.25", "facecolor": EXECUTED, "edgecolor": "white"}
        place = {"ha": "center", "va": "center", "fontsize": 9, "weight": "bold"}
        axes.text(box[0], box[1], str(number), color="white", bbox=badge, **place)


def _draw_box(axes: Axes, box: list[float], colour: str, width: float, style: Any) -> None:
    corner, sides = (box[0], box[1]), (box[2] - box[0], box[3] - box[1])
    axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=width, linestyle=style))


def _draw_story(
    figure: Figure,
    record: Rollout,
    originals: list[Image.Image | None],
    calls: list[tuple[int, dict[str, Any]]],
    pitch: float,
) -> None:
    """The right half; ``pitch`` is the distance from one call to the next in inches."""
    height, side = figure.get_figheight(), pitch - 0.15
    left, beside = 0.49, 0.49 + (side + 0.2) / _WIDTH

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, 1 - inches / height, text, **{"va": "top", "parse_math": False, "color": _INK} | style)

    write(left, 0.16, _folded(record.question, 46, 2), fontsize=13, weight="bold")
    y = 0.8
    for number, turn in calls:
        axes = figure.add_axes((left, 1 - (y + side) / height, side / _WIDTH, side / height), anchor="NW")
        axes.set(xticks=[], yticks=[], facecolor=_GREY)
        axes.spines[:].set_visible(False)
        crop = cut(turn, originals)
        if crop is not None:
            axes.imshow(crop)
        label = _folded(f"{number}  {turn['label'] or turn['description'] or 'no label'}", 26, 3)
        write(beside, y, label, fontsize=12)
        write(beside, y + 0.1 + 0.22 * len(label.splitlines()), _verdict(turn), fontsize=10.5, color=_SOFT)
        y += pitch
    last = record.trajectory["turns"][-1]["text"] if record.trajectory["turns"] else ""
    last = _folded(last, 48, 2) or "(nothing was written)"
    write(left, y + 0.1, last, fontsize=12)
    facts = f"outcome {record.outcome:g}, truth {record.ground_truth}, ended by {record.trajectory['end_reason']}"
    write(left, y + 0.2 + 0.22 * len(last.splitlines()), _folded(facts, 64, 1), fontsize=10.5, color=_SOFT)


def _verdict(turn: dict[str, Any]) -> str:
    refused = [] if turn["status"] == "ok" else [turn["status"]]
    score = [] if turn["score"] is None else [f"alignment {turn['score']:.2f}"]
    return "\n".join([*score, *refused, *turn["faults"]]) or "not scored"


def _folded(text: str, width: int, count: int) -> str:
    return textwrap.fill(text, width, max_lines=count, placeholder=" \u2026")
