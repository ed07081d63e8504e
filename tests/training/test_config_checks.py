# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields

import pytest
from datasets import Dataset
from support.scripted import compose_config

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.rewards.compute_score import check_plain_rows
from verl_mapo.rewards.settings import DescriptionAlignmentSettings
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, parse_node, select
from verl_mapo.training import config_checks
from verl_mapo.training.config_checks import check_columns, check_config, check_rows, uses_this_package
from verl_mapo.training.lens import LensSettings
from verl_mapo.training.records import RecordSettings


def test_shipped_configuration_holds_the_defaults_of_every_settings_class():
    for method in ("mapo", "axpo", "vgpo"):
        check_config(compose_config(f"method={method}"))
    config = compose_config("method=axpo")
    for settings in (
        MapoSettings,
        AxpoSettings,
        VisualCreditSettings,
        LensSettings,
        VisualToolSettings,
        RecordSettings,
    ):
        assert parse(settings, config) == settings()
        assert set(select(config, settings.NODE)) == {field.name for field in fields(settings)}, (
            "every setting is shown"
        )
    minimal = {"scorer": {"model": "org/name"}}
    node = DescriptionAlignmentSettings.NODE
    assert parse(DescriptionAlignmentSettings, config) == parse_node(DescriptionAlignmentSettings, minimal, node)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+algorithm.mapo.betta=1", "did you mean algorithm.mapo.beta?"),
        (
            "algorithm.adv_estimator=mappo",
            "algorithm.adv_estimator=mappo is no estimator of this package or of verl: did you mean mapo?",
        ),
        ("+algorithm.visual_credt.beta=1", "visual_credt is not a setting; did you mean algorithm.visual_credit?"),
        ("+algorithm.axpo=3", "algorithm.axpo=3 is refused: it holds several settings"),
        ("algorithm.mapo.beta=-1", "algorithm.mapo.beta=-1 is refused"),
        ("visual_tool.describe=during", "visual_tool.describe='during' is refused"),
        ("visual_tool=null", "visual_tool=null is refused: it holds several settings"),
        ("algorithm.mapo=null", "algorithm.mapo=null is refused: it holds several settings"),
        ("data.train_files=3", "data.train_files=3 is refused: give the path of a file"),
        ("data.train_files=true", "data.train_files=True is refused: give the path of a file"),
        ("data.train_files={a: b}", "data.train_files={'a': 'b'} is refused: give the path of a file"),
        ("data.train_files=[a.parquet,3]", "data.train_files=['a.parquet', 3] is refused: give the path of a file"),
        ("data.val_files=[null]", "data.val_files=[None] is refused: give the path of a file"),
        ("visual_tool.tools=[]", "visual_tool.tools"),
        ("records.share=0", "records.share=0 is refused"),
        ("+records.shre=1", "did you mean records.share?"),
        ("actor_rollout_ref.rollout.n=1", "actor_rollout_ref.rollout.n=1"),
        ("reward.reward_manager.name=naive", "set reward.reward_manager.name=description_alignment"),
        ("reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=True"),
    ],
)
def test_wrong_setting_is_refused_with_a_sentence(override, sentence):
    with pytest.raises(ConfigError) as error:
        check_config(compose_config(override))
    assert sentence in str(error.value)


@pytest.mark.parametrize("method", ["mapo", "axpo", "hdpo", "naar", "dtpo", "gdpo"])
def test_method_that_reads_turns_is_refused_without_tools(method):
    with pytest.raises(ConfigError, match=rf"visual_tool.tools=\[\] lets no rollout call a tool, which {method} needs"):
        check_config(compose_config(f"method={method}", "visual_tool.tools=[]"))


