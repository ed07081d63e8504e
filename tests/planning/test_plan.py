# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a recipe on machines that are not at hand: a right one, and each thing that would not fit."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from rich.console import Console
from support.setting_paths import leaves
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.doctor_tables import plan_table, plan_words
from verl_mapo.machine import Machine
from verl_mapo.names import AGENT_WORKERS
from verl_mapo.planning import make
from verl_mapo.planning.arithmetic import GB
from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.planning.data_facts import TEXT_TOKENS, DataFacts
from verl_mapo.planning.gpu import in_update, kv_token
from verl_mapo.planning.make import place_of
from verl_mapo.planning.model_shape import ModelShape
from verl_mapo.planning.plan import plan_lines
from verl_mapo.planning.run import GIVE_DATA, GIVE_MEMORY, ON_THE_MACHINE, Place, PlannedRun
from verl_mapo.planning.start import start_lines
from verl_mapo.rollout.images import ProcessorResize
from verl_mapo.settings import ConfigError
from verl_mapo.training.agent_workers import set_agent_workers
from verl_mapo.training.setting_values import check_setting_values

RECIPES = Path(__file__).parents[2] / "recipes"
SHAPES = {
    "qwen2_5_vl_7b": ModelShape(8_292_166_656, 15_689_840_640, 28, 3584, 152_064, 4, 128, 4704, 28),
    "qwen3_vl_8b": ModelShape(8_767_123_696, 11_803_847_680, 36, 4096, 151_936, 8, 128, 6144, 32),
}
H100 = Place(80 * GB, 8, 2000 * GB, 1000 * GB, 2000 * GB)
DATA = DataFacts(47_000, 1, 1.0, 4e6, 1200.0, (900, 1500, 1700))


@cache
def configured(name: str, overrides: tuple[str, ...]) -> DictConfig:
    config = composed(RECIPES / "mapo" / f"{name}.yaml", ["data.val_files=b.parquet", *overrides], Path("a.parquet"))
    set_agent_workers(config)
    return config


def planned(name: str = "qwen2_5_vl_7b", *overrides: str, place: Place = H100, data: DataFacts | None = DATA, **shape):
    config = configured(name, overrides)
    model = replace(SHAPES[name], **shape)
    resizes = [ProcessorResize(model.side, (4 * model.side**2, 1280 * model.side**2))] * 2
    return PlannedRun(config, model, *resizes, data, place)


def line(run: PlannedRun, what: str):
    (found,) = (line for line in plan_lines(run) if line.what.startswith(what))
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_recipe_fits_the_machine_it_is_for(name):
    assert {line.what: line.words for line in plan_lines(planned(name)) if line.level not in ("ok", "")} == {}


def test_numbers_of_a_recipe_are_those_computed_by_hand():
    run = planned()
    needs = {line.what: line.needs for line in plan_lines(run)}
    assert needs["a step"] == "128 prompts, 1,024 rollouts"
    assert needs["images of a rollout"] == "1 from the row, up to 5 from tools"
    assert needs["prompt"] == "about 1,367, the longest about 1,700 (400 are estimated for text)"
    # (8192 - 5 x (1280 + 30)) / 6
    assert line(run, "response").has == "8,192; leaves 273 tokens of text per turn"
    assert line(run, "prompt and response").has == "12,288 (max_model_len)"
    assert line(run, "a step").has == "47,000 rows, 367 steps an epoch"
    # 1024 x (1200 + 1280) tokens x 4704 x 2 bytes, and 1024 x (1200 + 5 x 1280)
    assert needs["image features of a step (TransferQueue)"] == "24 GB to 73 GB"
    assert needs["the same features (FSDP workers)"] == "24 GB to 73 GB"
    # (32 + 8 + 3 x 8) x 1.4 GB and 7.4 GB; 8 x 4 GiB
    assert (needs["processes"], needs["processed images of the engines"]) == ("97 GB", "34 GB")
    # 188 + 1 + 97 + 34 GB, twice the features, 10 to 26 GB of decoded images and 6.0 to 18 GB in requests
    assert needs["total, with the object store"] == "384 GB to 512 GB"
    # 1024 x (12288 x 52 + 8192 x 40) bytes
    assert needs["columns of tokens of a step, at most (TransferQueue)"] == "1.0 GB"
    # 8.292e9 x 12 bytes, 19 saves of 99.5 GB
    assert needs["checkpoints"] == "199 GB (2 checkpoints kept; 19 written in 367 steps)"
    # 15.69e9 x 12 bytes: each tensor of 8.292e9 parameters, rounded up to a power of two
    assert needs["weights and optimizer, offloaded"] == "188 GB"
    # (1600 / 8 + 1310) tokens for 1024 / 8 rollouts; (0.6 x 80 - 6 - 16.584) GB / 57,344 bytes
    assert needs["KV cache of an engine"].startswith("1,510 tokens for each of 128 rollouts, 12,288 for the longest")
    assert line(run, "KV cache").has == "3,462 for each, 443,214 in all"


