# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU platform in real verl and vLLM. A fresh interpreter takes the place of each process of a run."""

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from verl_mapo.platforms.cpu import environment

PRIMARY = """
defaults:
  - ppo_trainer
  - _self_
  - stack: null
hydra:
  searchpath:
    - pkg://verl.trainer.config
    - pkg://verl_mapo.config
actor_rollout_ref: {rollout: {name: vllm, n: 4}, actor: {ppo_mini_batch_size: 4}}
"""

REGISTER = """
import json, os
import verl
from verl_mapo.platforms import cpu
cpu.register()
cpu.register()
found = {}
"""

ON_CPU = """
import importlib.metadata, torch
from verl.utils.device import get_device_id, get_device_name, get_torch_device
from verl.utils.distributed import initialize_global_process_group_ray
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

buffer = ["sync", {}, None, "drop", {}]
found["polls"] = [kind(*buffer).poll_interval for kind in (ReplayBuffer, ReplayBufferAsync)]
found["polls"].append(ReplayBuffer(*buffer, poll_interval=3.0).poll_interval)
found["device"] = [get_device_name(), str(get_device_id()), get_torch_device().__name__]
found["engines"] = [EngineRegistry.get_engine_cls(kind, "fsdp2").__name__ for kind in ("language_model", "value_model")]
os.environ["DIST_INIT_METHOD"] = f"file://{os.environ['RENDEZVOUS']}"
initialize_global_process_group_ray()
found["backend"], total = torch.distributed.get_backend(), torch.ones(1)
torch.distributed.all_reduce(total)
found["pinned"] = transformer_impl.CPUOffloadPolicy(pin_memory=True).pin_memory
found["vllm"] = importlib.metadata.version("vllm")
try:
    importlib.metadata.version("no-such-distribution")
except importlib.metadata.PackageNotFoundError:
    found["missing"] = "no-such-distribution"

from verl.utils.experimental.torch_functional import FusedLinearForPPO

torch.manual_seed(0)
fused = FusedLinearForPPO()
found["chunk"], found["fused"] = [fused.chunk_size, FusedLinearForPPO(chunk_size=8).chunk_size], []
for shape in ((70,), (2, 35)):
    for of_entropy in (None, torch.randn(shape)):
        for some in (torch.arange(70).view(shape) % 9 == 4, torch.zeros(shape, dtype=torch.bool)):
            ids, of_log_probs = torch.randint(0, 50, shape), torch.randn(shape) * some
            results = []
            for ours in (True, False):
                torch.manual_seed(1)
                states, vocabulary = (torch.randn(*size, 16, requires_grad=True) for size in (shape, (50,)))
                if ours:
                    log_probs, entropy = fused(states * 1.0, vocabulary, ids, 0.7)
                else:
                    every = (states @ vocabulary.T / 0.7).log_softmax(dim=-1)
                    log_probs, entropy = every.gather(-1, ids.unsqueeze(-1)).squeeze(-1), -(every.exp() * every).sum(-1)
                loss = (log_probs * of_log_probs).sum()
                loss = loss if of_entropy is None else loss + (entropy * of_entropy * some).sum()
                loss.backward()
                results.append([log_probs.detach(), entropy.detach(), states.grad, vocabulary.grad])
            found["fused"] += [(one - other).abs().max().item() for one, other in zip(*results, strict=True)]

layer, x = torch.nn.Linear(64, 32, bias=False), torch.randn(4, 64)
layer.requires_grad_(False)
errors = []
for scale in (1.0, 3.0):
    layer.weight.mul_(scale)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    errors.append((layer.cpu_linear(x, layer.weight, None) - x @ layer.weight.T).abs().max().item())
found["weight"], found["errors"] = list(layer.weight.shape), errors
"""

