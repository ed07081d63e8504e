# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The options that the commands which start a run have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[list[str] | None, typer.Argument(help="Hydra overrides, as for verl's main_ppo.")]
Config = Annotated[str | None, typer.Option(help="A primary configuration in verl_mapo.config.", show_default="run")]
Recipe = Annotated[
    Path | None, typer.Option(help="The run's primary configuration: any yaml file, such as one of recipes/.")
]
Timeout = Annotated[float | None, typer.Option(help="Hours after which the run is stopped.", show_default="no limit")]
Verbose = Annotated[bool, typer.Option(help="Show verl's whole output instead of one line per step.")]