def test_engines_keep_their_weights_during_the_update_only_if_they_are_sent_adapters():
    weights, rank = "weights of the engines during the update", "actor_rollout_ref.model.lora_rank=64"
    engine = "actor_rollout_ref.rollout.tensor_model_parallel_size"

    def needs(*overrides):
        return {line.what: line.needs for line in plan_lines(planned("qwen2_5_vl_7b", *overrides))}.get(weights)

    assert needs() is None and needs(rank, "actor_rollout_ref.model.lora.merge=true") is None
    assert needs(rank, "actor_rollout_ref.rollout.free_cache_engine=false") is None
    # 8 and 2 engines, each with 8.292e9 weights of 2 bytes, rounded up to 15.69e9
    assert needs(rank, f"{engine}=1") == "251 GB" and needs(rank, f"{engine}=4") == "63 GB"


MINI_BATCH = "actor_rollout_ref.actor.ppo_mini_batch_size"
SEQ_MEAN = "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"
BY_ROWS = ["actor_rollout_ref.actor.use_dynamic_bsz=false", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1"]

IMPOSSIBLE = [
    ("qwen2_5_vl_7b", [], {"gpu": 24 * GB}, {}, "KV cache", "fails", "not even the weights fit"),
    ("qwen3_vl_8b", ["actor_rollout_ref.rollout.gpu_memory_utilization=0.6"], {}, {}, "KV", "warns", "utilization=0.7"),
    ("qwen3_vl_8b", ["actor_rollout_ref.rollout.gpu_memory_utilization=0.3"], {}, {}, "KV", "fails", "does not fit"),
    ("qwen2_5_vl_7b", [], {"gpus": 1}, {}, "GPUs", "fails", "trainer.n_gpus_per_node=1"),
    ("qwen2_5_vl_7b", ["trainer.n_gpus_per_node=1"], {}, {}, "in an update", "fails", "lora_rank"),
    (
        "qwen2_5_vl_7b",
        [
            "actor_rollout_ref.actor.fsdp_config.param_offload=false",
            "actor_rollout_ref.rollout.gpu_memory_utilization=.97",
        ],
        {},
        {},
        "while generating",
        "fails",
        "param_offload",
    ),
    ("qwen2_5_vl_7b", [], {"memory": 128 * GB}, {}, "total", "fails", "processes alone do not fit"),
    ("qwen2_5_vl_7b", [], {"memory": 330 * GB}, {}, "total", "fails", "looks only once"),
    ("qwen2_5_vl_7b", [], {"memory": 390 * GB}, {}, "total", "warns", "makes all its calls"),
    ("qwen2_5_vl_7b", [], {"shm": 5 * GB}, {}, "images of requests", "warns", "--shm-size"),
    ("qwen2_5_vl_7b", [], {"disk": 150 * GB}, {}, "checkpoints", "fails", "trainer.default_local_dir"),
    (
        "qwen2_5_vl_7b",
        ["trainer.max_actor_ckpt_to_keep=null"],
        {"disk": 999 * GB},
        {},
        "checkpoints",
        "fails",
        "max_actor_ckpt_to_keep=2",
    ),
    (
        "qwen2_5_vl_7b",
        ["trainer.max_actor_ckpt_to_keep=null"],
        {"disk": 9999 * GB},
        {},
        "checkpoints",
        "warns",
        "1,891 GB in all",
    ),
    (
        "qwen2_5_vl_7b",
        ["trainer.max_actor_ckpt_to_keep=-1"],
        {"disk": 9999 * GB},
        {},
        "checkpoints",
        "warns",
        "1,891 GB in all",
    ),
    ("qwen2_5_vl_7b", [], {}, {"rows": 100}, "a step", "fails", "set data.train_batch_size to at most 100"),
    ("qwen2_5_vl_7b", [], {}, {"rows": 40}, "a step", "fails", f"size and {MINI_BATCH} to at most 40"),
    ("qwen2_5_vl_7b", [f"{MINI_BATCH}=200", *BY_ROWS], {}, {}, "a mini-batch", "fails", f"{MINI_BATCH} to at most 128"),
    (
        "qwen2_5_vl_7b",
        [f"{MINI_BATCH}=200", SEQ_MEAN],
        {},
        {},
        "a mini-batch",
        "warns",
        "by 200 prompts where there are",
    ),
    ("qwen2_5_vl_7b", [], {}, {"most_images": 4}, "images of a rollout", "fails", "limit_mm_per_prompt.image=9"),
    ("qwen2_5_vl_7b", [], {}, {"unreadable": 3}, "readable images", "warns", "unreadable_image"),
    ("qwen2_5_vl_7b", [], {}, {"prompts": (900, 5000)}, "prompt", "warns", "About 50% of the rows"),
    ("qwen2_5_vl_7b", [], {}, {"prompts": (5000,)}, "prompt", "fails", "data.max_prompt_length"),
    ("qwen2_5_vl_7b", ["data.max_response_length=6000"], {}, {}, "response", "fails", "max_crop_pixels"),
    (
        "qwen2_5_vl_7b",
        ["data.max_response_length=9000"],
        {},
        {},
        "prompt and response",
        "fails",
        "max_model_len to 13096",
    ),
]


@pytest.mark.parametrize(("name", "overrides", "place", "data", "what", "level", "words"), IMPOSSIBLE)
def test_what_does_not_fit_is_said_with_the_setting_that_mends_it(name, overrides, place, data, what, level, words):
    run = planned(name, *overrides, place=replace(H100, **place), data=replace(DATA, **data))
    lines = [line for line in plan_lines(run) if line.what.startswith(what) and line.level not in ("ok", "")]
    assert [line.level for line in lines] == [level] and words in lines[0].words


def test_tied_embeddings_are_loaded_by_every_process():
    # 8.292e9 x 4 bytes, once and by each of the 8 processes
    assert line(planned(), "weights while").needs == "33 GB"
    assert line(planned(tied=True), "weights while").needs == "265 GB"


def test_more_nodes_share_the_pixels_and_lora_trains_no_weights():
    large = planned("qwen2_5_vl_7b", "trainer.nnodes=2")
    assert line(large, "image features").needs == "12 GB to 37 GB"
    lora = planned("qwen2_5_vl_7b", "actor_rollout_ref.model.lora_rank=32")
    assert line(lora, "checkpoints").needs.startswith("66 GB (2 checkpoints kept")


def test_groups_of_fsdp_hold_a_copy_of_the_model_each():
    nodes = ["trainer.nnodes=8", "actor_rollout_ref.actor.fsdp_config.optimizer_offload=false"]
    groups = "actor_rollout_ref.actor.fsdp_config.fsdp_size=8"
    whole, split = planned("qwen2_5_vl_7b", *nodes), planned("qwen2_5_vl_7b", *nodes, groups)
    # 8.292e9 x 8 bytes of moments over 64 and over 8 GPUs
    assert line(whole, "while generating").needs == "48 GB of vLLM + 1.0 GB of FSDP"
    assert line(split, "while generating").needs == "48 GB of vLLM + 8.3 GB of FSDP"
    assert in_update(split) - in_update(whole) == 8_292_166_656 * 16 * (1 / 8 - 1 / 64)
    # 15.69e9 x 4 bytes of weights, once and in each of the 8 groups, on 8 nodes
    assert [line(run, "weights and optimizer").needs for run in (whole, split)] == ["7.8 GB", "63 GB"]
    # 8.292e9 x 12 bytes, twice
    assert line(whole, "checkpoints").needs.startswith("199 GB (2 checkpoints kept")
    assert line(split, "checkpoints").needs.startswith("1,592 GB (2 checkpoints kept")


def test_reference_that_stays_on_the_gpus_is_counted():
    kl = ["actor_rollout_ref.actor.use_kl_loss=true", "actor_rollout_ref.ref.fsdp_config.param_offload=false"]
    # 8.292e9 x 4 bytes over 8 GPUs; with LoRA the reference is the model itself
    assert line(planned("qwen2_5_vl_7b", *kl), "while generating").needs == "48 GB of vLLM + 4.1 GB of FSDP"
    assert in_update(planned("qwen2_5_vl_7b", *kl)) - in_update(planned()) == 8_292_166_656 * 4 / 8
    lora = planned("qwen2_5_vl_7b", *kl, "actor_rollout_ref.model.lora_rank=32")
    assert line(lora, "while generating").needs == "48 GB of vLLM + 0.0 GB of FSDP"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.train_batch_size=0", "train_batch_size=0 is refused: it should be greater than 0"),
        ("trainer.total_epochs=null", "total_epochs=null is refused"),
        ("actor_rollout_ref.rollout.tensor_model_parallel_size=16", "Set .*tensor_model_parallel_size=1"),
        ("model_engine=megatron", "the run has model_engine=megatron"),
    ],
)
def test_settings_that_cannot_be_planned_with_are_refused_in_words(override, words):
    with pytest.raises(ConfigError, match=words):
        make.planned_run(RECIPES / "mapo/qwen2_5_vl_7b.yaml", [override], gpu_memory=80)


