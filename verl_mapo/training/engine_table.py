# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of training engines, rollout engines and ways to share a model, and what each method can do with them.

A run makes several choices; those that a method cannot work with are refused at the start. docs/capabilities.md has the
table as :func:`markdown` writes it. ``untested`` means that the code of verl was read and nothing in it speaks against
the combination: what the methods add lies in agent loop, reward and trainer, which see no engine. All symbols and
settings are those of verl 0.9.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.settings import select
from verl_mapo.training.dead_settings_conditions import ACTOR, MODEL, NO_REFERENCE, REF, ROLLOUT
from verl_mapo.training.lora import adapter_rank, adapts_vision_tower, is_merged

STRATEGY = f"{ACTOR}.strategy"
TENSOR_PARALLEL = f"{ROLLOUT}.tensor_model_parallel_size"
ULYSSES = f"{ACTOR}.ulysses_sequence_parallel_size"
_REF_ULYSSES = f"{REF}.ulysses_sequence_parallel_size"
ROLLOUT_NAME = f"{ROLLOUT}.name"
_SEED = f"{names.VISUAL_TOOL_NODE}.seed"
_LENGTH = f"{ROLLOUT}.max_model_len"
_REF_FSDP_SIZE = f"{REF}.fsdp_config.fsdp_size"
_RANK = f"{MODEL}.lora_rank"
_TARGETS = f"{MODEL}.target_modules"
_EXCLUDED = f"{MODEL}.exclude_modules"
_TOWER_ADAPTERS = f"{ROLLOUT}.engine_kwargs.vllm.enable_tower_connector_lora"
_LAYERED = f"{ROLLOUT}.layered_summon"
_NONFINITE = f"{names.VISUAL_TOOL_NODE}.max_nonfinite_updates"
_MEGATRON_DTYPE = f"{ACTOR}.megatron.dtype"
_PADDING = f"{MODEL}.use_remove_padding"


@dataclass(frozen=True)
class Verdict:
    """What is known of a choice under a method.

    Attributes:
        state: ``tested``, ``untested`` or ``refused``.
        words: what was tested, what is open, or why it is refused.
        instead: what to set instead, of a refused choice.
    """

    state: str
    words: str = ""
    instead: str = ""


def tested(words: str = "") -> Verdict:
    return Verdict("tested", words)


def untested(words: str = "") -> Verdict:
    return Verdict("untested", words)


def refused(why: str, instead: str) -> Verdict:
    return Verdict("refused", why, instead)


COLUMNS = (names.MAPO, names.AXPO, names.VGPO)
"""The methods with a column in the documentation."""

COLUMN_OF = {name: names.MAPO for name in names.ESTIMATORS if name not in COLUMNS} | {
    name: names.VGPO for name in (names.PEPO, *names.VIEWED)
}
"""Every other method to the one that needs the same of an engine: more of the log-prob pass than verl's own gives."""


@dataclass(frozen=True)
class Choice:
    """A row of the table.

    Attributes:
        title: how the choice is written in the documentation.
        settings: dotted paths of the settings that make it; a message gives their values.
        holds: whether a run has made it.
        verdict: for every run.
        of_method: for the methods, by name, whose verdict is another one.
    """

    title: str
    settings: tuple[str, ...]
    holds: Callable[[DictConfig], bool]
    verdict: Verdict
    of_method: Mapping[str, Verdict] = field(default_factory=dict)

    def of(self, method: str) -> Verdict:
        return self.of_method.get(COLUMN_OF.get(method, method), self.verdict)

    def differs(self, method: str) -> bool:
        """Whether a method has a verdict of its own."""
        return self.of(method) is not self.verdict

    def sentence(self, config: DictConfig, verdict: Verdict, method: str) -> str:
        """Why a run is refused; the name of the method is empty where it does not matter."""
        given = " with ".join(f"{path}={select(config, path)}" for path in self.settings)
        with_method = f" with {method}" if method else ""
        return f"{given} is refused{with_method}: {verdict.words}. Set {verdict.instead}."


def _is(path: str, *values: Any) -> Callable[[DictConfig], bool]:
    return lambda config: select(config, path) in values


def _all(*conditions: Callable[[DictConfig], bool]) -> Callable[[DictConfig], bool]:
    return lambda config: all(condition(config) for condition in conditions)


