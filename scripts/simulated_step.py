# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Steps of a run whose engines and training workers are scripted; everything else runs as in a real run.

Real are ray, TransferQueue, verl's agent-loop and reward workers with this package's extensions, the scorer's actors,
AXPO's slot actor, verl's load balancer and client of the engines, and the trainer with its whole ``fit``. An engine
answers with prepared tokens. A training worker reads its rows through verl's bridge to the queue, as FSDP's workers do,
and writes log-probs that it did not compute. There is no model, and nothing is learned.
"""

from __future__ import annotations

import json
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.single_controller.base.decorator import collect_nd_compute_dataproto, dispatch_nd_compute_dataproto
from verl.utils.transferqueue_utils import tqbridge

RANKS = 8
"""Parts into which the trainer divides a batch, of which each has a call of its own."""

TOKEN_SIDE = 28
"""Pixels along an image token."""

SENTENCE = "The red square is left of the blue circle. "
BOXES = [(40, 40, 200, 160), (0, 0, 120, 150), (100, 60, 200, 180), (30, 90, 150, 180), (60, 20, 140, 120)]


@dataclass(frozen=True)
class Sizes:
    """How large a simulated step is.

    Attributes:
        prompts, n: questions of a step, and rollouts of each.
        prompt_tokens, turn_tokens: tokens of the text of a question, and of a thought.
        image_tokens: most tokens of an image.
        agent_workers, reward_workers, scorers, storage_units, engines: number of processes.
        latency_s: time that an engine takes for a turn.
    """

    prompts: int
    n: int = 8
    prompt_tokens: int = 1200
    turn_tokens: int = 600
    image_tokens: int = 64
    agent_workers: int = 2
    reward_workers: int = 2
    scorers: int = 2
    storage_units: int = 2
    engines: int = 2
    latency_s: float = 0.0


class Engine:
    """Answers as an engine of verl would, without a model. It calls tools, and is right more often on easy questions.

    Args:
        model: folder of the policy's tokenizer.
        sizes: of the step.
        seed: of the answers.
    """

    def __init__(self, model: str, sizes: Sizes, seed: int):
        from verl.utils import hf_tokenizer

        tokenizer = hf_tokenizer(model)
        end = [tokenizer.eos_token_id]
        thought = "<think>" + text_of(tokenizer, sizes.turn_tokens) + "</think>\n"
        calls = [{"name": "zoom", "arguments": {"label": "red square", "bbox_2d": box}} for box in BOXES]
        self.open = tokenizer.convert_tokens_to_ids("<tool_call>")
        self.rest = [tokenizer.encode(f"\n{json.dumps(call)}\n</tool_call>") + end for call in calls]
        head = tokenizer.encode(f"{thought}<tool_call>")
        self.calls = [head + rest for rest in self.rest]
        self.answers = {
            colour: tokenizer.encode(f"{thought}<answer>{colour}</answer>") + end for colour in ("red", "blue")
        }
        self.random, self.latency_s = random.Random(seed), sizes.latency_s
        self.log_probs = [-self.random.random() for _ in range(4 * sizes.turn_tokens + 1000)]

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, image_data: Any = None, **_: Any
    ) -> Any:
        """One turn, as verl's client asks for it."""
        import asyncio

        from verl.workers.rollout.replica import TokenOutput

        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        ids = self._turn(prompt_ids, len(image_data or ()))[: sampling_params["max_tokens"]]
        start = self.random.randrange(len(self.log_probs) - len(ids))
        probabilities = self.log_probs[start : start + len(ids)]
        return TokenOutput(token_ids=ids, log_probs=probabilities, extra_fields={"global_steps": 1})

    def _turn(self, prompt_ids: list[int], images: int) -> list[int]:
        if prompt_ids[-1] == self.open:  # a continuation of AXPO
            return self.random.choice(self.rest)
        if self.random.random() < {1: 0.8, 2: 0.3}.get(images, 0.0):
            return self.random.choice(self.calls)
        easy = zlib.crc32(str(prompt_ids[:800]).encode()) % 2
        return self.answers["red" if self.random.random() < (0.7 if easy else 0.1) else "blue"]


