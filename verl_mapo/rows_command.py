# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo data stats``, ``view`` and ``overlap``: look at a converted set before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from verl_mapo.overrides import make_folder
from verl_mapo.settings import ConfigError

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

    With --model, prompts are rendered with its template and counted; without, only image tokens are: those of the
    family of the run's model, or of each released family where its name does not tell.

    The command writes stats.json and stats.png. No image is decoded: what is cut short is found from its structure.
    """
    from verl_mapo.data.stats import stats_of
    from verl_mapo.data.stats_picture import write_picture
    from verl_mapo.data.stats_tables import tables
    from verl_mapo.planning.compose import PRIMARY, composed

    config = composed(recipe or PRIMARY, overrides or [])
    folder = out_folder(place, out)
    found = stats_of(place, config, model)
    text = json.dumps(found.as_json(), indent=2, ensure_ascii=False)
    (folder / "stats.json").write_text(text + "\n", encoding="utf-8")
    write_picture(found, folder / "stats.png")
    if as_json:
        typer.echo(text)
        return
    for table in tables(found):
        console.print(table)
    typer.echo(f"Wrote {folder / 'stats.json'} and {folder / 'stats.png'}")


def view(
    place: Place,
    model: Annotated[
        Path,
        typer.Option(help="Folder with the model's tokenizer and template.", exists=True, file_okay=False),
    ],
    overrides: Overrides = None,
    recipe: Recipe = None,
    out: Out = None,
    samples: Annotated[int, typer.Option(help="Number of rows to show.", min=1)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the choice of rows.")] = 0,
) -> None:
    """Write view.html: sampled rows as the model will see them, with prompt, images, boxes and truth.

    The prompt is rendered by the code of the agent loop, with the tools and limits of the run and the model's template.
    """
    from verl_mapo.data.view import write_view
    from verl_mapo.planning.compose import PRIMARY, composed

    config = composed(recipe or PRIMARY, overrides or [])
    typer.echo(f"Wrote {write_view(place, config, model, out_folder(place, out), samples, seed)}")


def overlap(
    place: Place,
    benchmark: Annotated[
        Path,
        typer.Option("--with", help="The benchmark: a converted set, or a folder of images.", exists=True),
    ],
    out: Out = None,
    most_bits: Annotated[
        int, typer.Option(help="Differing bits, of 64, up to which two images count as alike.", min=0, max=16)
    ] = 6,
    pairs: Annotated[int, typer.Option(help="Number of pairs to draw in the page.", min=1)] = 60,
) -> None:
    """Find images that the data share with a benchmark: equal files, and images with nearly equal perceptual hashes.

    The command writes overlap.json with all pairs, and overlap.html with pairs side by side.

    A copy of another size or quality is found; a crop or a mirror image is not.
    """
    from verl_mapo.data.overlap import overlap_of, overlap_table, write_overlap_page

    folder = out_folder(place, out)
    found = overlap_of(place, benchmark, most_bits)
    text = json.dumps(found.as_json(), indent=2, ensure_ascii=False)
    (folder / "overlap.json").write_text(text + "\n", encoding="utf-8")
    page = write_overlap_page(found, folder, pairs)
    console.print(overlap_table(found))
    typer.echo(f"Wrote {folder / 'overlap.json'} and {page}")


def out_folder(place: Path, out: Path | None) -> Path:
    """The folder to write to, which is made if it is absent; that of the rows is not.

    Raises:
        ConfigError: it is a file, or cannot be made or written to.
    """
    if out is None and not place.exists():
        raise ConfigError(f"{place} does not exist: give the folder that verl-mapo data convert wrote.")
    folder = out or (place.parent if place.is_file() else place)
    make_folder("--out", folder)
    return folder


def register(app: typer.Typer) -> None:
    """Add the commands to ``verl-mapo data``."""
    for command in (stats, view, overlap):
        app.command(context_settings={"ignore_unknown_options": True})(command)
