# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo data``: list and convert training sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from verl_mapo import names
from verl_mapo.command_group import ConfigErrorGroup
from verl_mapo.overrides import check_data_path, in_shell, path_override
from verl_mapo.rows_command import register
from verl_mapo.settings import ConfigError

if TYPE_CHECKING:
    from verl_mapo.data import Conversion

data = typer.Typer(cls=ConfigErrorGroup, help="Convert public training sets, and look at rows.", no_args_is_help=True)
register(data)
console = Console()


@data.command("list")
def list_data() -> None:
    """List the built-in training sets."""
    from verl_mapo.data import DATA_SETS

    table = Table("name", Column("on the Hugging Face hub", overflow="fold"), "content")
    for name in DATA_SETS.names:
        found = DATA_SETS.find(name)
        table.add_row(name, found.hub_id, (found.__doc__ or "").partition("\n")[0])
    console.print(table)


@data.command("convert")
def convert_data(
    name: Annotated[str, typer.Argument(help="A name from 'verl-mapo data list', or the dotted path of a DataSet.")],
    source: Annotated[
        str, typer.Option(help="Folder with the published files, or OWNER/NAME on the Hugging Face hub.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for train.parquet, for images that are bytes, and for downloaded files.")
    ],
    limit: Annotated[int | None, typer.Option(help="Number of rows to write.", show_default="all", min=1)] = None,
    max_left_out: Annotated[
        float, typer.Option(help="Largest share of examples that may be left out as faulty.", min=0, max=1)
    ] = 0.05,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="Limit of pixels to write into every image.", show_default="the limit of the run", min=1),
    ] = None,
    without_judged: Annotated[
        bool, typer.Option("--without-judged", help="Leave out the rows whose answers no rule can check.")
    ] = False,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, an option of this set; repeatable.")] = None,
) -> None:
    """Write a training set as parquet in verl's schema: question, images by path, and how the answer is checked.

    The images must stay where they are. What is left out is counted by reason and listed in left_out.jsonl.

    A conversion that was interrupted continues when the command is given again.
    """
    from verl_mapo.data import DATA_SETS, convert

    try:
        dataset = DATA_SETS.find(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from None
    check_data_path("--out", out.resolve())
    choices = {"max_left_out": max_left_out, "max_pixels": max_pixels, "without_judged": without_judged}
    done = convert(dataset(given_options(option or ())), source, out.resolve(), limit, **choices)
    console.print(summary_table(done))
    if done.left_out:
        typer.echo(f"What is left out is in {done.file.with_name('left_out.jsonl')}")
    typer.echo(in_shell(path_override(names.TRAIN_FILES, done.file)))


@data.command("export", context_settings={"ignore_unknown_options": True})
def export_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder whose train.parquet has rows with turns.")],
    to: Annotated[str, typer.Option(help="The trainer that is to read them: llamafactory or ms-swift.")],
    model: Annotated[str, typer.Option(help="Folder or hub name of the model that is to be trained.")],
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl and the images.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides of verl_mapo/config/sft.yaml.")] = None,
) -> None:
    """Write rows for SFT as dialogues for another trainer, with tools, observations and crops of the agent loop."""
    from verl_mapo.coldstart.command import rows_of
    from verl_mapo.coldstart.export import export

    done = export(rows_of(model, folder / "train.parquet", overrides or []), out.resolve(), to)
    typer.echo(f"Wrote {done.rows} dialogues to {done.file}. The largest image has {done.most_pixels} pixels: set the")
    typer.echo("trainer's limit of pixels no lower (image_max_pixels of LLaMA-Factory, MAX_PIXELS of ms-swift).")
    if done.left_out:
        counts = ", ".join(f"{reason} {count}" for reason, count in done.left_out.items())
        typer.echo(f"Left out: {counts}; {out.resolve() / 'left_out.jsonl'} names the rows.")


def given_options(pairs: list[str]) -> dict[str, str | None]:
    """The options of a set by name; ``null`` is None."""
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--option {pair} is refused: write NAME=VALUE, for example question=problem.")
        given[name] = None if value == "null" else value
    return given


def summary_table(done: Conversion) -> Table:
    """The rows of a conversion by style, and what is left out by reason."""
    table = Table("rows", "count", title=f"{done.rows} rows with {done.images} images", title_justify="left")
    for style, count in done.styles.most_common():
        table.add_row(f"answers checked by {style}", str(count))
    for reason, count in done.left_out.most_common():
        table.add_row(f"left out: {reason}", str(count))
    return table