class Policy:
    """The training workers' side of the queue, in one process for all ranks."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    @tqbridge()
    def log_probs(self, batch: TensorDict) -> TensorDict:
        """Columns as verl's log-prob pass returns them, a value a token of the whole sequence."""
        ids = batch["input_ids"]
        values = torch.nested.nested_tensor_from_jagged(
            torch.full_like(ids.values(), -0.5, dtype=torch.float32), ids.offsets()
        )
        return TensorDict({"log_probs": values, "entropy": values}, batch_size=len(batch))

    @tqbridge()
    def update(self, batch: TensorDict) -> TensorDict:
        """Read the rows of an update."""
        return TensorDict({}, batch_size=())


class WorkerGroup:
    """What the trainer calls of verl's worker group, with verl's own dispatch."""

    world_size = RANKS

    def __init__(self) -> None:
        self._dispatch_info = {"actor": list(range(RANKS))}
        self.policy = ray.remote(Policy).options(num_cpus=0).remote()

    def compute_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Dispatch the log-prob pass, and wait for it."""
        return collect_nd_compute_dataproto([True] * RANKS, self, self._call(self.policy.log_probs, batch))

    def update_actor(self, batch: KVBatchMeta) -> dict[str, Any]:
        """Dispatch the update, and wait for it."""
        self._call(self.policy.update, batch)
        return {"metrics": {"mfu": [0.0], "grad_norm": [1.0], "pg_loss": [0.0]}}

    def _call(self, method: Any, batch: KVBatchMeta) -> list[Any]:
        (parts,), _ = dispatch_nd_compute_dataproto(self._dispatch_info["actor"], RANKS, self, batch)
        return ray.get([method.remote(part) for part in parts])


def text_of(tokenizer: Any, tokens: int) -> str:
    """A text of about so many tokens."""
    return SENTENCE * max(1, round(tokens / len(tokenizer.encode(SENTENCE))))


def copy_policy(source: Path, out: Path, sizes: Sizes) -> Path:
    """Copy the folder of a model whose processor then shows images of the wanted size."""
    shutil.copytree(source, out)
    file = out / "processor_config.json"
    processor = json.loads(file.read_text())
    processor["image_processor"]["size"]["longest_edge"] = sizes.image_tokens * TOKEN_SIDE**2
    file.write_text(json.dumps(processor))
    return out


def write_rows(folder: Path, model: str, sizes: Sizes, steps: int) -> Path:
    """Write questions with a picture each; returns the parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image, ImageFilter
    from verl.utils import hf_tokenizer

    from verl_mapo.rollout.prompts import DEFAULT_SYSTEM

    filler = text_of(hf_tokenizer(model), sizes.prompt_tokens)
    rows = []
    for index in range(sizes.prompts * steps):
        picture = folder / f"{index % sizes.prompts}.jpg"
        if not picture.exists():
            noise = Image.effect_noise((448, 384), 80).convert("RGB").filter(ImageFilter.GaussianBlur(2))
            noise.save(picture, quality=90)
        question = f"<image>Question {index}. {filler}Which colour is the square?"
        rows.append(
            {
                "data_source": "visual_search",
                "prompt": [{"role": "system", "content": DEFAULT_SYSTEM}, {"role": "user", "content": question}],
                "images": [str(picture)],
                "reward_model": {"style": "exact", "ground_truth": "red"},
                "extra_info": {"index": index},
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def make_config(method: str, folder: Path, sizes: Sizes, steps: int) -> DictConfig:
    """The configuration of a simulated run; the models are those of the toy, of which only tokenizers are used."""
    from hydra import compose, initialize_config_module

    from verl_mapo.toy.shipped import MODELS

    scorer = "reward.description_alignment.scorer"
    model = copy_policy(MODELS / "qwen2_5_vl-full", folder / "policy", sizes)
    rows = write_rows(folder, str(model), sizes, steps)
    pixels = sizes.image_tokens * TOKEN_SIDE**2
    bf16 = "mixed_precision.param_dtype=bf16"  # as on GPUs, so that pixels travel in two bytes
    overrides = [
        "stack=cpu",
        f"method={method}",
        f"data.train_files={rows}",
        f"data.val_files={rows}",
        f"data.train_batch_size={sizes.prompts}",
        "data.max_prompt_length=2048",
        "data.max_response_length=2048",
        "data.filter_overlong_prompts=false",
        "data.shuffle=false",
        f"visual_tool.max_image_pixels={pixels}",
        f"visual_tool.max_crop_pixels={pixels}",
        f"actor_rollout_ref.model.path={model}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={max(1, sizes.prompts // 2)}",
        f"actor_rollout_ref.actor.fsdp_config.{bf16}",
        f"actor_rollout_ref.ref.fsdp_config.{bf16}",
        f"actor_rollout_ref.rollout.n={sizes.n}",
        f"actor_rollout_ref.rollout.agent.num_workers={sizes.agent_workers}",
        f"reward.num_workers={sizes.reward_workers}",
        f"{scorer}.model={MODELS / 'full-clip'}",
        f"{scorer}.placement=actor",
        f"{scorer}.replicas={sizes.scorers}",
        f"{scorer}.timeout_s=600",  # one engine's turns take no time here, so that all crops wait at once
        f"transfer_queue.backend.SimpleStorage.num_data_storage_units={sizes.storage_units}",
        "trainer.val_before_train=false",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "trainer.logger=[file]",
        f"trainer.default_local_dir={folder}/run",
        f"trainer.total_training_steps={steps}",
    ]
    with initialize_config_module("verl_mapo.config", version_base=None):
        config = compose("run", overrides)
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    return config


def make_trainer(config: DictConfig, sizes: Sizes) -> tuple[Any, Any]:
    """The trainer with all of its parts but workers and engines, which are scripted, and the agent-loop manager."""
    from verl.experimental.reward_loop import RewardLoopManager
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ, get_trainer_cls
    from verl.utils.import_utils import load_class_from_fqn
    from verl.workers.rollout.llm_server import LLMServerClient
    from verl.workers.rollout.router import get_router_handle

    from verl_mapo.training.scorer_actors import scorer_actors

    tq.init(config.transfer_queue)
    trainer = get_trainer_cls("sync")(config=config)
    trainer.scorers = scorer_actors(config)
    trainer._init_tokenizer()
    trainer._init_dataloader()
    trainer._init_dump_executor()
    trainer.actor_rollout_wg = WorkerGroup()
    trainer.reward_loop_manager = RewardLoopManager(config=config)
    nothing: Callable[..., None] = lambda *_: None
    trainer.checkpoint_manager = SimpleNamespace(sleep_replicas=nothing, update_weights=nothing)
    trainer.resource_pool_manager = SimpleNamespace(get_n_gpus=lambda: RANKS)
    trainer.llm_server_manager = None
    trainer.global_steps = 0
    trainer.replay_buffer.poll_interval = 2.0  # verl's; the CPU platform polls more often
    model = config.actor_rollout_ref.model.path
    kind = ray.remote(Engine).options(num_cpus=0, max_concurrency=10_000)
    trainer.engines = {str(number): kind.remote(model, sizes, number) for number in range(sizes.engines)}
    manager = AgentLoopManagerTQ
    if named := config.actor_rollout_ref.rollout.agent.get("agent_loop_manager_class"):
        manager = load_class_from_fqn(named, "AgentLoopManager")
    client = LLMServerClient(config=config, load_balancer_handle=get_router_handle(servers=trainer.engines))
    handles = trainer.reward_loop_manager.reward_loop_worker_handles
    return trainer, manager.create(config=config, llm_client=client, reward_loop_worker_handles=handles)
