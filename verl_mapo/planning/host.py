# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan about host memory, the object store and the disk."""

from __future__ import annotations

from collections.abc import Iterator

from verl_mapo import names
from verl_mapo.planning import arithmetic as sums
from verl_mapo.planning.run import GIVE_DATA, GIVE_MEMORY, ON_THE_MACHINE, Level, Line, PlannedRun, counted, size
from verl_mapo.rollout.image_features import feature_dtype
from verl_mapo.settings import select
from verl_mapo.training.dead_settings_conditions import ACTOR
from verl_mapo.training.lora import adapter_rank, is_merged

_CONTENTS = ("model", "optimizer", "extra")
"""What verl saves if ``save_contents`` is null."""

_HOST = "memory of a node"
_FEWER_PIXELS = (
    "Use more nodes, a smaller data.train_batch_size, or smaller visual_tool.max_image_pixels and max_crop_pixels."
)
_FEWER_PARTS = f"Use more nodes, a smaller model, LoRA, or a smaller {names.AGENT_WORKERS}."


def features(run: PlannedRun, looks: int) -> float:
    """Bytes of the image features of a step if every rollout has so many observations.

    They are in TransferQueue, and once more in the FSDP workers during their passes.
    """
    tokens = run.image_tokens + looks * run.crops.tokens[1]
    return run.rollouts * sums.feature_bytes(tokens, run.shape.values, feature_dtype(run.config).itemsize)


def columns(run: PlannedRun) -> float:
    """Bytes of a step's columns of tokens, in TransferQueue, with prompts and responses as long as they may be."""
    response = run.config.data.max_response_length
    return run.rollouts * sums.token_bytes(run.config.data.max_prompt_length + response, response)


def seen_pixels(run: PlannedRun, looks: int) -> float:
    """Pixels of all images of a step's rollouts, as the model sees them."""
    return run.rollouts * (run.image_tokens + looks * run.crops.tokens[1]) * run.shape.side**2


def requests(run: PlannedRun, looks: int) -> float:
    """Bytes of the images of a step's requests if all rollouts wait at once: as seen, three bytes a pixel."""
    return 3 * seen_pixels(run, looks)


def images(run: PlannedRun, looks: int) -> float:
    """Bytes of the images in the agent-loop workers: originals of a step as they are stored, and all as seen.

    The originals that the rollouts of a prompt share are counted for each of them as seen, and once as stored.
    """
    stored = 0 if run.data is None else run.data.pixels
    return sums.DECODED * (stored * run.config.data.train_batch_size + seen_pixels(run, looks))


def offloaded(run: PlannedRun) -> float:
    """Bytes of what FSDP keeps in pinned host memory between its turns, on all nodes."""
    models = run.config.actor_rollout_ref
    fsdp, moments = models.actor.fsdp_config, run.shape.pinned if run.trained else 0
    states = run.shape.pinned * sums.FLOAT32 if fsdp.param_offload else 0
    if fsdp.optimizer_offload:
        states += moments * sums.ADAM
    if run.reference and models.ref.fsdp_config.param_offload:
        states += run.shape.pinned * sums.FLOAT32
    return states * run.copies


def sleeping(run: PlannedRun) -> float:
    """Bytes of the weights that the engines of a node keep in pinned host memory during the update.

    With LoRA adapters verl sends the engines only these, so they put the other weights aside; otherwise they drop all.
    """
    aside = adapter_rank(run.config) and not is_merged(run.config)
    if not (aside and run.config.actor_rollout_ref.rollout.free_cache_engine):
        return 0
    return run.engines / run.nodes * run.shape.pinned * sums.BFLOAT16


def loading(run: PlannedRun) -> float:
    """Bytes of the weights in the memory of a node while they are loaded."""
    # without tied embeddings, the others of a node make tensors without data
    loads = run.config.trainer.n_gpus_per_node if run.shape.tied else 1
    return loads * run.shape.parameters * sums.FLOAT32


def processes(run: PlannedRun) -> float:
    """Bytes of the processes of the first node: agent-loop and reward workers, three a GPU, and those of the run."""
    workers = (select(run.config, names.AGENT_WORKERS) + run.config.reward.num_workers) / run.nodes
    return (workers + 3 * run.config.trainer.n_gpus_per_node) * sums.PROCESS + sums.ONCE


def caches(run: PlannedRun) -> float:
    """Bytes of the processed images that the engines of a node keep."""
    return run.engines / run.nodes * select(run.config, names.IMAGE_CACHE, sums.VLLM_IMAGE_CACHE) * 2**30


def store_size(run: PlannedRun) -> float | None:
    """Bytes of a node's object store; None where its memory is not known."""
    store = sums.object_store(run.place.memory) if run.place.memory else None
    return select(run.config, names.OBJECT_STORE_MEMORY, store)


def fixed(run: PlannedRun) -> float:
    """Bytes of a node's memory that do not depend on images."""
    return (offloaded(run) + columns(run)) / run.nodes + processes(run) + caches(run) + sleeping(run)