def test_null_is_refused_wherever_the_plan_cannot_compute_with_it():
    config = copy.deepcopy(configured("qwen2_5_vl_7b", ()))
    written = {path: value for path, value in leaves(OmegaConf.to_container(config)) if value is not None}
    literal = [path for path, value in written.items() if not (isinstance(value, str) and "${" in value)]
    paths = [path for path in literal if "." in path and path != AGENT_WORKERS]  # those without a dot choose a group
    run, refused = replace(planned(), config=config), set()
    with open_dict(config):
        for path in paths:
            value = OmegaConf.select(config, path)
            OmegaConf.update(config, path, None)
            try:
                plan_lines(replace(run))
            except ConfigError:
                pass
            except TypeError:
                with pytest.raises(ConfigError, match=f"{path}=null is refused"):
                    check_setting_values(config)
                refused.add(path)
            OmegaConf.update(config, path, value)
    assert len(paths) > 300 and {"data.train_batch_size", "reward.num_workers"} <= refused


def test_run_without_fsdp_has_no_plan():
    with pytest.raises(ConfigError, match="strategy=megatron has no plan"):
        make.planned_run(PRIMARY, ["model_engine=megatron"], gpu_memory=80)


def test_mini_batch_of_more_than_a_step_is_an_update_with_all_rows_where_the_loss_is_a_mean_over_tokens():
    assert "a mini-batch" not in [line.what for line in plan_lines(planned("qwen2_5_vl_7b", f"{MINI_BATCH}=200"))]


