# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from contextlib import nullcontext

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from scripted import compose_config

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.rewards.settings import NODE, DescriptionAlignmentSettings
from verl_mapo.rollout.context_length import check_context_length
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse
from verl_mapo.training import checks
from verl_mapo.training.config_checks import check_config, check_rows, uses_this_package


def test_the_configuration_that_is_shipped_is_the_defaults():
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("mapo", ["reward.description_alignment.scorer.model=org/name"])
        explored, credited = (
            compose(name, ["reward.description_alignment.scorer.model=org/name"]) for name in ("axpo", "vgpo")
        )
    for each in (config, explored, credited):
        check_config(each)
    assert parse(MapoSettings, config.algorithm.mapo, "x") == MapoSettings()
    assert parse(AxpoSettings, explored.algorithm.axpo, "x") == AxpoSettings()
    assert parse(VisualCreditSettings, credited.algorithm.visual_credit, "x") == VisualCreditSettings()
    assert parse(VisualToolSettings, config.visual_tool, "x") == VisualToolSettings()
    minimal = {"scorer": {"model": "org/name"}}
    node = OmegaConf.select(config, NODE)
    assert parse(DescriptionAlignmentSettings, node, NODE) == parse(DescriptionAlignmentSettings, minimal, NODE)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+algorithm.mapo.betta=1", "did you mean algorithm.mapo.beta?"),
        ("algorithm.mapo.beta=-1", "algorithm.mapo.beta=-1 is refused"),
        ("visual_tool.describe=during", "visual_tool.describe='during' is refused"),
        ("visual_tool.tools=[]", "visual_tool.tools"),
        ("actor_rollout_ref.rollout.n=1", "actor_rollout_ref.rollout.n=1"),
        ("reward.reward_manager.name=naive", "set reward.reward_manager.name=description_alignment"),
        ("reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=True"),
    ],
)
def test_what_is_set_wrong_stops_with_a_sentence(override, sentence):
    with pytest.raises(ConfigError) as error:
        check_config(compose_config(override))
    assert sentence in str(error.value)


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
        ("reward.reward_model.enable=true", "nothing can be resampled"),
    ],
)
def test_what_axpo_cannot_work_with_stops_with_a_sentence(override, sentence):
    with pytest.raises(ConfigError) as error:
        check_config(compose_config("method=axpo", override))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("algorithm.visual_credit.kappa=0", "algorithm.visual_credit.kappa=0 is refused"),
        ("+algorithm.visual_credit.gama=0.5", "did you mean algorithm.visual_credit.gamma?"),
        ("actor_rollout_ref.actor.strategy=megatron", "set it to fsdp2 or fsdp"),
        ("algorithm.rollout_correction.bypass_mode=true", "bypass_mode=True leaves out the log-prob pass"),
    ],
)
def test_what_visual_credit_cannot_work_with_stops_with_a_sentence(override, sentence):
    for method in ("method=vgpo", "algorithm.adv_estimator=grpo"):
        enable = [] if method == "method=vgpo" else ["algorithm.visual_credit.enable=true"]
        if "visual_credit" in override and enable:
            continue
        with pytest.raises(ConfigError) as error:
            check_config(compose_config(method, *enable, override))
        assert sentence in str(error.value)


def test_axpo_takes_any_reward_and_its_coupling_with_alignment_takes_one():
    check_config(compose_config("method=axpo", "reward.reward_manager.name=naive"))
    with pytest.raises(ConfigError, match="no alignment scores, which algorithm.axpo.alignment=true needs"):
        check_config(compose_config("method=axpo", "algorithm.axpo.alignment=true", "reward.reward_manager.name=naive"))


@pytest.mark.parametrize(("vllm", "refused"), [("0.24.0", False), ("0.28.0", True), ("", False)])
def test_dummy_weights_are_refused_where_they_spoil_images(monkeypatch, vllm, refused):
    monkeypatch.setattr(checks, "distribution_version", lambda name: vllm)
    check_config(compose_config("actor_rollout_ref.rollout.load_format=auto"))
    with (
        pytest.raises(ConfigError, match="set actor_rollout_ref.rollout.load_format=auto") if refused else nullcontext()
    ):
        check_config(compose_config("actor_rollout_ref.rollout.load_format=dummy"))


def test_a_stock_loop_stops_unless_rows_choose_their_own():
    config = compose_config("actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent")
    with pytest.raises(ConfigError, match="default_agent_loop=visual_tool_agent"):
        check_rows(config, ["prompt"])
    check_rows(config, ["prompt", "agent_name"])
    check_rows(compose_config(), ["prompt"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.max_response_length=100"], r"A rollout of 4 turns may need 3 observations x \(16 crop \+"),
        (["actor_rollout_ref.rollout.max_model_len=1500"], "= 2048 tokens, but .*max_model_len=1500: raise it to 2048"),
        (["actor_rollout_ref.rollout.multi_turn.max_assistant_turns=null"], "gives a rollout no end"),
        (["+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=2"], "image=2, but a rollout of 4"),
    ],
)
def test_the_budget_is_checked_with_its_arithmetic(tiny_models, overrides, sentence):
    model = tiny_models["qwen2_5_vl"]
    with pytest.raises(ConfigError, match=sentence):
        check_context_length(compose_config(*overrides), VisualToolSettings(), model.tokenizer, model.processor)
    check_context_length(compose_config(), VisualToolSettings(), model.tokenizer, model.processor)


def test_an_unknown_family_has_to_say_its_coordinates():
    with pytest.raises(ConfigError, match="visual_tool.coordinates='auto' does not know the model type 'llava'"):
        VisualToolSettings().space("llava")
    assert VisualToolSettings(coordinates="pixels").space("llava").value == "pixels"


def test_only_runs_that_ask_for_this_package_are_its_business():
    stock = [
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=tool_agent",
        "reward.reward_manager.name=naive",
    ]
    assert not uses_this_package(compose_config(*stock))
    for part in range(3):
        assert uses_this_package(compose_config(*(stock[:part] + stock[part + 1 :])))