def of_node(run: PlannedRun, looks: int) -> float:
    """Bytes of a node's memory and of its object store, if every rollout has so many observations."""
    store, stored = store_size(run), requests(run, looks) / run.nodes
    stored = min(stored, store) if store else stored
    batch = (2 * features(run, looks) + images(run, looks)) / run.nodes
    return max(loading(run), fixed(run) + batch + stored)


def host_lines(run: PlannedRun) -> Iterator[Line]:
    """What lies in the memory of a node, and in the object store."""
    in_queue, in_workers, in_store = (
        [of(run, looks) / run.nodes for looks in run.range_of_looks] for of in (features, images, requests)
    )
    yield Line(_HOST, "weights while they are loaded", size(loading(run)))
    yield Line(_HOST, "weights and optimizer, offloaded", size(offloaded(run) / run.nodes))
    if sleeping(run):
        yield Line(_HOST, "weights of the engines during the update", size(sleeping(run)))
    yield Line(_HOST, "image features of a step (TransferQueue)", _range(in_queue))
    yield Line(_HOST, "the same features (FSDP workers)", _range(in_queue))
    yield Line(_HOST, "columns of tokens of a step, at most (TransferQueue)", size(columns(run) / run.nodes))
    yield Line(_HOST, "images of a step (agent-loop workers)", _range(in_workers))
    yield Line(_HOST, "processes", size(processes(run)))
    yield Line(_HOST, "processed images of the engines", size(caches(run)))
    memory = run.place.memory
    least, most = (of_node(run, looks) for looks in run.range_of_looks)
    level: Level = "ok" if memory else "unchecked"
    words = "" if memory else GIVE_MEMORY
    if memory and max(loading(run), fixed(run)) > memory:
        level, words = "fails", f"Weights, optimizer and processes alone do not fit. {_FEWER_PARTS}"
    elif memory and least > memory:
        level, words = "fails", f"Ray ends workers even if every rollout looks only once. {_FEWER_PIXELS}"
    elif memory and most > memory:
        level, words = "warns", f"Ray ends workers if every rollout makes all its calls. {_FEWER_PIXELS}"
    yield Line(_HOST, "total, with the object store", _range((least, most)), size(memory), level, words)
    yield _object_store(run, in_store, store_size(run))


def _object_store(run: PlannedRun, needed: list[float], store: float | None) -> Line:
    """Requests that hold images, in /dev/shm."""
    what, shm = "images of requests (object store, in /dev/shm)", run.place.shm
    room = store if shm is None or store is None else min(store, shm)
    if room is None:
        return Line(_HOST, what, _range(needed), "", "unchecked", GIVE_MEMORY)
    words = ""
    if needed[1] > room:
        words = "Ray moves them to the disk, which is slow. "
        if shm is not None and shm < needed[1]:
            words += "Give the container more --shm-size, or --ipc=host."
        else:
            words += f"Set +{names.OBJECT_STORE_MEMORY}={needed[1]:.0f}."
    return Line(_HOST, what, _range(needed), size(room), "warns" if words else "ok", words)


def checkpoint(run: PlannedRun) -> int:
    """Bytes of one checkpoint."""
    contents = select(run.config, f"{ACTOR}.checkpoint.save_contents", _CONTENTS)
    return sums.checkpoint_bytes(run.shape.parameters, run.trained, list(contents), run.copies)


def disk_lines(run: PlannedRun) -> Iterator[Line]:
    """The checkpoints of the run."""
    trainer, one, disk = run.config.trainer, checkpoint(run), run.place.disk
    keep = trainer.max_actor_ckpt_to_keep
    keep = max(keep, 2) if (keep or 0) > 0 else None  # see VisualTrainer: 1 is raised to 2
    steps = select(run.config, names.TOTAL_STEPS)
    if run.data is not None:
        there = run.data.rows // run.config.data.train_batch_size * trainer.total_epochs
        steps = there if steps is None else min(steps, there)
    if steps is None:
        yield Line("disk", "checkpoints", f"{size(one)} each, {keep or 'all'} kept", size(disk), "unchecked", GIVE_DATA)
        return
    saves = sums.number_of_saves(steps, trainer.save_freq)
    kept = min(saves, keep or saves)
    needs = f"{size(kept * one)} ({counted(kept, 'checkpoint')} kept; {saves:,} written in {counted(steps, 'step')})"
    level: Level = "ok" if disk is not None else "unchecked"
    words = "" if disk is not None else ON_THE_MACHINE
    if disk is not None and kept * one > disk:
        level, words = (
            "fails",
            "The run ends at the save that does not fit. Set trainer.default_local_dir to another disk",
        )
        words += "." if keep == 2 else ", or trainer.max_actor_ckpt_to_keep=2."
    elif keep is None and saves > 2:
        level, words = "warns", f"Each is kept, {size(saves * one)} in all. Set trainer.max_actor_ckpt_to_keep=2."
    yield Line("disk", "checkpoints", needs, size(disk), level, words)


def _range(sizes: tuple[float, float] | list[float]) -> str:
    low, high = map(size, sizes)
    return low if low == high else f"{low} to {high}"