def test_other_machine_has_no_verdict_on_what_is_not_known():
    def unchecked(**run):
        return {line.what: line.words for line in plan_lines(planned(**run)) if line.level == "unchecked"}

    total, store = "total, with the object store", "images of requests (object store, in /dev/shm)"
    assert unchecked() == {}
    assert unchecked(place=Place(80 * GB, memory=2000 * GB)) == {"checkpoints": ON_THE_MACHINE}
    assert unchecked(place=replace(H100, memory=None, shm=None)) == dict.fromkeys((total, store), GIVE_MEMORY)
    assert unchecked(data=None) == dict.fromkeys(("a step", "prompt", "checkpoints"), GIVE_DATA)
    lines = plan_lines(planned(place=Place(80 * GB), data=None))
    assert all(line.has for line in lines if line.level in ("ok", "warns", "fails"))
    text = "\n".join(plan_words(lines))
    assert f'Not checked: "{total}", "{store}". {GIVE_MEMORY}' in text
    assert "This run fits, as far as it was checked." in text
    assert "This run fits. " in "\n".join(plan_words(plan_lines(planned())))
    assert "fits" not in "\n".join(plan_words(plan_lines(planned(place=replace(H100, gpu=24 * GB)))))


def test_numbers_of_one_have_their_own_words():
    run = planned("qwen2_5_vl_7b", "data.train_batch_size=1", f"{MINI_BATCH}=1", data=replace(DATA, rows=1))
    assert line(run, "a step").has == "1 row, 1 step an epoch"
    assert line(run, "checkpoints").needs == "100 GB (1 checkpoint kept; 1 written in 1 step)"


