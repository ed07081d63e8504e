# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the rollouts that ``verl-mapo collect`` asks for, then the supervised rows, and prints what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from verl_mapo import names
from verl_mapo.coldstart.collect import Collection, check_out, collect
from verl_mapo.coldstart.filters import FilterSettings
from verl_mapo.overrides import check_data_path
from verl_mapo.planning.compose import composed
from verl_mapo.run_command import primary_file
from verl_mapo.run_folder import RunFolder
from verl_mapo.server_run import ServerRun, ServerSettings, made
from verl_mapo.settings import ConfigError, parse_options
from verl_mapo.training.start_checks import data_files
from verl_mapo.validation_run import ValidationRun, sampling_overrides

T = TypeVar("T")

console = Console(highlight=False)


def run_collect(
    out: Path,
    run: Path | None,
    earlier: Sequence[Path],
    options: Mapping[str, Any],
    config: list[str],
    overrides: list[str],
    timeout_h: float | None,
    verbose: bool,
) -> int:
    """Make rollouts, unless there are some, and the supervised rows.

    Args:
        out: folder of the rows.
        run: folder of the new rollouts; None for none.
        earlier: folders of runs that are read, too.
        options: the options of the command by name; the fields of :class:`FilterSettings` and, with a server, of
            :class:`ServerSettings` are among them.
        config: see :func:`verl_mapo.run_command.primary`.
        overrides: hydra overrides of the command line.
        timeout_h: time limit of rollouts of the run's own model, in hours; None for no limit.
        verbose: show verl's whole output.

    Returns:
        the exit code; 1 if the server failed or no rollout became a row.

    Raises:
        ConfigError: an option or a setting is invalid.
    """
    filters = _parsed(FilterSettings, {**options, "per_question": options["per_question"] or None})
    check_data_path("--out", out.resolve())
    if run is None and not earlier:
        raise ConfigError("Neither --run nor --from is given: add --run runs/collect, a folder for new rollouts.")
    server = options["server"] is not None
    if (server and not options["model"]) or (not server and (options["model"] or options["api_key_env"])):
        raise ConfigError("--server and --model belong together: --server http://127.0.0.1:8000/v1 --model NAME.")
    asked = _parsed(ServerSettings, options) if server else None
    whole = composed(primary_file(config), overrides)
    check_out(out, data_files(whole, names.TRAIN_FILES))
    if run is not None and asked is not None:
        if not made(ServerRun(whole, asked, run)):
            return 1
    elif run is not None and (RunFolder(run).missing.is_file() or not RunFolder(run).rollouts("val")):
        given = [*overrides, *sampling_overrides(options["temperature"])]
        own = ValidationRun(composed(primary_file(config), given), run, options["n"])
        if code := own.roll_out(config, given, timeout_h, verbose):
            return code
    collection = collect(whole, [*([] if run is None else [run]), *earlier], out, filters)
    console.print(table_of(collection))
    if collection.file is None:
        console.print("No rollout became a row: relax the filters, or make more rollouts.", style="red")
        return 1
    console.print(f"Wrote {collection.rows} rows to {collection.file}", soft_wrap=True)
    return 0


def table_of(collection: Collection) -> Table:
    """What became of the rollouts: how many each filter removed, and how many are left after it."""
    table = Table("", title="Rollouts", title_justify="left")
    for title in ("removed", "left"):
        table.add_column(title, justify="right")
    table.add_column("why")
    left = collection.rollouts
    table.add_row("recorded", "", str(left), "")
    for removal, count in collection.removed.items():
        left -= count
        table.add_row(removal.value, str(count), str(left), removal.sentence)
    table.add_section()
    table.add_row("rows", "", str(collection.rows), f"of {collection.questions} questions")
    table.add_row("  with a call", "", str(collection.calling), "")
    table.add_row("  without a call", "", str(collection.rows - collection.calling), "")
    return table


def _parsed(cls: type[T], options: Mapping[str, Any]) -> T:
    own = {each.name: options[each.name] for each in fields(cls) if each.name in options}
    return parse_options(cls, own)
