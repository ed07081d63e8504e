# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of the console and the page, from the gradients of a known policy."""

from __future__ import annotations

import io
import json
import math
from dataclasses import fields, replace

import pytest
from rich.console import Console
from support.policies import coin, resampled_steps, two_tokens
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.lens import command
from verl_mapo.lens.command import chosen, collect, is_collected, lens_folder, measure, of_group
from verl_mapo.lens.comparison import Comparison, Plan
from verl_mapo.lens.estimators import table
from verl_mapo.lens_command import estimators, lens_table, step_table
from verl_mapo.report.lens_page import write_page
from verl_mapo.run_command import primary
from verl_mapo.settings import ConfigError

WEIGHTED = [row.name for row in estimators() if row.tokens and not row.placebo and not row.continuations]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    coin(24, 4, noise=0.5).save(lens_folder(folder))
    return folder


def test_page_and_table_have_every_estimator_and_figure(run, tmp_path):
    assert is_collected(run)
    measured = measure(run, Plan(questions=4, rollouts=4, passes=4, draws=4), estimators())
    page = write_page(measured, tmp_path).read_text()
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(lens_table(measured))
    names = [each.name for each in estimators() if not each.tokens]
    assert [name for name in names if name not in page] == []
    printed = console.export_text()
    assert [name for name in names if name not in printed] == []
    assert f"Not measured: {', '.join(WEIGHTED)}, which weigh tokens" in page and measured.left_out == WEIGHTED
    assert "Not measured: axpo; the collection has no continuations." in page and "Whole steps" not in page
    assert page.count("<svg") == 3 and "all wrong, questions" in page
    values = json.loads((tmp_path / "lens.json").read_text())
    assert [row["name"] for row in values["table"]] == names
    assert set(values["table"][0]) == {each.name for each in fields(Comparison)}
    assert [*values["by_batch"]] == ["1", "2", "4"] and [*values["by_group"]] == ["2", "4"]


def test_lambda_is_measured_where_a_rollout_has_two_scored_turns(run, tmp_path):
    plan, collection = Plan(questions=4, rollouts=4, passes=4, draws=4), coin(24, 4, noise=0.5)
    twice = {name: getattr(collection, name).repeat(1, 2) for name in ("turn_scores", "turn_status")}
    replace(collection, **twice).save(lens_folder(tmp_path))
    two, one = measure(tmp_path, plan, estimators()), measure(run, plan, estimators())
    assert two.turns == 1.0 and [*two.by_discount] == [0.25, 0.5, 0.75, 1.0]
    assert one.turns == 0.0 and one.by_discount == {}
    pages = [write_page(each, tmp_path).read_text() for each in (two, one)]
    assert [page.count("<svg") for page in pages] == [4, 3]
    assert ["no rollout has two scored" in page for page in pages] == [False, True]


def test_rows_with_token_weights_and_their_placebos_stand_beside_the_others(tmp_path):
    two_tokens(24, (1.6, 0.4)).save(lens_folder(tmp_path))
    measured = measure(tmp_path, Plan(questions=4, rollouts=2, passes=4, draws=2), estimators())
    assert {"vgpo", "vgpo, shuffled"} <= {row.name for row in measured.table} and measured.left_out == WEIGHTED[1:]


def test_collection_of_axpo_has_a_table_of_whole_steps_beside_the_other_rows(tmp_path):
    resampled_steps(6, 4).save(lens_folder(tmp_path))
    measured = measure(tmp_path, Plan(questions=4, rollouts=4, passes=4, draws=2), estimators())
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(step_table(measured.steps))
    page, printed = write_page(measured, tmp_path).read_text(), console.export_text()
    assert "6 whole steps of 4 questions with 4 rollouts each" in printed and "Whole steps of AXPO" in page
    rows = [row["name"] for row in json.loads((tmp_path / "lens.json").read_text())["steps"]["table"]]
    assert rows == ["grpo", "axpo", "axpo, shuffled"] and all(row in printed and row in page for row in rows)
    assert len(measured.collection.outcome) == 96 and "axpo" not in {row.name for row in measured.table}
    few = "There are 6 whole steps, which are too few for the intervals of axpo: collect at least 16"
    assert any(few in note for note in measured.notes) and few in page
    nothing = replace(measured, steps=replace(measured.steps, number=16, continuations=0), left_out=[])
    assert nothing.notes == ["No prefix was resampled in any step, so axpo is grpo here."]


