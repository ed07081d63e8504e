# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every wrong setting of the reward is refused with one sentence; nothing is loaded or contacted to find out."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from support.scorers import OPTIONS_SCORER

from verl_mapo.rewards.settings import DescriptionAlignmentSettings, alignment_settings
from verl_mapo.settings import ConfigError

CLIP = {"model": "openai/clip-vit-base-patch32"}
JUDGE = {"url": "http://127.0.0.1:9/v1", "model": "judge"}


def read(node=None, **reward) -> DescriptionAlignmentSettings:
    return alignment_settings(OmegaConf.create({"reward": {"description_alignment": node, **reward}}))


def test_defaults_need_only_a_model():
    settings = read({"scorer": CLIP})
    assert settings.outcome == "auto" and settings.judge is None


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (None, "scorer.model=None is refused: kind='clip' needs a model, a folder or a hub name"),
        ({"scorer": {"kind": "clop"}}, "scorer.kind='clop' is refused: there is no scorer 'clop': did you mean 'clip'"),
        ({"scorer": {"kind": "os.path"}}, "scorer.kind='os.path' is refused: 'os.path' is not a subclass"),
        ({"scorer": {**CLIP, "options": {"a": 1}}}, "scorer.options={'a': 1} is refused: the scorer 'clip' has no opt"),
        ({"scorer": {"kind": OPTIONS_SCORER, "options": {"a": 1}}}, "scorer.options.a=1 is not a setting"),
        ({"scorer": CLIP, "outcome": "maths"}, "outcome='maths' is refused: it should be 'auto' or an answer check"),
        (
            {"scorer": CLIP, "outcome": "maths"},
            "did you mean 'math'? use one of exact, multiple_choice, numeric,",
        ),
        ({"scorer": CLIP, "outcome": "no.such"}, "the dotted path 'no.such' leads to no answer check"),
        ({"scorer": CLIP, "outcome": "os.sep"}, "'os.sep' is not a function, as every answer check is"),
        ({"scorer": CLIP, "outcome": "support.rewards.async_check"}, "is an async function, but an answer check is"),
        ({"scorer": CLIP, "judge": {"model": "j"}}, "judge.url must be set."),
        ({"scorer": CLIP, "judge": {**JUDGE, "url": "j"}}, "judge.url='j' is refused: it should be the base URL"),
        ({"scorer": CLIP, "judge": {**JUDGE, "concurrency": 0}}, "judge.concurrency=0 is refused"),
    ],
)
def test_wrong_setting_is_refused_with_a_sentence(node, sentence):
    with pytest.raises(ConfigError) as error:
        read(node)
    assert str(error.value).startswith("reward.description_alignment.")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "outcome", ["auto", "exact", "multiple_choice", "numeric", "math", "support.rewards.same_length"]
)
def test_outcome_is_auto_or_a_name_or_a_dotted_path(outcome):
    assert read({"scorer": CLIP, "outcome": outcome}).outcome == outcome


@pytest.mark.parametrize("node", [{"judge": JUDGE}, {"outcome": "exact"}])
def test_custom_function_excludes_judge_and_answer_check(node):
    custom = {"path": "reward.py", "name": "compute_score"}
    with pytest.raises(
        ConfigError, match=r"reward\.custom_reward_function\.path='reward\.py' alone decides the outcome"
    ):
        read({"scorer": CLIP, **node}, custom_reward_function=custom)
    assert read({"scorer": CLIP}, custom_reward_function=custom).outcome == "auto"


def test_reading_the_settings_imports_neither_a_framework_nor_a_client():
    code = (
        "import sys; from omegaconf import OmegaConf;"
        "from verl_mapo.rewards.settings import alignment_settings as read;"
        "read(OmegaConf.create({'reward': {'description_alignment': {'scorer': {'model': 'a/b'}}}}));"
        "print(sorted({'torch', 'transformers', 'openai', 'ray', 'verl'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