def test_mark_that_names_no_step_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").touch()
    with pytest.raises(ConfigError, match="names no step: remove it, or set trainer.resume_mode=disable"):
        check_config(compose_config(f"trainer.default_local_dir={tmp_path}"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+algorithm.axpo.k=1", "algorithm.axpo.k=1 is not a setting"),
        ("algorithm.axpo.prefix_rank=length", "algorithm.axpo.prefix_rank='length' is refused"),
        ("algorithm.axpo.ratio=0.0001", "0.0001 x 1024 prompts x 8 rollouts / 4 continuations = 0.2 prefixes a step"),
        ("data.train_batch_size=1", "= 0.5 prefixes a step, less than one: set algorithm.axpo.ratio to at least 0.5"),
        ("actor_rollout_ref.rollout.calculate_log_probs=false", "set it to true"),
        ("actor_rollout_ref.rollout.multi_turn.max_assistant_turns=1", "for example 3"),
        ("+actor_rollout_ref.rollout.agent.agent_loop_manager_class=my.Manager", "leave it at null"),
        ("critic.enable=true", "set it to false"),
        ("visual_tool.tools=[]", "visual_tool.tools"),
        ("records.share=0", "records.share=0 is refused"),
        ("+records.shre=1", "did you mean records.share?"),
        ("reward.reward_model.enable=true", "nothing can be resampled"),
    ],
)
def test_setting_that_axpo_cannot_work_with_is_refused(override, sentence):
    with pytest.raises(ConfigError) as error:
        check_config(compose_config("method=axpo", override))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("algorithm.visual_credit.kappa=0", "algorithm.visual_credit.kappa=0 is refused"),
        ("+algorithm.visual_credit.gama=0.5", "did you mean algorithm.visual_credit.gamma?"),
        ("model_engine=megatron", "refused with vgpo: its log-prob pass gives log-probs alone"),
        ("algorithm.rollout_correction.bypass_mode=true", "bypass_mode=True leaves out the log-prob pass"),
    ],
)
def test_setting_that_visual_credit_cannot_work_with_is_refused(override, sentence):
    for method in ("method=vgpo", "algorithm.adv_estimator=grpo"):
        enable = [] if method == "method=vgpo" else ["algorithm.visual_credit.enable=true"]
        if "visual_credit" in override and enable:
            continue
        with pytest.raises(ConfigError) as error:
            check_config(compose_config(method, *enable, override))
        assert sentence in str(error.value)


@pytest.mark.parametrize("method", ["hdpo", "grpo"])
def test_continuations_of_axpo_are_refused_under_an_estimator_without_groups_for_them(method):
    manager = f"+{names.AGENT_LOOP_MANAGER}={names.RESAMPLING_MANAGER}"
    with pytest.raises(ConfigError, match=f"adv_estimator={method} has no groups: leave it at null, or set .*=axpo"):
        check_config(compose_config(f"method={method}", manager))


def test_axpo_takes_any_reward_unless_it_is_coupled_with_alignment():
    check_config(compose_config("method=axpo", "reward.reward_manager.name=naive"))
    with pytest.raises(ConfigError, match="no alignment scores, which algorithm.axpo.alignment=true needs"):
        check_config(compose_config("method=axpo", "algorithm.axpo.alignment=true", "reward.reward_manager.name=naive"))


@pytest.mark.parametrize(("vllm", "refused"), [("0.24.0", False), ("0.28.0", True), ("", False)])
def test_dummy_weights_are_refused_from_vllm_0_28_on(monkeypatch, vllm, refused):
    monkeypatch.setattr(config_checks, "distribution_version", lambda name: vllm)
    check_config(compose_config("actor_rollout_ref.rollout.load_format=auto"))
    with (
        pytest.raises(ConfigError, match="set actor_rollout_ref.rollout.load_format=auto") if refused else nullcontext()
    ):
        check_config(compose_config("actor_rollout_ref.rollout.load_format=dummy"))


@pytest.mark.parametrize(("vllm", "refused"), [("0.21.1", True), ("0.22.0", False), ("0.24.0", False), ("", False)])
def test_image_cache_is_refused_before_vllm_0_22(monkeypatch, vllm, refused):
    monkeypatch.setattr(config_checks, "distribution_version", lambda name: vllm)
    cache = "actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb"
    check_config(compose_config(f"{cache}=0"))
    with pytest.raises(ConfigError, match=f"{cache}=4 .*set it to 0") if refused else nullcontext():
        check_config(compose_config())


