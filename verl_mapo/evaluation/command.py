# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What ``verl-mapo bench run`` does: it makes the passes, judges their replies, and writes the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from verl_mapo import names
from verl_mapo.benchmarks import Benchmark
from verl_mapo.benchmarks.answers import answers_of_run, read_answers, result_of, write_answers
from verl_mapo.evaluation import suites
from verl_mapo.evaluation.passes import PassSettings, checkpoint_overrides, run_pass
from verl_mapo.evaluation.prepared import benchmarks_in, check_prepared, facts_in, prepared_files
from verl_mapo.evaluation.summary import Line, details, document, write_summary
from verl_mapo.overrides import check_overrides, path_override
from verl_mapo.run_command import primary
from verl_mapo.run_folder import answers_file
from verl_mapo.server_run import ServerSettings
from verl_mapo.settings import ConfigError, parse_options

console = Console(highlight=False)

_OF_A_SUITE = ("k", "temperature")
"""Options that a suite chooses where they are not given."""

_PROTOCOLS = {"direct": ["direct"], "tools": ["tools"], "both": ["direct", "tools"]}


def planned(settings: PassSettings, protocols: Sequence[str], greedy: bool) -> dict[str, PassSettings]:
    """The passes by the name of their folder: one for each protocol and, if asked for, a greedy one of each, too.

    Args:
        settings: of every pass but for its protocol.
        protocols: ``direct``, ``tools`` or both.
        greedy: whether to add a greedy sample to those that are drawn.
    """
    passes = {protocol: replace(settings, protocol=protocol) for protocol in protocols}
    if greedy and settings.heat > 0:
        passes |= {f"{name}_greedy": replace(each, k=1, temperature=0.0) for name, each in passes.items()}
    return passes


def run_command(out: Path, given: Sequence[str], options: Mapping[str, Any]) -> int:
    """Run the command.

    Args:
        out: folder of the passes.
        given: benchmarks, and overrides of the run.
        options: the options of the command by name.

    Returns:
        the exit code, see :func:`run_benchmarks`.

    Raises:
        ConfigError: an option, a setting or a file cannot be used.
    """
    overrides = [one for one in given if "=" in one or one.startswith(("~", "-"))]
    asked = [one for one in given if one not in overrides]
    check_overrides(overrides)
    paper = None if options["suite"] is None else suites.suite(options["suite"])
    asked = asked or (paper.benchmarks if paper else [])
    if not asked:
        raise ConfigError("No benchmark is given: name some, such as vstar, or a suite, such as --suite mapo.")
    chosen = {name: getattr(paper, name, None) if options[name] is None else options[name] for name in _OF_A_SUITE}
    if options["model"] is not None:
        overrides = [path_override(names.MODEL_PATH, options["model"]), *overrides]
    if paper is not None:
        overrides = [*paper.overrides, *overrides]
    if options["run"] is not None:
        overrides += checkpoint_overrides(options["run"])
    sampling = {name: options[name] for name in ("top_p", "seed", "batch")}
    sampling |= {name: value for name, value in chosen.items() if value is not None}
    settings = parse_options(PassSettings, sampling)
    protocols = _PROTOCOLS.get(options["protocol"]) or (paper.protocols if paper else _PROTOCOLS["both"])
    server = _server(options)
    files = prepared_files(asked, options["folder"], options["source"])
    check_prepared("NAME", files)
    return run_benchmarks(
        files,
        benchmarks_in(files, asked),
        out,
        planned(settings, protocols, options["greedy"]),
        primary(options["config"] or (None if options["recipe"] else "bench"), options["recipe"]),
        overrides,
        server,
        options["timeout_h"],
        options["verbose"],
        [(f"Published, suite {options['suite']}", paper.table())] if paper and paper.reference else [],
    )