TRANSFER = """
import asyncio, threading, torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver, BucketedWeightSender

handle = f"ipc:///tmp/{os.environ['SOCKET']}"
sender = BucketedWeightSender(zmq_handle=handle, bucket_size_mb=1, use_shm=True)
receiver = BucketedWeightReceiver(zmq_handle=handle, device=torch.device("cpu"), use_shm=True)
found["handles"], received = [sender.zmq_handle, receiver.zmq_handle], {}

def receive():
    def keep(weights, is_last):
        received.update((name, weight.tolist()) for name, weight in weights)

    receiver.receive_weights(on_bucket_received=keep)

thread = threading.Thread(target=receive, daemon=True)
thread.start()
asyncio.run(asyncio.wait_for(sender.async_send_weights(iter([("w", torch.arange(3.0))])), 600))
thread.join()
found["received"] = received
"""

SEEDS = """
from vllm import LLM, SamplingParams

def written(max_num_batched_tokens, seeds):
    model = LLM(
        os.environ["MODEL"], dtype="float32", max_model_len=256, max_num_seqs=4, enforce_eager=True, block_size=16,
        max_num_batched_tokens=max_num_batched_tokens, kv_cache_memory_bytes=2**26, enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 0, "video": 0},
    )
    prompts = [{"prompt_token_ids": [5 + (first + place) % 90 for place in range(100)]} for first in range(4)]
    sampling = [SamplingParams(seed=seed, temperature=1.0, max_tokens=8, ignore_eos=True) for seed in seeds]
    return [list(output.outputs[0].token_ids) for output in model.generate(prompts, sampling, use_tqdm=False)]

found["whole"] = written(512, range(4))
found["split"], found["beside a request without a seed"] = written(32, range(4)), written(32, [0, 1, 2, None])
"""

ELSEWHERE = """
import importlib.metadata
from verl.plugin.platform import PlatformRegistry, get_platform
from verl.workers.engine.fsdp import transformer_impl

found["registered"] = "cpu" in PlatformRegistry.registered_names()
found["platform"] = get_platform().device_name
found["engines"] = sorted(map(str, transformer_impl.EngineRegistry._engines["language_model"]["fsdp2"]))
found["pinned"] = transformer_impl.CPUOffloadPolicy(pin_memory=True).pin_memory
found["version"] = importlib.metadata.version.__module__ + "." + importlib.metadata.version.__code__.co_filename
"""


def interpret(code: str, **variables: str) -> dict:
    """The dictionary ``found`` after some code has run in a fresh interpreter."""
    env = {name: value for name, value in os.environ.items() if name != "VERL_PLATFORM"} | variables
    program = REGISTER + textwrap.dedent(code) + "\nprint('FOUND' + json.dumps(found))"
    finished = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, start_new_session=True
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.rpartition("FOUND")[2])


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> dict:
    pytest.importorskip("vllm", reason="the patches of vLLM need its CPU build")
    return interpret(ON_CPU, **environment(), RENDEZVOUS=str(tmp_path_factory.mktemp("gloo") / "store"))


def test_verl_uses_the_cpu_as_its_device(on_cpu: dict) -> None:
    assert on_cpu["device"] == ["cpu", "cpu", "verl_mapo.platforms.cpu_device"]


def test_verl_finds_its_fsdp2_engines(on_cpu: dict) -> None:
    assert on_cpu["engines"] == ["MethodEngine", "FSDPEngineWithValueHead"]


def test_replay_buffers_poll_often_unless_told_otherwise(on_cpu: dict) -> None:
    assert on_cpu["polls"] == [0.1, 0.1, 3.0]


def test_fused_log_probs_and_their_gradients_are_those_of_all_logits(on_cpu: dict) -> None:
    assert on_cpu["chunk"] == [32, 8]
    assert len(on_cpu["fused"]) == 32 and max(on_cpu["fused"]) < 1e-4


def test_process_group_uses_gloo(on_cpu: dict) -> None:
    assert on_cpu["backend"] == "cpu:gloo"


def test_reference_policy_is_offloaded_to_unpinned_memory(on_cpu: dict) -> None:
    assert on_cpu["pinned"] is False