def test_audits_need_the_answer_checks_of_the_rows():
    share = "visual_tool.audit.share=0.5"
    check_config(compose_config(share))
    grpo = ["algorithm.adv_estimator=grpo", "reward.reward_manager.name=naive"]
    for overrides, message in (
        (grpo, "visual_tool.audit.share=0.5 needs .* set reward.reward_manager.name=description_alignment"),
        (["reward.custom_reward_function.path=my.py"], "custom_reward_function.path=my.py reads whole rollouts"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_config(compose_config(share, *overrides))


@pytest.mark.parametrize("given", ["5", "true", "''", "[a]"])
def test_folder_of_pictures_is_a_path(given):
    check_config(compose_config("data.picture_dir=/shared/pictures"))
    with pytest.raises(ConfigError, match="data.picture_dir=.* is refused: set it to a folder .* for example /shared"):
        check_config(compose_config(f"data.picture_dir={given}"))


def rows(style: str = "exact", **columns: str) -> Dataset:
    """Two rows of training data."""
    prompt = [{"role": "user", "content": "q"}]
    row = {"prompt": prompt, "reward_model": {"style": style, "ground_truth": "x"}, **columns}
    return Dataset.from_list([row, row])


def test_stock_agent_loop_is_refused_unless_rows_choose_their_own():
    config = compose_config("actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent")
    with pytest.raises(ConfigError, match="default_agent_loop=visual_tool_agent"):
        check_rows(config, rows())
    check_rows(config, rows(agent_name="visual_tool_agent"))
    check_rows(compose_config(), rows())


def test_style_that_names_no_answer_check_is_refused_in_training_and_validation_rows():
    config = compose_config()
    check_rows(config, rows(), rows("multiple_choice"))
    for datasets in ([rows("rule")], [rows(), rows("rule")]):
        with pytest.raises(ConfigError, match="In the data, reward_model.style is 'rule'"):
            check_rows(config, *datasets)
    check_rows(compose_config("reward.description_alignment.outcome=exact"), rows("rule"))
    check_rows(config, Dataset.from_list([{"prompt": [{"role": "user", "content": "q"}]}]))


def test_run_that_asks_for_no_part_of_this_package_is_stock():
    stock = [
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
        "reward.reward_manager.name=naive",
    ]
    assert not uses_this_package(compose_config(*stock))
    for part in range(3):
        assert uses_this_package(compose_config(*(stock[:part] + stock[part + 1 :])))


def test_rows_that_declare_tools_are_reported_in_words(caplog):
    system = 'Be brief.\n\n# Tools\n<tools>\n{"function": {"name": "image_zoom_in_tool"}}\n</tools>'
    prompts = [[{"role": "system", "content": system}], [{"role": "user", "content": "What?"}]]
    rows = Dataset.from_dict({"prompt": prompts, "reward_model": [{"style": "exact", "ground_truth": "x"}] * 2})
    check_rows(compose_config(), rows)
    assert "1 of 2 rows declare tools of their own (image_zoom_in_tool)" in caplog.text
    assert "set +visual_tool.aliases.image_zoom_in_tool=zoom." in caplog.text
    caplog.clear()
    check_rows(compose_config("+visual_tool.aliases.image_zoom_in_tool=zoom"), rows)
    assert "1 of 2 rows" in caplog.text and "aliases" not in caplog.text


def rows_of(*loops: str | list[str]) -> Dataset:
    target = {"style": "exact", "ground_truth": "x"}
    prompt = [{"role": "user", "content": "q"}]
    return Dataset.from_list([{"prompt": prompt, "agent_name": loop, "reward_model": target} for loop in loops])


def test_misspelt_agent_loop_is_refused_at_the_start():
    with pytest.raises(
        ConfigError, match="default_agent_loop=visual_tool_agnet is no agent loop: did you mean visual_t"
    ):
        check_config(compose_config(f"{names.DEFAULT_AGENT_LOOP}=visual_tool_agnet"))
    with pytest.raises(ConfigError, match="agent_name=tool_agnt is no agent loop: did you mean tool_agent"):
        check_rows(compose_config(), rows_of(names.AGENT_LOOP, "tool_agnt"))
    with pytest.raises(ConfigError, match="agent_name=tool_agnt"):
        check_rows(compose_config(), rows_of(names.AGENT_LOOP), rows_of("tool_agnt"))


def test_column_of_lists_in_the_place_of_agent_loops_is_refused():
    with pytest.raises(ConfigError, match="the column agent_name holds no text but List.*: remove it, or write visual"):
        check_rows(compose_config(), rows_of(names.AGENT_LOOP), rows_of(["tool_agent"]))


def test_agent_loop_of_a_configuration_file_or_of_another_manager_is_accepted(tmp_path):
    file = tmp_path / "loops.yaml"
    file.write_text("- {name: mine, _target_: my.Loop}")
    from_file = compose_config(f"{names.AGENT_LOOP_FILE}={file}", f"{names.DEFAULT_AGENT_LOOP}=mine")
    assert check_rows(from_file, rows_of("mine")) == 0
    assert check_rows(compose_config(f"+{names.AGENT_LOOP_MANAGER}=my.Manager"), rows_of("theirs")) == 0


def test_agent_loop_that_a_module_of_the_user_registers_is_looked_up_after_its_import():
    config = compose_config(f"{names.DEFAULT_AGENT_LOOP}=later", "data.custom_cls.path=rows.py")
    assert check_config(config) is None


def test_rows_that_all_name_a_loop_of_verl_are_refused_because_they_overrule_the_default():
    with pytest.raises(
        ConfigError, match="agent_name=tool_agent in every row, so that verl ignores .*remove the column"
    ):
        check_rows(compose_config("method=vgpo"), rows_of("tool_agent", "tool_agent"))
    check_rows(compose_config(), rows_of("tool_agent", names.AGENT_LOOP))


def test_data_file_that_would_be_read_as_a_pattern_is_refused_and_a_pattern_is_not(tmp_path):
    file = tmp_path / "[1]" / "train.parquet"
    file.parent.mkdir()
    file.touch()
    with pytest.raises(ConfigError, match=r"data\.train_files=.*\[1\].* is refused"):
        check_config(compose_config(f'data.train_files="{file}"'))
    check_config(compose_config(f'data.train_files=["{tmp_path}/*.parquet"]'))


@pytest.mark.parametrize("missing", ["reward_model", "data_source"])
def test_data_without_a_needed_column_are_refused(missing):
    row = {"prompt": [], "reward_model": {"style": "exact", "ground_truth": "A"}, "data_source": "toy"}
    check_columns(compose_config(), Dataset.from_list([row]))
    with pytest.raises(ConfigError, match=f"no column {missing}.*they have"):
        check_columns(compose_config(), Dataset.from_list([{name: row[name] for name in row if name != missing}]))


PLAIN = (
    "algorithm.adv_estimator=vgpo",
    "reward.reward_manager.name=naive",
    "reward.custom_reward_function.path=pkg://verl_mapo.rewards.compute_score",
)


@pytest.mark.parametrize("style", ["math", "rule", "rule-lighteval/MATH_v2", "model", "", None])
def test_rows_that_ask_for_no_other_check_may_be_judged_by_compute_score(style):
    check_rows(compose_config(*PLAIN), rows_of_style(style))


@pytest.mark.parametrize("style", ["exact", "multiple_choice", "numeric"])
def test_rows_that_ask_for_another_check_than_compute_score_makes_are_refused(style):
    with pytest.raises(
        ConfigError, match=f"style is {style}, but .* compares every row with math: set .*style={style}"
    ):
        check_rows(compose_config(*PLAIN), rows_of_style(style))
    chosen = f"+reward.custom_reward_function.reward_kwargs.style={style}"
    check_rows(compose_config(*PLAIN, chosen), rows_of_style(style))


@pytest.mark.parametrize("style", ["exakt", "rules", "Math"])
def test_rows_of_a_style_that_compute_score_does_not_know_are_refused(style):
    with pytest.raises(ConfigError, match=f"style is {style}, but .* compares every row with math: set .*style=math"):
        check_rows(compose_config(*PLAIN), rows_of_style(style))
    check_rows(compose_config(*PLAIN, "+reward.custom_reward_function.reward_kwargs.style=math"), rows_of_style(style))


def test_rows_that_need_a_judge_are_not_for_compute_score():
    with pytest.raises(ConfigError, match="style is judge, but .* with math: set reward.reward_manager.name=.*judge"):
        check_rows(compose_config(*PLAIN), rows_of_style("judge"))
    with pytest.raises(ConfigError, match="style=judge is refused: no judge is asked by"):
        check_rows(
            compose_config(*PLAIN, "+reward.custom_reward_function.reward_kwargs.style=judge"), rows_of_style("math")
        )


@pytest.mark.parametrize("target", [{"style": "math"}, {"style": "math", "ground_truth": None}, "12", None])
@pytest.mark.parametrize("chosen", [[], ["+reward.custom_reward_function.reward_kwargs.style=math"]])
def test_rows_without_a_truth_for_compute_score_are_refused(target, chosen):
    with pytest.raises(ConfigError, match="In the training data, reward_model of row 0 "):
        check_plain_rows(compose_config(*PLAIN, *chosen), [target], "the training data")


def test_unknown_style_of_compute_score_is_refused_at_the_start():
    chosen = "+reward.custom_reward_function.reward_kwargs.style=exakt"
    with pytest.raises(ConfigError, match="reward_kwargs.style=exakt is refused: .*did you mean 'exact'"):
        check_rows(compose_config(*PLAIN, chosen), rows_of_style("math"))


def rows_of_style(style):
    prompt = [{"role": "user", "content": "What is it?"}]
    return Dataset.from_list([{"prompt": prompt, "reward_model": {"style": style, "ground_truth": "A"}}])