def _server(options: Mapping[str, Any]) -> ServerSettings | None:
    url, model, key = (options[name] for name in ("server", "server_model", "api_key_env"))
    if (url is None) != (model is None) or (url is None and key is not None):
        raise ConfigError(
            "--server and --server-model belong together: --server http://127.0.0.1:8000/v1 --server-model NAME."
        )
    if url is None:
        return None
    limits = {name: options[name] for name in ("api_key_env", "concurrency", "timeout_s", "retries")}
    return parse_options(ServerSettings, {"server": url, "model": model, **limits})


def run_benchmarks(
    files: Sequence[Path],
    benchmarks: Mapping[str, Benchmark],
    out: Path,
    passes: Mapping[str, PassSettings],
    config: list[str],
    overrides: Sequence[str],
    server: ServerSettings | None = None,
    timeout_h: float | None = None,
    verbose: bool = False,
    reference: Sequence[tuple[str, pd.DataFrame]] = (),
) -> int:
    """Make the passes, and write and print what they amount to.

    ``OUT/<pass>`` is a run folder with ``answers.jsonl``, which ``verl-mapo bench compare`` and ``causes`` read;
    ``OUT/summary.json`` and ``OUT/summary.md`` have the numbers of all passes.

    Args:
        files: neutral rows, one file for each benchmark.
        benchmarks: by the ``data_source`` of the rows.
        out: the folder.
        passes: see :func:`planned`.
        config, overrides, server, timeout_h, verbose: see :func:`verl_mapo.evaluation.passes.run_pass`.
        reference: tables of published rows with their titles.

    Returns:
        the exit code of the first pass that failed; 0 if all went through.
    """
    lines: list[Line] = []
    for name, settings in passes.items():
        console.print(f"[bold]{name}[/]: {settings.k} samples at temperature {settings.heat:g}")
        if code := run_pass(files, out / name, settings, config, overrides, server, timeout_h, verbose):
            return code
        lines += judged(out / name, files, benchmarks, settings.k, settings.heat == 0)
    for benchmark in benchmarks:
        own = [line for line in lines if line.benchmark == benchmark]
        console.print(frame_table(details(own), f"{benchmark}, {own[0].questions} questions"))
    for title, table in reference:
        console.print(frame_table(table, title))
    notes = [f"`{name}`: {one.note}" for name, one in benchmarks.items() if one.note]
    console.print(*notes, sep="\n", style="dim", markup=False)
    write_summary(out, lines, {name: out / name for name in passes}, document(lines, notes, reference))
    console.print(f"Wrote {out / 'summary.md'} and summary.json, and answers.jsonl for each pass", soft_wrap=True)
    return 0


def judged(
    run: Path,
    files: Sequence[Path],
    benchmarks: Mapping[str, Benchmark],
    samples: int | None = None,
    greedy: bool = False,
    out: Path | None = None,
) -> list[Line]:
    """Judge the replies of a run by both rules, and write ``answers.jsonl``.

    Args:
        run: its folder.
        files: the questions.
        benchmarks: by the ``data_source`` of their rows.
        samples: see :func:`verl_mapo.benchmarks.answers.answers_of_run`.
        greedy: whether the samples were greedy.
        out: file to write to; None for ``answers.jsonl`` in the folder of the run.
    """
    file, facts = out or answers_file(run), facts_in(files)
    write_answers(answers_of_run(run, files, benchmarks, samples), file)
    answers, lines = read_answers(file), []
    for name in dict.fromkeys(answer.benchmark for answer in answers):
        own = [answer for answer in answers if answer.benchmark == name]
        result = result_of(benchmarks[name], own, facts[name])
        lines.append(Line(name, run.resolve().name, len(own), greedy, result))
    return lines


def frame_table(frame: pd.DataFrame, title: str | None = None) -> Table:
    """A data frame of texts as a table of the terminal."""
    table = Table(*map(str, frame.columns), title=title, title_justify="left")
    for row in frame.astype(str).values.tolist():
        table.add_row(*row)
    return table