def gpus(config: DictConfig) -> int:
    """Number of GPUs that train."""
    return config.trainer.nnodes * config.trainer.n_gpus_per_node


def gpus_of_engine(config: DictConfig) -> int:
    """Number of GPUs that one rollout engine spreads over."""
    rollout = config.actor_rollout_ref.rollout
    return rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size


def training_nodes(config: DictConfig) -> tuple[str, ...]:
    """The nodes of the models that have an engine of their own: actor, and reference unless it is LoRA's base model."""
    with_adapters = adapter_rank(config) > 0 or select(config, f"{MODEL}.lora_adapter_path") is not None
    return (ACTOR,) if NO_REFERENCE.holds(config) or with_adapters else (ACTOR, REF)


def sequence_parallel(config: DictConfig, node: str = ACTOR) -> int:
    """Number of GPUs that share a sequence in the FSDP engine of a model, given by its node."""
    settings = ("ulysses_sequence_parallel_size", "fsdp_config.ulysses_sequence_parallel_size")
    return max(select(config, f"{node}.{name}", 1) for name in settings)


def _shares_sequences(config: DictConfig) -> bool:
    return any(sequence_parallel(config, node) > 1 for node in training_nodes(config))


def _has_unequal_parts(config: DictConfig) -> bool:
    return any(gpus(config) % sequence_parallel(config, node) != 0 for node in training_nodes(config))


def _has_unequal_shards(config: DictConfig) -> bool:
    sizes = [select(config, f"{node}.fsdp_config.fsdp_size", -1) for node in training_nodes(config)]
    return any(0 <= size < gpus(config) and (not size or gpus(config) % size != 0) for size in sizes)


def _no_room_for_sglang(config: DictConfig) -> bool:
    length = select(config, _LENGTH)
    rollout = config.actor_rollout_ref.rollout
    return length is not None and length <= rollout.prompt_length + rollout.response_length


_LOOP = _is(names.DEFAULT_AGENT_LOOP, names.AGENT_LOOP)
uses_fsdp = _is(STRATEGY, *names.ENGINES)
_SGLANG = _is(ROLLOUT_NAME, "sglang")
_TRTLLM = _is(ROLLOUT_NAME, "trtllm")
_SHARED_GPUS = _is(names.TRAINER_MODE, "sync", "colocate_async")

_NO_STATES = refused(
    "its log-prob pass gives log-probs alone, without what visual credit and the methods with changed images read "
    "in it",
    "model_engine=dp and actor_rollout_ref.actor.strategy=fsdp2 or fsdp",
)
_SCORES = "the scores, not in a real run"

