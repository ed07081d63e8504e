# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every wrong setting of the scorer is refused with one sentence; nothing is loaded or contacted to find out."""

import pytest
from support.scorers import NUMBER_SCORER

from verl_mapo.rewards.scorers.settings import ScorerSettings
from verl_mapo.settings import ConfigError, parse_node

CLIP = {"model": "openai/clip-vit-base-patch32"}
HTTP = {"kind": "http", "model": "clip", "url": "http://127.0.0.1:9/v1", "placement": "actor"}
ACTOR = {"placement": "actor"}


def read(**node) -> ScorerSettings:
    return parse_node(ScorerSettings, node, "scorer")


def test_defaults_need_only_a_model():
    scorer = read(**CLIP)
    assert (scorer.kind, scorer.device, scorer.placement, scorer.options) == ("clip", "auto", "worker", {})
    assert (scorer.max_batch, scorer.max_wait_ms, scorer.timeout_s, scorer.retries) == (64, 5.0, 30.0, 2)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({}, "model=None is refused: kind='clip' needs a model, a folder or a hub name"),
        ({"model": "/no/such/folder"}, "model='/no/such/folder' is refused: it is neither a folder"),
        ({"model": "./clip"}, "model='./clip' is refused: it is neither a folder"),
        ({**CLIP, "num_gpus": 2}, "num_gpus=2 is refused: it should be less than or equal to 1"),
        ({**CLIP, "num_gpus": 0.5}, "num_gpus=0.5 is refused: a reward worker holds no GPU"),
        ({**CLIP, "num_gpus": -1}, "num_gpus=-1 is refused"),
        ({**CLIP, "url": "http://h/v1"}, "url='http://h/v1' is refused: kind='clip' uses no server"),
        ({**HTTP, "url": None}, "url=None is refused: it should be the base URL"),
        ({**HTTP, "url": "h:8000"}, "url='h:8000' is refused: it should be the base URL"),
        ({**HTTP, "model": None}, "model=None is refused: kind='http' needs a model, the name"),
        ({**HTTP, "placement": "worker"}, "placement='worker' is refused: kind='http' needs"),
        ({**CLIP, "timeout_s": 0}, "timeout_s=0 is refused: it should be greater than 0"),
        ({**CLIP, "max_batch": 0}, "max_batch=0 is refused: it should be greater than 0"),
        ({**CLIP, "retries": -1}, "retries=-1 is refused"),
        ({**CLIP, "device": "tpu"}, "device='tpu' is refused: it should be 'auto', 'cpu', 'cuda', or a GPU"),
        ({**CLIP, "device": "cuda:-1"}, "device='cuda:-1' is refused: it should be 'auto'"),
        ({**CLIP, "device": "cuda:01"}, "device='cuda:01' is refused: it should be 'auto'"),
        ({**CLIP, "device": "cuda:0\n"}, "device='cuda:0\\n' is refused: it should be 'auto'"),
        ({**CLIP, "device": "cuda"}, "placement='worker' is refused: device='cuda' would put a copy of every"),
        ({**CLIP, "device": "cuda:1"}, "placement='worker' is refused: device='cuda:1' would put a copy"),
        ({**CLIP, "replicas": 2}, "replicas=2 is refused: placement='worker' has one copy in every reward worker"),
        ({**CLIP, **ACTOR, "replicas": 0}, "replicas=0 is refused: it should be greater than 0"),
        ({**HTTP, "replicas": 2}, "replicas=2 is refused: kind='http' needs one client"),
        ({**HTTP, "num_gpus": 0.1}, "num_gpus=0.1 is refused: kind='http' scores on its server"),
        ({**CLIP, **ACTOR, "device": "cpu", "num_gpus": 1}, "num_gpus=1 is refused: device='cpu' leaves no use"),
        ({**CLIP, **ACTOR, "device": "cuda:0", "num_gpus": 1}, "num_gpus=1 is refused: device='cuda:0' leaves no use"),
        ({"kind": "none", "device": "cuda"}, "device='cuda' is refused: kind='none' scores nothing; remove"),
        ({"kind": "none", "replicas": 2}, "replicas=2 is refused: kind='none' scores nothing; remove"),
        ({"kind": "none", "num_gpus": 1}, "num_gpus=1 is refused: kind='none' scores nothing; remove"),
        ({"kind": "None"}, "kind='None' is refused: it should be 'none'"),
        ({**CLIP, "fit": "crop"}, "fit='crop' is refused: it should be 'stretch', 'letterbox' or 'model'"),
        ({**CLIP, "options": 3}, "options=3 is refused: it should be a mapping of the scorer's own options"),
        ({**CLIP, "modle": 1}, "modle=1 is not a setting; did you mean scorer.model?"),
    ],
)
def test_wrong_setting_is_refused_with_a_sentence(node, sentence):
    with pytest.raises(ConfigError) as error:
        read(**node)
    assert f"scorer.{sentence}" in str(error.value)


def test_folder_needs_a_config_file(tmp_path):
    with pytest.raises(ConfigError, match="neither a folder"):
        read(model=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert read(model=str(tmp_path)).model == str(tmp_path)


def test_scorer_from_outside_needs_no_model():
    assert read(kind=NUMBER_SCORER).model is None


@pytest.mark.parametrize(
    ("node", "target"),
    [
        ({}, "cpu"),
        (ACTOR, "cpu"),
        ({**ACTOR, "num_gpus": 0.5}, "cuda"),
        ({**ACTOR, "device": "cuda"}, "cuda"),
        ({**ACTOR, "device": "cuda:11", "replicas": 8}, "cuda:11"),
    ],
)
def test_target_says_where_auto_leads(node, target):
    assert read(**CLIP, **node).target == target