def test_version_of_vllm_is_that_of_its_cpu_build_and_other_versions_are_unchanged(on_cpu: dict) -> None:
    assert on_cpu["vllm"].endswith("+cpu")
    assert on_cpu["missing"] == "no-such-distribution"


def test_linear_layer_keeps_its_weight_and_uses_new_values(on_cpu: dict) -> None:
    assert on_cpu["weight"] == [32, 64]
    assert max(on_cpu["errors"]) < 1e-4


def test_seed_decides_the_tokens_though_the_engine_splits_prompts_and_has_requests_without_a_seed(tiny_models) -> None:
    pytest.importorskip("vllm", reason="needs vLLM's CPU build")
    in_process = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "MODEL": str(tiny_models["qwen2_5_vl"].folder)}
    found = interpret(SEEDS, **environment(), **in_process)
    assert found["split"] == found["whole"]
    assert found["beside a request without a seed"][:3] == found["whole"][:3]
    assert len({tuple(tokens) for tokens in found["whole"]}) == 4


def test_two_runs_at_once_send_weights_through_different_sockets() -> None:
    pytest.importorskip("vllm", reason="the receiver of weights needs vLLM")
    with ThreadPoolExecutor() as executor:
        variables = {**environment(), "SOCKET": f"verl-mapo-test-{os.getpid()}"}
        runs = list(executor.map(lambda _: interpret(TRANSFER, **variables), range(2)))
    for run in runs:
        assert run["received"] == {"w": [0.0, 1.0, 2.0]}
        assert run["handles"][0] == run["handles"][1]
    assert runs[0]["handles"] != runs[1]["handles"]


def test_registration_only_adds_a_name_where_another_platform_is_used() -> None:
    found = interpret(ELSEWHERE)
    assert found["registered"]
    assert found["platform"] != "cpu"
    assert found["engines"] == ["('cuda', 'amd')", "('cuda', 'nvidia')", "cuda", "npu"], (
        "MethodEngine is registered for two vendors"
    )
    assert found["pinned"] is True
    assert "verl_mapo" not in found["version"]


def test_environment_selects_the_platform_and_holds_strings() -> None:
    assert environment()["VERL_PLATFORM"] == "cpu"
    assert all(isinstance(value, str) for value in environment().values())


def composed(folder: Path, *overrides: str) -> DictConfig:
    (folder / "primary.yaml").write_text(PRIMARY)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base=None):
        return compose("primary", list(overrides))


def test_stack_changes_the_settings_that_a_cpu_needs(tmp_path: Path) -> None:
    config = composed(tmp_path, "stack=cpu", "trainer.n_gpus_per_node=2")
    rollout, actor, ref = (config.actor_rollout_ref[part] for part in ("rollout", "actor", "ref"))
    assert config.trainer.device == "cpu"
    assert config.ray_kwargs.ray_init.num_gpus == 2
    assert (actor.strategy, ref.strategy, config.critic.strategy) == ("fsdp2",) * 3
    assert actor.fsdp_config.mixed_precision == ref.fsdp_config.mixed_precision
    assert (rollout.dtype, rollout.load_format, rollout.enforce_eager) == ("float32", "auto", True)
    assert rollout.engine_kwargs.vllm.limit_mm_per_prompt.video == 0
    assert (rollout.n, actor.ppo_mini_batch_size) == (4, 4)


def test_verl_accepts_every_key_of_the_stack(tmp_path: Path) -> None:
    from verl.utils.config import omega_conf_to_dataclass

    config = composed(tmp_path, "stack=cpu")
    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert rollout.enable_sleep_mode is False
    assert actor.fsdp_config.mixed_precision["param_dtype"] == "fp32"


def test_settings_of_verl_are_unchanged_without_the_stack(tmp_path: Path) -> None:
    config = composed(tmp_path)
    assert config.trainer.device == "cuda"
    assert "mixed_precision" not in config.actor_rollout_ref.actor.fsdp_config
    assert OmegaConf.select(config, "ray_kwargs.ray_init.num_gpus") is None