@pytest.mark.parametrize(("method", "steps", "batch"), [("axpo", 12, 8), ("mapo", 3, 32)])
def test_step_of_a_collection_of_axpo_has_the_questions_of_a_batch(tmp_path, monkeypatch, method, steps, batch):
    seen = []
    monkeypatch.setattr(command, "launch_run", lambda run, config, overrides, *_: seen.extend(overrides) or 1)
    assert collect(tmp_path, primary(None, None), [f"method={method}"], 96, 8, 8, None, False) == 1
    assert {f"data.train_batch_size={batch}", f"trainer.total_training_steps={steps}"} <= set(seen)


def test_figure_that_cannot_be_told_is_a_dash_on_the_page(run, tmp_path):
    measured = measure(run, Plan(questions=4, rollouts=4, passes=4, draws=4), estimators())
    first = measured.table[0]
    names = ("variance", "true_cosine")
    first = replace(first, **{name: getattr(first, name)._replace(value=math.nan) for name in names})
    page = write_page(replace(measured, table=[first]), tmp_path).read_text()
    assert page.count("<td>–</td>") == 2 and "nan" not in page.partition("<h2>Larger")[0]


def test_few_questions_have_a_page_that_says_what_is_not_measured(tmp_path):
    collection = coin(3, 8, noise=0.3)
    replace(collection, manifest={"left_out": 1}).save(lens_folder(tmp_path))
    measured = measure(tmp_path, Plan(questions=1, rollouts=4, passes=2, draws=2), estimators())
    page = write_page(measured, tmp_path).read_text()
    assert "1 collected questions are left out" in page and "SNR, worth and variance are not measured" in page
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(lens_table(measured))
    assert "nan" not in page.partition("<h2>Larger")[0] + console.export_text()
    written = (tmp_path / "lens.json").read_text()
    assert "NaN" not in written and json.loads(written)["table"][0]["snr"] == [None, None, None]


def test_gradients_of_other_settings_and_folders_of_other_runs_are_refused(tmp_path):
    replace(coin(24, 4), manifest={"overrides": ["b=1", "a=1"]}).save(lens_folder(tmp_path / "lens"))
    plan = Plan(questions=4, rollouts=4, passes=2, draws=2)
    assert measure(tmp_path / "lens", plan, estimators(), ["a=1", "b=1"]).table
    with pytest.raises(ConfigError, match="collected with other settings, b=1 a=1. Leave the settings out"):
        measure(tmp_path / "lens", plan, estimators(), ["a=2"])
    (tmp_path / "run.json").write_text(json.dumps({"arguments": ["method=grpo"]}))
    with pytest.raises(ConfigError, match="wrote records, which would be replaced, and no gradients"):
        collect(tmp_path, primary(None, None), ["method=mapo"], 96, 8, 8, None, False)


def test_passes_fall_with_the_size_of_the_group():
    assert [of_group(Plan(), size).passes for size in (2, 8, 16, 32)] == [25, 25, 6, 2]


def test_base_mapo_and_its_placebo_are_drawn():
    for betas, drawn in {(0.2, 0.4): 0.4, (0.2, 1.0): 0.2}.items():
        names = [each.name for each in chosen(table(betas))]
        assert names == ["grpo", f"mapo beta={drawn:g}", f"mapo beta={drawn:g}, shuffled"]


def test_folder_without_gradients_is_refused(tmp_path):
    assert not is_collected(tmp_path)
    with pytest.raises(ConfigError, match="no collection of the lens"):
        measure(tmp_path, Plan(), estimators())


def test_batches_that_the_rollouts_do_not_suffice_for_are_refused_before_anything_is_rolled_out(tmp_path):
    for option, words in {
        "--group": "--group 9 is refused: give 2 to 8",
        "--batch": "--batch 9 is refused: give 1 to 4",
    }.items():
        command = ["lens", "--run", str(tmp_path / "run"), "--questions", "8", "--rollouts", "8", "--batch", "4"]
        done = CliRunner().invoke(app, [*command, option, "9"])
        assert done.exit_code == 2 and words in " ".join(done.output.replace("│", " ").split())
        assert not (tmp_path / "run").exists()