@pytest.mark.parametrize("width", [80, 120])
def test_table_has_every_number_and_word(width):
    run = planned(place=replace(H100, gpu=24 * GB, gpus=4, memory=200 * GB, disk=0))
    console = Console(width=width, file=io.StringIO())
    lines = plan_lines(run)
    console.print(plan_table(lines), *plan_words(lines), sep="\n")
    text = console.file.getvalue()
    assert text.count("fails") >= 4 and max(map(len, text.splitlines())) <= width
    for word in ("vLLM", "trainer.n_gpus_per_node=4", "checkpoints", "12,288"):
        assert word in text


@pytest.fixture
def rows(tmp_path):
    """A file with three rows: one image, two images of which one is large, and one that does not exist."""
    for name, size in {"small": (280, 280), "large": (2800, 1400)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    images = [["small"], ["small", "large"], ["missing"]]
    table = [
        {
            "prompt": [{"role": "user", "content": "<image>" * len(row) + "Why?"}],
            "images": [f"{tmp_path}/{n}.png" for n in row],
            "data_source": "",
            "reward_model": {"style": "exact", "ground_truth": "a"},
        }
        for row in images
    ]
    Dataset.from_list(table).to_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_images_are_measured_as_the_model_sees_them(rows):
    dataset = Dataset.from_parquet(str(rows), cache_dir=str(rows.parent))
    facts = DataFacts.of(
        dataset, composed(RECIPES / "mapo/qwen2_5_vl_7b.yaml", [], rows).data, ProcessorResize(28, (3136, 1003520))
    )
    # 280 x 280 is 100 tokens; 2800 x 1400 becomes 50 x 25 tokens, within 1280
    assert facts == DataFacts(
        3, 2, 1.5, (78400 + 78400 + 3920000) / 2, (100 + 1350) / 2, (100 + TEXT_TOKENS, 1350 + TEXT_TOKENS), 1
    )
    assert facts.share_longer_than(1000) == 0.5


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def test_shape_is_read_from_config_json_alone(tiny_models, tmp_path, family):
    from transformers import AutoModelForImageTextToText

    folder = tiny_models[family].folder
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    shape = ModelShape.read(str(tmp_path))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    sizes = [parameter.numel() for parameter in model.parameters()]
    assert shape.parameters == sum(sizes)
    assert sum(sizes) < shape.pinned < 2 * sum(sizes)
    image = tiny_models[family].processor.image_processor
    assert shape.side == image.patch_size * image.merge_size
    assert shape.values == 3 * image.temporal_patch_size * image.patch_size**2 * image.merge_size**2


def test_linear_attention_keeps_states_instead_of_keys_and_values():
    """The shape of Qwen3.5-9B, whose numbers are the defaults of transformers."""
    from transformers import Qwen3_5Config

    shape = ModelShape.of(Qwen3_5Config(), "Qwen/Qwen3.5-9B")
    assert (shape.layers, shape.linear_layers, shape.kv_heads, shape.head_size) == (32, 24, 4, 256)
    assert (shape.side, shape.values, shape.vocab) == (32, 6144, 248_320)
    # 32 heads of 128 x 128 float32, and 3 inputs of the convolution's 2 x 16 x 128 + 32 x 128 channels in bfloat16
    assert shape.state == 24 * (32 * 128 * 128 * 4 + 3 * 8192 * 2) == 51_511_296
    run = PlannedRun(configured("qwen3_vl_8b", ()), shape, *[ProcessorResize(32, (4096, 1280 * 1024))] * 2, DATA, H100)
    assert kv_token(run) == 2 * 8 * 4 * 256 * 2 == 32_768
    other = replace(run, shape=replace(shape, state=0))
    needs = [int(line(each, "KV").needs.split(" ")[0].replace(",", "")) for each in (run, other)]
    assert needs[0] - needs[1] == 1572, "51,511,296 / 32,768"


def test_model_without_config_or_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="gives no config.json"):
        ModelShape.read(str(tmp_path / "missing"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ConfigError, match="is a qwen2: a plan is made for models"):
        ModelShape.read(str(tmp_path))


def test_machine_of_the_run_is_this_one_or_the_one_that_is_given(monkeypatch, tmp_path):
    config = composed(RECIPES / "mapo/qwen2_5_vl_7b.yaml", [f"trainer.default_local_dir={tmp_path}/no/folder"], None)
    found = Machine(
        "2.11", "13.0", 2, "580", ("H100, 81559 MiB", "H100, 81000 MiB"), "", (9 * GB, 8 * GB), 99 * GB, 65536
    )
    monkeypatch.setattr(make.Machine, "found", lambda: found)
    place = place_of(config, None, None)
    assert (place.gpu, place.gpus, place.memory, place.shm) == (81000 * 2**20, 2, 99 * GB, 8 * GB)
    assert place.disk > 0
    assert place_of(config, 80, 2000) == Place(80 * GB, memory=2000 * GB)
    monkeypatch.setattr(make.Machine, "found", lambda: replace(found, gpus=()))
    with pytest.raises(ConfigError, match="--gpu-memory 80"):
        place_of(config, None, None)


REFUSED = {
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=null": ("settings for the model", "turns=null sets no"),
    "reward.description_alignment.scorer.device=cuda": ("settings", "device='cuda' would put"),
    "reward.description_alignment.outcome=numeric": ("contents of rows", "numeric"),
    "data.seed=1": ("", ""),
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_the_start_would_refuse_is_a_line_of_the_plan(tiny_models, rows, override):
    model = f"actor_rollout_ref.model.path={tiny_models['qwen2_5_vl'].folder}"
    room = "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=9"
    config = composed(RECIPES / "mapo/qwen2_5_vl_7b.yaml", [model, room, override], rows)
    refused = {line.what: line.words for line in start_lines(config) if line.level == "fails"}
    what, words = REFUSED[override]
    assert list(refused) == [what] * bool(what) and words in refused.get(what, "")


def test_start_is_checked_as_far_as_the_files_are_here(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    config = composed(RECIPES / "mapo/qwen2_5_vl_7b.yaml", [f"actor_rollout_ref.model.path={tmp_path}"])
    unchecked = {line.what: line.words for line in start_lines(config) if line.level == "unchecked"}
    assert unchecked["contents of rows"] == GIVE_DATA and "cannot be loaded" in unchecked["settings for the model"]


def test_command_prints_the_plan_and_fails_with_it(tiny_models, rows):
    recipe = ["doctor", "--recipe", str(RECIPES / "mapo/qwen2_5_vl_7b.yaml"), "--data", str(rows), "--gpu-memory", "80"]
    model = f"actor_rollout_ref.model.path={tiny_models['qwen2_5_vl'].folder}"
    good = ["data.train_batch_size=3", "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=9"]
    result = CliRunner().invoke(app, [*recipe, model, *good])
    assert (result.exit_code, "Plan" in result.stdout) == (0, True), result.output
    assert "start, " not in result.stdout and "This run fits, with warnings, as far as it was" in result.stdout
    result = CliRunner().invoke(app, [*recipe, model])
    assert result.exit_code == 1 and "fails" in result.stdout
    drawn = make.planned_run(Path(recipe[2]), [model, "data.train_max_samples=2"], rows, gpu_memory=80)
    assert drawn.data.rows == 2
    with pytest.raises(ConfigError, match="prompt_key=messages is no column of the data, whose columns are prompt"):
        make.planned_run(Path(recipe[2]), [model, "data.prompt_key=messages"], rows, gpu_memory=80)
    result = CliRunner().invoke(app, ["doctor", "--gpu-memory", "80"])
    assert result.exit_code == 2 and "--recipe" in result.output
