# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the output of verl, ray and vLLM: one short line for each step, and the last lines when a run fails."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

_STEP = re.compile(r"\bstep:(\d+) - (.+)")
_VALUE = re.compile(r"([\w/@.-]+):(?:np\.\w+\()?(-?[\d.]+(?:e-?\d+)?)")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")

_COLUMNS = {
    "loss": [r"train/loss"],
    "held-out loss": [r"val/loss"],
    "outcome": [r"axpo/outcome/original", r"mapo/outcome/mean", r"critic/score/mean"],
    "alignment": [r"mapo/alignment/mean"],
    "tool rate": [r"rollout_visual/tool_rate"],
    "valid calls": [r"rollout_visual/valid_call_rate"],
    "recovered": [r"axpo/recovery_rate"],
    "seconds": [r"timing_s/step"],
    "held-out accuracy": [r"val-\w+/.+/acc/mean@\d+"],
    "held-out alignment": [r"val-\w+/.+/alignment/mean@\d+"],
}
"""Title to patterns of metric names; the first pattern that matches a logged metric counts."""


class Progress:
    """Takes the output of a run line by line and reports its steps.

    Args:
        say: called with each line to show.
        total: number of steps of the run; None if it is not known.

    Attributes:
        KEPT: number of output lines that :meth:`explain` returns.
    """

    KEPT = 40

    def __init__(self, say: Callable[[str], None], total: int | None = None):
        self.say = say
        self.total = f"/{total}" if total else ""
        self.last: deque[str] = deque(maxlen=self.KEPT)

    def __call__(self, text: str) -> None:
        line = _COLOURS.sub("", text).rstrip()
        self.last.append(line)
        if (own := line.find("verl-mapo: ")) >= 0:
            self.say(line[own:])
        elif "Started a local Ray instance" in line:
            self.say("ray is up; loading the model and vLLM (about a minute)")
        elif found := _STEP.search(line):
            self.say(f"step {found[1]}{self.total}  {_summary(found[2])}")

    def again(self, step: int) -> str:
        """What the same command does after a failure.

        Args:
            step: the step of the last checkpoint; 0 without one.
        """
        return f"goes on after step {step}" if step else "begins anew"

    def explain(self) -> str:
        """The last lines of the output, which usually say why a run failed."""
        return "\n".join(self.last)


def _summary(text: str) -> str:
    logged = dict(_VALUE.findall(text))
    shown = []
    for title, patterns in _COLUMNS.items():
        found = [name for pattern in patterns for name in logged if re.fullmatch(pattern, name)]
        if found:
            digits = 1 if title == "seconds" else 3
            shown.append(f"{title} {float(logged[found[0]]):.{digits}f}")
    return "  ".join(shown)
