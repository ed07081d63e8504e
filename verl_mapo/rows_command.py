# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo data stats``, ``view`` and ``overlap``: look at a converted set before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Place = Annotated[Path, typer.Argument(help="Folder that verl-mapo data convert wrote, or one .parquet file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Hydra overrides of the run, for example visual_tool.max_image_pixels=1003520."),
]
Recipe = Annotated[Path | None, typer.Option(help="The yaml file of the run.", exists=True, dir_okay=False)]
Out = Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="the folder of the rows")]
Model = Annotated[
    Path | None,
    typer.Option(help="Folder with the model's tokenizer, template and configuration.", exists=True, file_okay=False),
]

console = Console()


def stats(
    place: Place,
    overrides: Overrides = None,
    model: Model = None,
    recipe: Recipe = None,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON instead of tables.")] = False,
) -> None:
    """Count rows, sources, pixels, tokens and prompts of a converted set, and what a step needs of host memory.

    The limits are those of the run: of --recipe, or the defaults, with the overrides.

    With --model, prompts are rendered with its template and counted; without, image tokens of each released family.

    The command writes stats.json and stats.png. No image is decoded: what is cut short is found from its structure.
    """
    from verl_mapo.data.stats import stats_of
    from verl_mapo.data.stats_picture import write_picture
    from verl_mapo.data.stats_tables import tables
    from verl_mapo.planning.compose import PRIMARY, composed

    found = stats_of(place, composed(recipe or PRIMARY, overrides or []), model)
    folder = out_folder(place, out)
    text = json.dumps(found.as_json(), indent=2, ensure_ascii=False)
    (folder / "stats.json").write_text(text + "\n", encoding="utf-8")
    write_picture(found, folder / "stats.png")
    if as_json:
        typer.echo(text)
        return
    for table in tables(found):
        console.print(table)
    typer.echo(f"Wrote {folder / 'stats.json'} and {folder / 'stats.png'}")


def out_folder(place: Path, out: Path | None) -> Path:
    """The folder to write to, which is made."""
    folder = out or (place.parent if place.is_file() else place)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def register(app: typer.Typer) -> None:
    """Add the commands to ``verl-mapo data``."""
    app.command("stats", context_settings={"ignore_unknown_options": True})(stats)
