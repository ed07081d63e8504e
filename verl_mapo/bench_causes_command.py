# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench causes``: do the answers of a run come from its looks?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from verl_mapo.overrides import make_folder
from verl_mapo.run_folder import answers_file


def causes(
    with_tools: Annotated[Path, typer.Argument(help="answers.jsonl of a run with tools, or its folder.")],
    without: Annotated[Path, typer.Argument(help="The same of a run on the same questions without tools.")],
    rule: Annotated[Literal["ours", "official"], typer.Option(help="Which verdicts count.")] = "ours",
    out: Annotated[
        Path | None, typer.Option(help="Folder for causes.html and causes.json.", show_default="none is written")
    ] = None,
    samples: Annotated[int, typer.Option(help="Trajectories of each kind on the page.", min=0)] = 4,
) -> None:
    """Tell whether the looks cause the answers.

    The difference that tools make is split exactly: CallGain + SchemaGain - CallHarm - SchemaHarm.

    Of a run with visual_tool.audit.share=1 it also tells what the model answers when it is shown something else.
    """
    from verl_mapo.benchmarks.answers import read_answers
    from verl_mapo.benchmarks.audits import causes_of, check_order
    from verl_mapo.benchmarks.causes_table import table
    from verl_mapo.evaluation.command import frame_table

    files = answers_file(with_tools), answers_file(without)
    check_order(*(file.parent for file in files))
    found = causes_of(*map(read_answers, files), rule)
    frame = table(found.values())
    if out is not None:
        make_folder("--out", out)
    Console().print(frame_table(frame))
    if out is not None:
        from verl_mapo.report.causes_page import write_causes

        typer.echo(f"Wrote {write_causes(found, frame, files[0].parent, out, rule, samples)}")
