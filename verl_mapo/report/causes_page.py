# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What ``bench causes`` found: ``causes.html``, with real and swapped images side by side, and ``causes.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from verl_mapo.report import pages
from verl_mapo.report.cards import Card, card
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.report.pictures import open_picture, shown_image
from verl_mapo.rollout.audit_record import Swap
from verl_mapo.rollout.trajectory import Turn
from verl_mapo.run_folder import RunFolder, write_whole
from verl_mapo.tools.coordinates import View
from verl_mapo.training.audit_metrics import RIGHT

if TYPE_CHECKING:
    from verl_mapo.benchmarks.audits import Causes

TEMPLATE = "causes.html.j2"

_SIDE = 220
_GREY = (127, 127, 127)
_CHAPTERS = {
    (True, False): ("Right because of the look", "The answer is right, and wrong when any other image is shown."),
    (True, True): ("Called without looking", "The answer is right, and stays right when another image is shown."),
    (False, True): ("Wrong, and right without the look", "The answer is wrong, and right when another is shown."),
    (False, False): ("Wrong with and without the look", "The answer is wrong whatever is shown."),
}
"""Title and rule by whether the real answer is right, and whether one after a swap is."""


@dataclass(frozen=True)
class DrawnLook:
    """One image, and what was answered after it.

    Attributes:
        title: what was shown.
        image: a ``data:`` URL; empty where it could not be read.
        reply: the text of the last turn.
        right: whether it is right; None where that is not known.
        evidence: log-probability of the right answer after the look, in nats; None where it is not known.
        calls: number of further calls of tools.
    """

    title: str
    image: str
    reply: str
    right: bool | None
    evidence: float | None
    calls: int


@dataclass(frozen=True)
class Example:
    """One audited trajectory: the rollout, and its real look beside the swapped ones."""

    card: Card
    looks: list[DrawnLook]


def write_causes(
    found: Mapping[str, Causes], frame: pd.DataFrame, run: Path, out: Path, rule: str, samples: int = 4
) -> Path:
    """Write page and numbers into a folder, which is made if absent.

    Args:
        found: see :func:`verl_mapo.benchmarks.audits.causes_of`.
        frame: see :func:`verl_mapo.benchmarks.causes_table.table`.
        run: the folder of the run with tools, of whose recorded audits some are drawn.
        out: the folder.
        rule: whose verdicts count in the table.
        samples: number of trajectories of each kind.

    Returns:
        the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "causes.json", json.dumps({name: asdict(causes) for name, causes in found.items()}, indent=1))
    context = {
        "run": run.name,
        "rule": rule,
        "columns": list(frame.columns),
        "rows": frame.to_numpy().tolist(),
        "audited": any(causes.swaps for causes in found.values()),
        "chapters": _chapters(_audited(run), run, samples),
    }
    pages.write_page(TEMPLATE, context, out / "causes.html")
    return out / "causes.html"


def _audited(run: Path) -> list[Rollout]:
    """The audited rollouts of the last validation of a run with a known outcome; none where nothing was recorded."""
    steps = RunFolder(run).rollouts("val")
    if not steps:
        return []
    rollouts = RunData.open(run).rollouts(max(steps), "val")
    return [each for each in rollouts if each.known_outcome is not None and _swaps(each)]


def _swaps(rollout: Rollout) -> list[Swap]:
    """The swaps that show something else, and whose outcome is known."""
    audit = rollout.trajectory.audit
    return [swap for swap in audit.swaps if swap.kind != "repeat" and swap.outcome is not None] if audit else []


def _chapters(rollouts: Iterable[Rollout], root: Path, samples: int) -> list[tuple[str, str, int, list[Example]]]:
    """Title, rule, number of rollouts and examples of each chapter; an example is the first rollout of a question."""
    kinds: dict[tuple[bool, bool], list[Rollout]] = {kind: [] for kind in _CHAPTERS}
    for rollout in rollouts:
        kinds[rollout.outcome > RIGHT, any(swap.outcome > RIGHT for swap in _swaps(rollout))].append(rollout)
    return [
        (*_CHAPTERS[kind], len(members), [_example(each, root) for each in _of_questions(members)[:samples]])
        for kind, members in kinds.items()
    ]


def _of_questions(rollouts: Iterable[Rollout]) -> list[Rollout]:
    return list({rollout.question_id: rollout for rollout in reversed(list(rollouts))}.values())[::-1]


def _example(rollout: Rollout, root: Path) -> Example:
    drawn = card(f"Rollout {rollout.session}", rollout, root)
    audit = rollout.trajectory.audit
    turn = rollout.trajectory.turns[audit.turn]
    after = rollout.trajectory.turns[audit.turn + 1 :]
    calls = sum(each.called for each in after)
    real = DrawnLook(
        "real look", drawn.turns[audit.turn].image, after[-1].text, rollout.outcome > RIGHT, audit.evidence, calls
    )
    return Example(drawn, [real, *(_drawn_swap(swap, turn, root) for swap in audit.swaps)])


def _drawn_swap(swap: Swap, turn: Turn, root: Path) -> DrawnLook:
    image: Image.Image | None
    if swap.box is None:
        image = Image.new("RGB", turn.view.size, _GREY)
    else:
        view = View(0, swap.box, turn.view.quarter_turns, turn.view.size)
        computed = turn.computed and swap.kind == "repeat"
        image = shown_image(replace(turn, view=view, computed=computed), [open_picture(swap.source, None, root)])
    url = "" if image is None else pages.jpeg_url(image, _SIDE)
    right = None if swap.outcome is None else swap.outcome > RIGHT
    return DrawnLook(swap.kind.replace("_", " "), url, swap.reply, right, swap.evidence, swap.calls)
