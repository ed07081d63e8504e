# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""``verl-mapo bench export``: the answers of a run in the form of another harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from verl_mapo.overrides import make_folder
from verl_mapo.run_folder import answers_file
from verl_mapo.settings import ConfigError


def export(
    run: Annotated[Path, typer.Argument(help="answers.jsonl of a run, or the folder that holds it.")],
    data: Annotated[list[Path], typer.Option("--data", help="A file of 'bench prepare'; repeatable.", exists=True)],
    model: Annotated[str, typer.Option(help="The model's name in VLMEvalKit, the first part of the file's name.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    form: Annotated[Literal["xlsx", "tsv", "json"], typer.Option(help="VLMEvalKit's PRED_FORMAT.")] = "xlsx",
    sample: Annotated[int, typer.Option(help="Which of a question's samples is exported, from 0.", min=0)] = 0,
) -> None:
    """Write the predictions of each benchmark as VLMEvalKit does: MODEL_DATASET.xlsx, .tsv or .json.

    Its columns are index, question, the options, answer, what else is known of the question, and prediction.
    """
    import pyarrow.parquet as pq

    from verl_mapo.benchmarks.answers import read_answers
    from verl_mapo.benchmarks.vlmevalkit import DATASETS, prediction_table, write_predictions
    from verl_mapo.evaluation.prepared import check_prepared

    if not model or Path(model).name != model:
        raise ConfigError(
            f"--model {model} is refused: it is the first part of a file's name; give a name without folders, for "
            f"example {Path(model).name or 'Qwen2.5-VL-7B-Instruct'}."
        )
    check_prepared("--data", data)
    answers = read_answers(answers_file(run))
    found = [row for file in data for row in pq.read_table(file).to_pylist()]
    rows = {(row["data_source"], row["extra_info"]["id"]): row for row in found}
    make_folder("--out", out)
    for name in dict.fromkeys(answer.benchmark for answer in answers):
        table = prediction_table([answer for answer in answers if answer.benchmark == name], rows, sample)
        file = write_predictions(table, out, model, DATASETS.get(name, name), form)
        typer.echo(f"Wrote {file}")