TABLE = (
    # Training
    Choice("`strategy=fsdp2`, the default", (STRATEGY,), _is(STRATEGY, "fsdp2"), tested("in real runs")),
    Choice(
        "`strategy=fsdp`",
        (STRATEGY,),
        _is(STRATEGY, "fsdp"),
        untested(),
        {names.VGPO: tested(_SCORES)},
    ),
    Choice(
        "`stack=cpu` with another strategy than `fsdp2`",
        (names.DEVICE, STRATEGY),
        lambda config: select(config, names.DEVICE) == "cpu" and select(config, STRATEGY) != "fsdp2",
        refused("the engine cannot shard a model on a CPU", f"model_engine=dp and {STRATEGY}=fsdp2"),
    ),
    Choice(
        "`strategy=fsdp_turbo`",
        (STRATEGY,),
        _is(STRATEGY, "fsdp_turbo"),
        untested(),
        {names.VGPO: _NO_STATES},
    ),
    Choice("`model_engine=megatron`", (STRATEGY,), _is(STRATEGY, "megatron"), untested(), {names.VGPO: _NO_STATES}),
    Choice(
        "the same with `visual_tool.max_nonfinite_updates` above 0, unless in float16",
        (_NONFINITE, STRATEGY, _MEGATRON_DTYPE),
        _all(
            _is(STRATEGY, "megatron"),
            lambda config: select(config, _NONFINITE, 0) > 0 and select(config, _MEGATRON_DTYPE) != "float16",
        ),
        refused("its optimizer steps with a gradient that is not finite, after which no weight is", f"{_NONFINITE}=0"),
    ),
    Choice("`model_engine=veomni`", (STRATEGY,), _is(STRATEGY, "veomni"), untested(), {names.VGPO: _NO_STATES}),
    Choice(
        "`model_engine=torchtitan`",
        (STRATEGY,),
        _is(STRATEGY, "torchtitan"),
        refused("verl loads only text models into it", "model_engine=dp"),
    ),
    Choice(
        "`trainer.device=npu`",
        (names.DEVICE,),
        _is(names.DEVICE, "npu"),
        untested(),
        {
            names.VGPO: refused(
                "visual credit and the methods with changed images need an engine that is there for NVIDIA and AMD "
                "GPUs and for CPUs",
                "algorithm.adv_estimator=mapo or axpo, or trainer.device=cuda",
            )
        },
    ),
    Choice(
        "sequence parallelism (Ulysses), FSDP",
        (ULYSSES,),
        _all(uses_fsdp, _shares_sequences),
        untested(),
        {names.VGPO: tested(f"{_SCORES}, on 2 ranks")},
    ),
    Choice(
        "the same with padded passes",
        (ULYSSES, _REF_ULYSSES, _PADDING),
        _all(uses_fsdp, _shares_sequences, lambda config: not select(config, _PADDING)),
        refused("a sequence is split only where rows are packed", f"{_PADDING}=true"),
    ),
    Choice(
        "the same, over a number of GPUs that does not divide all",
        (ULYSSES, _REF_ULYSSES, names.NODES, names.GPUS_PER_NODE),
        _all(uses_fsdp, _has_unequal_parts),
        refused("a sequence is split over equal parts of all GPUs", "each size to 1, or to a divisor of all GPUs"),
    ),
    Choice(
        "`fsdp_size`, FSDP, over a number of GPUs that does not divide all",
        (names.FSDP_SIZE, _REF_FSDP_SIZE, names.NODES, names.GPUS_PER_NODE),
        _all(uses_fsdp, _has_unequal_shards),
        refused(
            "a copy of the model is divided over equal parts of all GPUs",
            "each size to -1, or to a divisor of all GPUs",
        ),
    ),
    # Rollouts
    Choice("`rollout.name=vllm`, the default", (ROLLOUT_NAME,), _is(ROLLOUT_NAME, "vllm"), tested("in real runs")),
    Choice("`rollout.name=sglang`", (ROLLOUT_NAME,), _SGLANG, untested()),
    Choice(
        "the same with `visual_tool.seed`",
        (ROLLOUT_NAME, _SEED),
        _all(_SGLANG, _LOOP, lambda config: select(config, _SEED) is not None),
        refused(
            "a turn's seed is vLLM's sampling parameter seed, which SGLang does not know and stops at",
            f"{_SEED}=null, or {ROLLOUT_NAME}=vllm",
        ),
    ),
    Choice(
        "the same with `data.mm_processor_kwargs`",
        (ROLLOUT_NAME, names.MM_PROCESSOR_KWARGS),
        _all(_SGLANG, lambda config: bool(select(config, names.MM_PROCESSOR_KWARGS))),
        refused(
            "verl's SGLang engine takes none, so that every rollout would fail",
            "the limits with visual_tool.max_image_pixels and max_crop_pixels",
        ),
    ),
    Choice(
        "the same, with no token of `max_model_len` to spare",
        (ROLLOUT_NAME, _LENGTH),
        _all(_SGLANG, _LOOP, _no_room_for_sglang),
        refused(
            "verl's SGLang engine leaves the last token free, so that a cut turn would be taken for an answer",
            f"{_LENGTH} to at least data.max_prompt_length + data.max_response_length + 1",
        ),
    ),
    Choice("`rollout.name=trtllm`, single turns", (ROLLOUT_NAME,), _TRTLLM, untested()),
    Choice(
        f"the same with `{names.AGENT_LOOP}`",
        (ROLLOUT_NAME, names.DEFAULT_AGENT_LOOP),
        _all(_TRTLLM, _LOOP),
        refused(
            "verl's TensorRT-LLM engine ignores the number of tokens that a turn may have, and renders the tokens of a "
            "rollout with images again",
            f"{ROLLOUT_NAME}=vllm or sglang",
        ),
    ),
    Choice(
        "another engine",
        (ROLLOUT_NAME,),
        lambda config: select(config, ROLLOUT_NAME) not in ("vllm", "sglang", "trtllm"),
        refused("verl has no such rollout engine", f"{ROLLOUT_NAME}=vllm or sglang"),
    ),
    Choice(
        "`rollout.tensor_model_parallel_size` above 1",
        (TENSOR_PARALLEL,),
        lambda config: gpus_of_engine(config) > 1,
        tested("in real runs of the CPU stack, with vLLM on 2 devices"),
    ),
    Choice(
        "the same, over a number of GPUs that does not divide all",
        (
            *(TENSOR_PARALLEL, f"{ROLLOUT}.data_parallel_size", f"{ROLLOUT}.pipeline_model_parallel_size"),
            *(names.NODES, names.GPUS_PER_NODE),
        ),
        _all(_SHARED_GPUS, lambda config: gpus(config) % gpus_of_engine(config) != 0),
        refused(
            "engines have equal parts of trainer.nnodes x trainer.n_gpus_per_node GPUs",
            f"{TENSOR_PARALLEL}=1, or to a divisor of all GPUs",
        ),
    ),
    # LoRA
    Choice(
        "LoRA (`model.lora_rank`), FSDP and vLLM, without the vision tower",
        (_RANK,),
        _all(uses_fsdp, _is(ROLLOUT_NAME, "vllm"), lambda config: adapter_rank(config) > 0),
        tested("in real runs of the CPU stack, and that vLLM finds a module for each adapter"),
    ),
    Choice(
        "the same with adapters in the vision tower",
        (_RANK, _TARGETS, _EXCLUDED),
        lambda config: (
            uses_fsdp(config)
            and adapts_vision_tower(config)
            and not is_merged(config)
            and not (select(config, ROLLOUT_NAME) == "vllm" and select(config, _TOWER_ADAPTERS, False))
        ),
        refused(
            "the rollout engine leaves out adapters of the vision tower, so that another model than the trained one "
            "writes the rollouts",
            f"{_EXCLUDED}='.*visual.*', or {MODEL}.lora.merge=true",
        ),
    ),
    Choice(
        "the same with `layered_summon` and `strategy=fsdp` on one GPU",
        (_LAYERED, STRATEGY),
        lambda config: (
            select(config, _RANK, 0) > 0
            and bool(select(config, _LAYERED))
            and select(config, STRATEGY) == "fsdp"
            and gpus(config) == 1
        ),
        refused("FSDP1 has no shards there, and verl cannot collect the adapters", f"{STRATEGY}=fsdp2"),
    ),
    Choice(
        "LoRA with SGLang",
        (_RANK, ROLLOUT_NAME),
        _all(_SGLANG, lambda config: adapter_rank(config) > 0),
        untested(),
    ),
    Choice(
        "LoRA with TensorRT-LLM",
        (_RANK, ROLLOUT_NAME),
        _all(_TRTLLM, lambda config: adapter_rank(config) > 0 and not is_merged(config)),
        refused("verl's TensorRT-LLM engine takes no adapters", f"{ROLLOUT_NAME}=vllm, or {MODEL}.lora.merge=true"),
    ),
    Choice(
        "`model.lora_rank` with another engine than FSDP",
        (_RANK, STRATEGY),
        lambda config: select(config, _RANK, 0) > 0 and not uses_fsdp(config),
        refused(
            "the engine trains all weights, while the rollout engine waits for adapters",
            f"{STRATEGY}=fsdp2, or {_RANK}=0 and, for Megatron, {MODEL}.lora.rank",
        ),
    ),
    Choice(
        "LoRA (`model.lora.rank`), Megatron",
        (f"{MODEL}.lora.rank",),
        _all(_is(STRATEGY, "megatron"), lambda config: select(config, f"{MODEL}.lora.rank", 0) > 0),
        untested(),
        {names.VGPO: _NO_STATES},
    ),
)


def markdown() -> str:
    """The table as docs/capabilities.md has it: a column for each method, and one for the words of their verdicts."""
    rows = [("choice", *COLUMNS, "what was tested, or why it is refused")]
    rows += [("---",) * len(rows[0])]
    for choice in TABLE:
        others = [f"{method}: {verdict.words}" for method, verdict in choice.of_method.items() if verdict.words]
        words = "; ".join([choice.verdict.words, *others] if choice.verdict.words else others)
        rows.append((choice.title, *(choice.of(method).state for method in COLUMNS), words))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
