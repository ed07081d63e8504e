# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu_smoke.py: the model it writes, its overrides, and its tables of what was planned and measured."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from verl_mapo.planning.arithmetic import GB
from verl_mapo.planning.compose import composed
from verl_mapo.planning.model_shape import ModelShape
from verl_mapo.planning.run import Place, PlannedRun
from verl_mapo.rehearsal.command import policy_of
from verl_mapo.rehearsal.policy import RealModel
from verl_mapo.rehearsal.script import ENDING, TURN
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.run_folder import RunFolder
from verl_mapo.training.agent_workers import set_agent_workers
from verl_mapo.training.start_checks import check_start

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "mapo" / "qwen2_5_vl_3b_lora.yaml"
FILES = ["data.train_files=a.parquet", "data.val_files=b.parquet"]


@pytest.fixture(scope="module")
def smoke():
    """The script as a module; its own folder is on the path, as when it is started."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("gpu_smoke")
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize(
    ("shape", "text", "parameters"),
    [
        ("3b", (2048, 36, 16, 2, 11008, 151_936, True), 3_754_622_976),
        ("7b", (3584, 28, 28, 4, 18944, 152_064, False), 8_292_166_656),
    ],
)
def test_shapes_are_those_of_the_released_models(smoke, shape, text, parameters):
    config = json.loads(smoke.config_of(shape).to_json_string(use_diff=False))
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    found = [config["text_config"][name] for name in (*names, "vocab_size")]
    assert (*found, config["tie_word_embeddings"]) == text
    tower = config["vision_config"]
    assert (tower["depth"], tower["hidden_size"], tower["out_hidden_size"]) == (32, 1280, text[0])
    counted = ModelShape.of(smoke.config_of(shape), shape)
    assert counted.parameters == parameters and counted.tied is text[-1]
    assert smoke.config_of(shape, layers=4).text_config.num_hidden_layers == 4


@pytest.fixture(scope="module")
def written(smoke, tmp_path_factory):
    """The folder of a tiny model, and its script."""
    folder = tmp_path_factory.mktemp("smoke") / "model"
    config = composed(RECIPE, FILES, None)
    real = RealModel("tiny", smoke.FAMILY, 1024, smoke.PIXELS)
    processor, script = policy_of(config, real, ["2", "3"])
    smoke.write_model(folder, "tiny", real, processor, script)
    return folder, script


@torch.no_grad()
def test_written_model_is_tied_and_follows_its_script(written):
    folder, script = written
    model, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert model.dtype == torch.bfloat16 and model.config.tie_word_embeddings
    assert model.lm_head.weight is model.get_input_embeddings().weight
    tokenizer = processor.tokenizer
    noise = torch.randint(0, 200, (60,), generator=torch.manual_seed(0)).tolist()
    before = {**script.leads_to, "assistant\n": TURN, "<answer>2</answer>": ENDING}
    for text, state in before.items():
        ids = torch.tensor([noise + tokenizer.encode(text, add_special_tokens=False)])
        found, said = model(input_ids=ids).logits[0, -1].float().softmax(0), script.follows[state]
        shares = {each: found[tokenizer.convert_tokens_to_ids(each)].item() for each in said}
        assert shares == pytest.approx(said, rel=0.5), text
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3), text


def test_overrides_without_a_gpu_pass_the_checks_of_the_start(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "SIZES", ((80, 60), (60, 80)))
    made = smoke.prepare(tmp_path, RECIPE, "tiny", "", ["data.max_prompt_length=4000"])
    config = composed(RECIPE, ["stack=cpu", *made], None)
    check_start(config)
    assert config.data.max_prompt_length == 4000, "the user's own"
    assert config.trainer.total_training_steps == 2 and config.data.train_batch_size == 2
    assert config.reward.description_alignment.scorer.placement == "actor"


def test_overrides_with_a_gpu_keep_the_batch_of_the_recipe_and_have_rows_for_two_steps(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "SIZES", ((80, 60), (60, 80)))
    for part in ("write_model", "write_scorer"):
        monkeypatch.setattr(smoke, part, lambda *_: None)
    config = composed(RECIPE, smoke.prepare(tmp_path, RECIPE, "3b", "", []), None)
    assert config.data.train_batch_size == 64 and config.reward.description_alignment.scorer.device == "cuda"
    rows = importlib.import_module("pyarrow.parquet").read_table(config.data.train_files)
    assert len(rows) == 2 * 64


def planned(*overrides: str) -> PlannedRun:
    config = composed(RECIPE, [*FILES, *overrides], None)
    set_agent_workers(config)
    shape = ModelShape(3_754_622_976, 5_694_676_992, 36, 2048, 151_936, 2, 128, 4704, 28, tied=True)
    resizes = [ProcessorResize(28, (4 * 28**2, 1280 * 28**2))] * 2
    return PlannedRun(config, shape, *resizes, None, Place(80 * GB, 1, 200 * GB))


def test_table_compares_what_was_measured_with_the_plan(smoke):
    found = smoke.Measured(
        {}, gpu=56 * GB, update=30 * GB, host=40 * GB, shm=None, tokens=1_108_000, checkpoint=15 * GB
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in smoke.against_plan(planned(), found)]
    cells = {what: rest for what, *rest in rows[2:]}
    # 0.7 x 80 GB; nothing of FSDP beside it, because weights and optimizer are offloaded
    assert cells["GPU, the most at any moment"] == ["56.00 GB", "56.00 GB", "1.00"]
    # 3.75e9 x 4 bytes + 16,384 x 36 x 2048 x 2
    assert cells["GPU in an update, at least"] == ["17.43 GB", "30.00 GB", "1.72"]
    # (56 - 6 - 7.51) GB / (2 x 36 x 2 x 128 x 2 bytes)
    assert cells["KV cache of an engine, tokens"] == ["1,152,635", "1,108,000", "0.96"]
    assert cells["a checkpoint"] == ["15.02 GB", "15.00 GB", "1.00"]
    planned_host, measured, ratio = cells["host and object store, growth"]
    low, high = (float(part.removesuffix(" GB")) for part in planned_host.split(" to "))
    assert measured == "40.00 GB" and ratio == f"{40 / low:.2f} to {40 / high:.2f}"
    assert cells["images of requests, growth of /dev/shm"][1:] == ["not measured", ""]


def test_full_training_is_compared_with_its_moments(smoke):
    found = smoke.Measured({}, *[None] * 6)
    cells = [line for line in smoke.against_plan(planned("actor_rollout_ref.model.lora_rank=0"), found)]
    assert all("not measured" in line for line in cells[2:])
    assert "| a checkpoint | 45.06 GB |" in cells[-1]  # 12 bytes a parameter


def test_figures_of_a_run_are_read_from_its_folder(smoke, tmp_path):
    run, samples = RunFolder(tmp_path), tmp_path / "memory.jsonl"
    steps = [
        {"step": 0, "data": {"val-core/x": 1.0}},
        {"step": 1, "data": {"timing_s/step": 9.0, "timing_s/gen": 4.0, "actor/perf/max_memory_allocated_gb": 2.0}},
        {"step": 2, "data": {"timing_s/step": 8.0, "timing_s/gen": 3.0, "actor/perf/max_memory_allocated_gb": 3.0}},
    ]
    files = {
        run.next_metrics(): "\n".join(map(json.dumps, steps)),
        run.log: "x GPU KV cache size: 1,000 tokens\ny GPU KV cache size: 1,234,567 tokens\n",
        run.checkpoints / "global_step_2" / "actor" / "model.pt": "12345",
        samples: "[100, 50, 7]\n[300, 90, 5]\n[200, 60, 9]\n[20",
    }
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    found = smoke.Measured.of(run, samples)
    assert replace(found, steps={}) == smoke.Measured({}, 300, 3 * 2**30, 40, 2, 1_234_567, 5)
    table = list(smoke.step_times(found))
    assert table[0] == "| seconds | step 1 | step 2 |" and "| **a step** | 9.0 | 8.0 |" in table
    samples.write_text("[0, 50, 7]\n")
    on_cpu = smoke.Measured.of(run, samples)
    assert (on_cpu.gpu, on_cpu.update, on_cpu.tokens, on_cpu.host) == (None, None, None, 0)
