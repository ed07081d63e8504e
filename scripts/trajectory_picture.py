# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""One PNG of one rollout: the original with its boxes, each tool call with its image, label and score, and the answer.

    python scripts/trajectory_picture.py RUN --step 30 --uid UID [--split val] [--session 0] [--out docs/trajectory.png]

RUN is a run folder. The uid and the session of a rollout are in ``RUN/trajectories/<split>/<step>.jsonl``. The picture
shows the original from which the first image was returned. docs/trajectory.png, in the README, was made by this script.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from verl_mapo.report.load import Rollout, RunData
from verl_mapo.report.pages import REQUESTED, RETURNED
from verl_mapo.report.pictures import open_originals, original_size, shown_image
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.run_folder import SPLITS

INK, SOFT, GREY = "#1c2430", "#4d5866", "#d9dce1"
"""Colours of text, of secondary text, and of the placeholder for a missing image."""

WIDTH, HEIGHT = 10.6, 5.2
"""Size of the picture in inches; with many calls it is higher."""

Calls = list[tuple[int, Turn]]
"""The turns that called a tool, with their numbers from 1."""


def draw(rollout: Rollout, out: Path, root: Path) -> None:
    """Draw a rollout.

    Args:
        rollout: from :meth:`verl_mapo.report.load.RunData.rollouts`.
        out: the file to write.
        root: the run folder, see :func:`verl_mapo.report.pictures.open_originals`.
    """
    originals = open_originals(rollout.trajectory, root)
    calls = [(number, turn) for number, turn in enumerate(rollout.trajectory.turns, 1) if turn.called]
    pitch = min(max((HEIGHT - 2.0) / max(len(calls), 1), 1.4), 2.6)
    height = max(HEIGHT, 2.0 + pitch * len(calls))
    figure = Figure(figsize=(WIDTH, height), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    draw_original(figure.add_axes((0.015, 0.09, 0.44, 0.88), anchor="N"), rollout, originals, calls)
    handles = [Line2D([], [], color=RETURNED, lw=2.2, label="region that the tool returned")]
    if any(turn.box_asked for _, turn in calls):
        handles.append(Line2D([], [], color=REQUESTED, lw=2.2, ls=(0, (3, 2)), label="box that the model requested"))
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.01, 0), ncols=2, frameon=False, fontsize=9)
    draw_calls(figure, rollout, originals, calls, pitch)
    figure.savefig(out, metadata={"Software": None})


def draw_original(axes: Axes, rollout: Rollout, originals: list[Image.Image | None], calls: Calls) -> None:
    """Draw the left half: the original of the first returned image, with the boxes on it."""
    views = [(number, turn) for number, turn in calls if turn.view]
    index = views[0][1].view.image if views else 0
    original = originals[index] if originals else None
    width, height = original_size(rollout.trajectory, index, original)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    if original is None:
        axes.add_patch(Rectangle((0, 0), width, height, color=GREY))
        axes.text(width / 2, height / 2, "image not found", ha="center", va="center", color=SOFT)
    else:
        axes.imshow(original, extent=(0, width, height, 0))
    returned = [(number, turn.view.region) for number, turn in views if turn.view.image == index]
    requested = [turn.box_asked for _, turn in views if turn.view.image == index and turn.box_asked]
    for box in [*requested, *(box for _, box in returned)]:
        draw_box(axes, box, "white", 4.5, "-")
    for _, box in returned:
        draw_box(axes, box, RETURNED, 2.2, "-")
    for box in requested:
        draw_box(axes, box, REQUESTED, 2.2, (0, (4, 3)))
    for number, box in returned:
        badge = {"boxstyle": "circle,pad=0.25", "facecolor": RETURNED, "edgecolor": "white"}
        place = {"ha": "center", "va": "center", "fontsize": 9, "weight": "bold"}
        axes.text(box[0], box[1], str(number), color="white", bbox=badge, **place)


def draw_box(axes: Axes, box: tuple[float, ...], colour: str, width: float, style: Any) -> None:
    """Draw the outline of a box in pixels of the original."""
    corner, sides = (box[0], box[1]), (box[2] - box[0], box[3] - box[1])
    axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=width, linestyle=style))


def draw_calls(
    figure: Figure, rollout: Rollout, originals: list[Image.Image | None], calls: Calls, pitch: float
) -> None:
    """Draw the right half: question, calls and answer, with ``pitch`` inches from one call to the next."""
    height, side = figure.get_figheight(), pitch - 0.15
    left, beside = 0.49, 0.49 + (side + 0.2) / WIDTH

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, 1 - inches / height, text, **{"va": "top", "parse_math": False, "color": INK} | style)

    write(left, 0.16, folded(rollout.question, 46, 2), fontsize=13, weight="bold")
    y = 0.8
    for number, turn in calls:
        axes = figure.add_axes((left, 1 - (y + side) / height, side / WIDTH, side / height), anchor="NW")
        axes.set(xticks=[], yticks=[], facecolor=GREY)
        axes.spines[:].set_visible(False)
        image = shown_image(turn, originals)
        if image is not None:
            axes.imshow(image)
        label = folded(f"{number}  {turn.label or turn.description or 'no label'}", 26, 3)
        write(beside, y, label, fontsize=12)
        write(beside, y + 0.1 + 0.22 * len(label.splitlines()), verdict(turn), fontsize=10.5, color=SOFT)
        y += pitch
    turns = rollout.trajectory.turns
    answer = folded(turns[-1].text if turns else "", 48, 2) or "(no text)"
    write(left, y + 0.1, answer, fontsize=12)
    end = rollout.trajectory.end_reason or "not recorded"
    facts = f"outcome {rollout.outcome:g}, correct answer {rollout.ground_truth}, end: {end}"
    write(left, y + 0.2 + 0.22 * len(answer.splitlines()), folded(facts, 64, 1), fontsize=10.5, color=SOFT)


def verdict(turn: Turn) -> str:
    """Score, status and faults of a tool call, one a line."""
    status = [] if turn.status == TurnStatus.OK else [turn.status]
    score = [] if turn.score is None else [f"alignment {turn.score:.2f}"]
    return "\n".join([*score, *status, *turn.faults]) or "not scored"


def folded(text: str, width: int, count: int) -> str:
    """A text in at most ``count`` lines of ``width`` characters."""
    return textwrap.fill(text, width, max_lines=count, placeholder=" \u2026")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--step", type=int, required=True, help="step of the rollout")
    parser.add_argument("--uid", required=True, help="its prompt")
    parser.add_argument("--session", type=int, default=0, help="its number within the prompt")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--out", type=Path, default=Path("trajectory.png"), help="the PNG to write")
    arguments = parser.parse_args()
    run = RunData.open(arguments.run)
    if arguments.step not in run.files[arguments.split]:
        parser.error(f"no {arguments.split} rollouts of step {arguments.step} in {arguments.run}")
    rollouts = {(each.uid, each.session): each for each in run.rollouts(arguments.step, arguments.split)}
    if (arguments.uid, arguments.session) not in rollouts:
        known = ", ".join(dict.fromkeys(uid for uid, _ in rollouts))
        parser.error(f"no session {arguments.session} of uid {arguments.uid!r}; the uids of this step are: {known}")
    draw(rollouts[arguments.uid, arguments.session], arguments.out, arguments.run)
    print(f"Wrote {arguments.out}")


if __name__ == "__main__":
    main()
