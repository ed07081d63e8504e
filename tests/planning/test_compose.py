# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run is composed without verl, also from folders that hydra has to be told in quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.settings import ConfigError


def test_configuration_is_that_of_the_run():
    config = composed(PRIMARY, ["method=axpo", "visual_tool.max_image_pixels=50176"])
    assert config.algorithm.adv_estimator == "axpo" and config.visual_tool.max_image_pixels == 50176
    assert config.data.max_prompt_length == 512  # verl's own


def test_search_path_of_the_user_is_kept(tmp_path):
    folder = tmp_path / "with space, and comma"
    (folder / "method").mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text("# @package _global_\nmine: 3\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f'hydra:\n  searchpath: [pkg://verl.trainer.config, "file://{folder}"]\n'
        "defaults: [ppo_trainer, method: mine, _self_]\n"
    )
    config = composed(recipe, ["data.train_batch_size=7"])
    assert config.mine == 3 and config.data.train_batch_size == 7


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (None, "absent"),
        ("a: [", "recipe.*expected"),
        ("a: ${b\n", "cannot be composed"),
        ("defaults: [ppo_trainer]\n", "ppo_trainer"),
    ],
)
def test_recipe_that_hydra_cannot_read_is_named(tmp_path, recipe, words):
    file = tmp_path / "absent.yaml"
    if recipe is not None:
        file.write_text(recipe)
    with pytest.raises(ConfigError, match=words):
        composed(file, [])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algorithm.mapo.bta=1", "algorithm.mapo.bta is not a setting; did you mean algorithm.mapo.beta?"),
        ("actor_rollout_ref.rolout.n=4", "did you mean actor_rollout_ref.rollout.n?"),
        ("methd=mapo", "methd is not a setting; did you mean method?"),
        ("actor_rollout_ref.actor.optm={lr: 1}", "did you mean actor_rollout_ref.actor.optim?"),
        ("~data.train_fils", "did you mean data.train_files?"),
        ("mine=1", "mine is not a setting of verl or of this package; write +mine=1 if code of yours reads it."),
        ("~mine", "mine is not a setting of verl or of this package; leave this out."),
        ("+data.train_batch_size=4", "write data.train_batch_size=4, because"),
        ("method=mapoo", "did you mean method=mapo? The choices of method are axpo, dapo, "),
        ("+method=[grpo,mapoo]", "did you mean method=mapo? "),
        ("method=null", "is refused: the choices of method are axpo, "),
        ("data=3", "is refused: the choices of data are "),
        ("stack=gpuu", "is refused: the choices of stack are cpu, "),
        ("cluster=63", "is refused: the choices of cluster are "),
        ("mode=separate_async", "no mode in its defaults list to replace; write +mode=separate_async."),
        ("method=[mapo,vgpo]", "is refused: method has one choice and no list; write method=mapo."),
        ("cluster=[64]", "is refused: cluster has one choice and no list; write cluster=64."),
        ("method=_base", "choices of method are axpo, "),
        ("+method=axpo", "write method=axpo, because the configuration has method in its defaults list."),
        ("+stack=cpu", "write stack=cpu, because the configuration has stack in its defaults list."),
    ],
)
def test_override_that_names_no_setting_or_choice_is_refused_with_what_may_be_meant(override, words):
    with pytest.raises(ConfigError) as refused:
        composed(PRIMARY, [override])
    text = str(refused.value)
    assert text.startswith(override.replace("63", '"63"')) and words in text
    assert "append" not in text and "search path" not in text


def test_data_in_the_home_of_the_user_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert composed(PRIMARY, [], Path("~/x.parquet")).data.train_files == f"{tmp_path}/x.parquet"


def test_all_misspelt_settings_are_named_at_once():
    both = r"mapo\.bta=1 is refused: .*mapo\.beta\? data\.seedd=2 is refused: .*data\.seed\?"
    with pytest.raises(ConfigError, match=both):
        composed(PRIMARY, ["algorithm.mapo.bta=1", "method=mapo", "data.seedd=2"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.train_batch_size=${data.val_batchsize}", r"not a setting; did you mean \$\{data.val_batch_size\}\?"),
        ("data.train_files=[a.parquet,'${nowhere}']", "refers to nowhere, which is not a setting: give a value"),
        ("trainer.project_name=${nowhere}", "trainer.project_name is refused: it refers to nowhere, which"),
        ("data.seed=${.nowhere}", "data.seed is refused: it refers to .*nowhere.*, which is not a setting: give"),
    ],
)
def test_value_that_refers_to_no_setting_is_refused(override, words):
    with pytest.raises(ConfigError, match=words) as refused:
        composed(PRIMARY, [override])
    assert str(refused.value).startswith(override.partition("=")[0])


@pytest.mark.parametrize(
    "value", ["${hydra:runtime.output_dir}", "${oc.env:A_VARIABLE_OF_THE_RUN}", "${data.val_files}"]
)
def test_value_that_is_known_only_in_the_run_is_kept(value):
    assert composed(PRIMARY, [f"trainer.project_name={value}"]) is not None


def test_choice_in_a_folder_of_a_group_is_taken(tmp_path):
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "a.yaml").write_text("# @package _global_\nfound: 3\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("defaults: [optional mine: null, _self_]\n")
    assert composed(recipe, ["mine=deep/a"]).found == 3
    with pytest.raises(ConfigError, match="mine=deep/b is refused"):
        composed(recipe, ["mine=deep/b"])
