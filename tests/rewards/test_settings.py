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
"""Every wrong setting is one sentence that names it; nothing is loaded or contacted to find out."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from verl_mapo.rewards.settings import DescriptionAlignmentSettings, alignment_settings, api_key
from verl_mapo.settings import ConfigError

CLIP = {"model": "openai/clip-vit-base-patch32"}
HTTP = {"kind": "http", "model": "clip", "url": "http://127.0.0.1:9/v1", "placement": "actor"}
JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "judge"}


def read(node=None, **reward) -> DescriptionAlignmentSettings:
    return alignment_settings(OmegaConf.create({"reward": {"description_alignment": node, **reward}}))


def test_the_defaults_are_right_once_a_model_is_named():
    settings = read({"scorer": CLIP})
    assert settings.outcome == "auto" and settings.judge is None
    scorer = settings.scorer
    assert (scorer.kind, scorer.device, scorer.placement) == ("clip", "auto", "worker")
    assert (scorer.max_batch, scorer.max_wait_ms, scorer.timeout_s, scorer.retries) == (64, 5.0, 30.0, 2)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (None, "scorer.model=None is refused: kind='clip' needs a model, a folder or a hub name"),
        ({"scorer": {"model": "/no/such/folder"}}, "scorer.model='/no/such/folder' is refused: it is neither a folder"),
        ({"scorer": {"model": "./clip"}}, "scorer.model='./clip' is refused: it is neither a folder"),
        ({"scorer": {**CLIP, "num_gpus": 2}}, "scorer.num_gpus=2 is refused: it should be less than or equal to 1"),
        ({"scorer": {**CLIP, "num_gpus": 0.5}}, "scorer.num_gpus=0.5 is refused: a reward worker holds no GPU"),
        ({"scorer": {**CLIP, "num_gpus": -1}}, "scorer.num_gpus=-1 is refused"),
        ({"scorer": {**CLIP, "url": "http://h/v1"}}, "scorer.url='http://h/v1' is refused: kind='clip' asks no server"),
        ({"scorer": {**HTTP, "url": None}}, "scorer.url=None is refused: it should be the base URL"),
        ({"scorer": {**HTTP, "url": "h:8000"}}, "scorer.url='h:8000' is refused: it should be the base URL"),
        ({"scorer": {**HTTP, "model": None}}, "scorer.model=None is refused: kind='http' needs a model, the name"),
        ({"scorer": {**HTTP, "placement": "worker"}}, "scorer.placement='worker' is refused: kind='http' needs"),
        (
            {"scorer": {"kind": "clop", **CLIP}},
            "scorer.kind='clop' is refused: it should be 'clip', 'http' or the dotted",
        ),
        (
            {"scorer": {"kind": "os.path"}},
            "scorer.kind='os.path' is refused: the dotted path should lead to a subclass",
        ),
        ({"scorer": {**CLIP, "timeout_s": 0}}, "scorer.timeout_s=0 is refused: it should be greater than 0"),
        ({"scorer": {**CLIP, "max_batch": 0}}, "scorer.max_batch=0 is refused: it should be greater than 0"),
        ({"scorer": {**CLIP, "retries": -1}}, "scorer.retries=-1 is refused"),
        ({"scorer": {**CLIP, "device": "tpu"}}, "scorer.device='tpu' is refused: it should be 'auto', 'cpu' or 'cuda'"),
        ({"scorer": {**CLIP, "modle": 1}}, "scorer.modle=1 is not a setting"),
        ({"scorer": CLIP, "outcome": "math-verify"}, "outcome='math-verify' is refused: it should be 'auto', 'exact'"),
        ({"scorer": CLIP, "judge": {"model": "j"}}, "judge.url must be set."),
        ({"scorer": CLIP, "judge": {**JUDGE, "url": "j"}}, "judge.url='j' is refused: it should be the base URL"),
        ({"scorer": CLIP, "judge": {**JUDGE, "concurrency": 0}}, "judge.concurrency=0 is refused"),
    ],
)
def test_a_wrong_setting_is_one_sentence(node, sentence):
    with pytest.raises(ConfigError) as error:
        read(node)
    assert f"reward.description_alignment.{sentence}" in str(error.value)


def test_a_folder_counts_with_a_config_only(tmp_path):
    with pytest.raises(ConfigError, match="neither a folder"):
        read({"scorer": {"model": str(tmp_path)}})
    (tmp_path / "config.json").write_text("{}")
    assert read({"scorer": {"model": str(tmp_path)}}).scorer.model == str(tmp_path)


def test_a_scorer_of_ones_own_is_found_by_its_path():
    assert read({"scorer": {"kind": "scorer_support.LengthScorer"}}).scorer.model is None


@pytest.mark.parametrize("node", [{"judge": JUDGE}, {"outcome": "exact"}])
def test_a_custom_function_leaves_no_room_for_rules(node):
    custom = {"path": "reward.py", "name": "compute_score"}
    with pytest.raises(
        ConfigError, match=r"reward\.custom_reward_function\.path='reward\.py' decides the outcome alone"
    ):
        read({"scorer": CLIP, **node}, custom_reward_function=custom)
    assert read({"scorer": CLIP}, custom_reward_function=custom).outcome == "auto"


def test_a_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("SCORER_KEY", "secret")
    assert api_key("SCORER_KEY") == "secret"
    assert api_key(None) == "none"
    with pytest.raises(ConfigError, match="api_key_env='OTHER_KEY' is not set"):
        api_key("OTHER_KEY")


def test_reading_the_settings_loads_neither_a_framework_nor_a_client():
    code = (
        "import sys; from omegaconf import OmegaConf;"
        "from verl_mapo.rewards.settings import alignment_settings as read;"
        "read(OmegaConf.create({'reward': {'description_alignment': {'scorer': {'model': 'a/b'}}}}));"
        "print(sorted({'torch', 'transformers', 'openai', 'ray', 'verl'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
