# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The packages in docs/examples, installed by pip into a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PACKAGES = sorted(path.parent for path in EXAMPLES.glob("*/pyproject.toml"))

METHOD_OVERRIDES = ["hydra.searchpath=[pkg://verl.trainer.config,pkg://tool_bonus]", "method=tool_bonus"]
OVERRIDES = [
    "visual_tool.tools=[zoom,contrast_tool.Contrast]",
    "+visual_tool.tool_options.contrast.gain=0.5",
    "reward.description_alignment.scorer.kind=colour_scorer.ColourScorer",
    "reward.description_alignment.scorer.model=null",
    "+reward.description_alignment.scorer.options.colours=[red,blue]",
    "reward.description_alignment.outcome=unordered_list.same_items",
]
"""The settings that make a run use all of them, as docs/extending.md gives them."""


def install(folder: Path) -> None:
    """Install every example into ``folder``, as somebody else's package would be."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, *map(str, PACKAGES)], check=True)
