# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of free settings: those below a node whose content verl hands on to another library as it is.

The libraries ignore most names that they do not know, or fail in a worker. What they take is known at the start of a
run: from the signature of the optimizer, the model's configuration, its processor, its chat template, the arguments of
vLLM. A node is not checked where this is not so, as with a processor of the user that takes anything.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, is_typeddict

import ray
from omegaconf import DictConfig, OmegaConf
from ray.runtime_env import RuntimeEnv
from transformers import AutoConfig, PretrainedConfig

from verl_mapo import names
from verl_mapo.rollout.images import SIZE_ARGUMENTS, processor_kwargs
from verl_mapo.settings import ConfigError, local_path, select
from verl_mapo.training.dead_settings_conditions import MODEL, ROLLOUT
from verl_mapo.training.setting_hints import nearest
from verl_mapo.versions import distribution_version

Taken = Mapping[str, "Taken | None"]
"""The names that a receiver takes, each with those that it takes inside it; None for any."""

VLLM_NODE = f"{ROLLOUT}.engine_kwargs.vllm"
_VLLM_FILES = ("engine/arg_utils.py", "entrypoints/openai/cli_args.py")
_SAME_NAME = (
    *("dtype", "load_format", "quantization", "seed", "enforce_eager", "scheduling_policy", "logprobs_mode"),
    *("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "data_parallel_size"),
    *("enable_chunked_prefill", "enable_prefix_caching", "enable_sleep_mode", "disable_log_stats"),
)
"""Arguments of vLLM whose names are those of settings of verl's rollout."""

_ASSIGNED = ("attn_implementation", "bos_token_id", "eos_token_id", "pad_token_id")
"""Attributes that verl itself gives to every model's configuration."""

_MEDIA = dict.fromkeys(("image", "video", "audio", "vision_chunk"))
_LIMITS = {
    "image": dict.fromkeys(("count", "width", "height")),
    "video": dict.fromkeys(("count", "num_frames", "width", "height")),
    "audio": dict.fromkeys(("count", "length")),
    "vision_chunk": dict.fromkeys(("count",)),
}
_PRECISIONS = dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"))
_LONGEST_LIST = 12
_SECOND_SPELLING = re.compile(r"-|\._|\.no_")
"""In names that are taken and not offered: private attributes, and other spellings of vLLM's arguments."""


@dataclass(frozen=True)
class Receiver:
    """What takes the settings of a free node.

    Attributes:
        refuses: the middle of a sentence about a setting that it does not take: "is no argument of ...".
        takes: the names that it takes.
        instead: those of them for which verl has a setting of its own, to the path of that setting.
    """

    refuses: str
    takes: Taken
    instead: Mapping[str, str] = field(default_factory=dict)

    def refused(self, node: Mapping[Any, Any], path: str) -> Iterator[str]:
        """A sentence for each setting of a node, with this dotted path, that is not taken or is verl's own to give."""
        offered = [f"{path}.{other}" for other in _paths(self.takes) if not _SECOND_SPELLING.search(f".{other}")]
        for name, value in node.items():
            if value is not None and (setting := self.instead.get(_argument(name))):
                yield f"{path}.{name}={value!r:.60} is refused: set {setting}, which verl hands on as this argument."
        for name, value in _not_taken(node, self.takes):
            close = nearest(f"{path}.{name}", offered)
            close = self.instead.get(close.removeprefix(f"{path}."), close)
            few = f"set {' or '.join(offered)}" if len(offered) <= _LONGEST_LIST else "remove it"
            yield f"{path}.{name}={value!r:.60} {self.refuses}; {f'did you mean {close}?' if close else f'{few}.'}"


def check_free_settings(config: DictConfig) -> None:
    """Check the free settings whose receiver is known before the model's processor is loaded.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: with a sentence for each setting that its receiver does not take.
    """
    tree = OmegaConf.to_container(config, resolve=False)
    makers = [(path, node, make) for path, node in _nodes(tree) for end, make in _AT_START.items() if _ends(path, end)]
    _refuse(sentence for path, node, make in makers for sentence in _refused(make(config, path), node, path))


def check_model_settings(config: DictConfig, tokenizer: Any, processor: Any) -> None:
    """Check the free settings that the model's processor and chat template receive, in the trainer and in vLLM.

    Args:
        config: the whole configuration.
        tokenizer: the model's tokenizer.
        processor: the model's processor; None for a model of texts.

    Raises:
        ConfigError: with a sentence for each setting that is not taken, or that vLLM alone would get.
    """
    _check_sizes_in_engine(config)
    of_processor = None if processor is None else _processor(processor)
    receivers = {
        names.MM_PROCESSOR_KWARGS: of_processor,
        f"{VLLM_NODE}.mm_processor_kwargs": of_processor,
        names.CHAT_TEMPLATE_KWARGS: _chat_template(tokenizer if processor is None else processor),
    }
    nodes = {path: node for path in receivers if OmegaConf.is_dict(node := select(config, path))}
    _refuse(
        sentence
        for path, node in nodes.items()
        for sentence in _refused(receivers[path], OmegaConf.to_container(node), path)
    )


def _check_sizes_in_engine(config: DictConfig) -> None:
    """Refuse arguments with which vLLM would see images at another size than the trainer.

    vLLM gets ``data.mm_processor_kwargs`` with every request, and joins its own arguments to them.
    """
    path = f"{VLLM_NODE}.mm_processor_kwargs"
    engine, trainer = select(config, path, {}), processor_kwargs(config.data)
    different = [name for name in SIZE_ARGUMENTS if name in engine and engine[name] != trainer.get(name)]
    _refuse(
        f"{path}.{name}={engine[name]} is refused: vLLM would see images at another size than the trainer; leave it "
        f"out, and set {names.MM_PROCESSOR_KWARGS}.{name}, which vLLM gets, too."
        for name in different
    )


def known_free_settings(config: DictConfig) -> list[str]:
    """Dotted paths of free settings of the rollout's engine, of the model and of the data that users know by name."""
    listed = sorted(vllm_arguments() or ()) if select(config, f"{ROLLOUT}.name") == "vllm" else []
    return [
        f"{MODEL}.override_config.attn_implementation",
        f"{names.MM_PROCESSOR_KWARGS}.min_pixels",
        f"{names.MM_PROCESSOR_KWARGS}.max_pixels",
        "data.apply_chat_template_kwargs.enable_thinking",
        *(f"{VLLM_NODE}.{name}" for name in listed if name not in _given_by_verl(VLLM_NODE)),
    ]


@cache
def vllm_arguments() -> frozenset[str] | None:
    """The arguments of ``vllm serve``, for which verl takes the settings; None without a vLLM that is understood.

    They are read from vLLM's source text, because its import takes seconds.
    """
    found = find_spec("vllm")
    files = [Path(found.origin).parent / file for file in _VLLM_FILES] if found and found.origin else []
    if not files or not all(file.is_file() for file in files):
        return None
    taken = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))):
        if isinstance(node, ast.ClassDef):
            fields = [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
            taken |= {field.id for field in fields if isinstance(field, ast.Name)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            taken |= {option.replace("-", "_") for option in re.findall(r"^--([a-z0-9][a-z0-9-]*)$", node.value)}
    return frozenset(taken)


def _argument(name: Any) -> str:
    """The argument of vLLM that a name stands for, in whichever of its spellings."""
    return str(name).replace("-", "_").removeprefix("no_")


def _given_by_verl(path: str) -> dict[str, str]:
    """The arguments that verl gives to vLLM from settings beside ``engine_kwargs``, of which the checks of a run know.

    verl lets those in ``engine_kwargs.vllm`` win over them, or drops those.
    """
    rollout = path.removesuffix(".engine_kwargs.vllm")
    of_model = {"model": f"{MODEL}.path", "trust_remote_code": f"{MODEL}.trust_remote_code"}
    return {
        **{name: f"{rollout}.{name}" for name in _SAME_NAME},
        "tensor_parallel_size": f"{rollout}.tensor_model_parallel_size",
        "enable_expert_parallel": f"{rollout}.expert_parallel_size",
        **(of_model if rollout == ROLLOUT else {}),
    }


def _vllm(config: DictConfig, path: str) -> Receiver | None:
    listed = vllm_arguments()
    if listed is None:
        return None
    inside = {"limit_mm_per_prompt": _LIMITS, "media_io_kwargs": _MEDIA}
    takes = {name: inside.get(name) for name in sorted(listed)}
    spelled = [name.replace("_", "-") for name in takes]
    return Receiver(
        f"is no argument of vLLM {distribution_version('vllm')}",
        takes | dict.fromkeys([*spelled, *(f"no_{name}" for name in takes), *(f"no-{name}" for name in spelled)]),
        _given_by_verl(path),
    )


def _optimizer(config: DictConfig, path: str) -> Receiver | None:
    settings = select(config, path.rpartition(".")[0])
    module, name = (str(settings.get(part)) for part in ("optimizer_impl", "optimizer"))
    try:
        taken = _arguments(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError):
        return None  # verl says in a worker that there is no such optimizer
    return None if taken is None else Receiver(f"is no argument of {module}.{name}", taken)


def _model_config(config: DictConfig, path: str) -> Receiver | None:
    """The attributes of the model's configuration, to which verl assigns every value without a look at its name."""
    if set(select(config, path)) <= {"attn_implementation"}:
        return None  # the model's configuration need not be read for it
    settings = select(config, path.rpartition(".")[0])
    folder = local_path(str(settings.get("hf_config_path") or settings.get("path")))
    try:
        found = AutoConfig.from_pretrained(folder, trust_remote_code=bool(settings.get("trust_remote_code")))
    except (OSError, ValueError):
        return None  # verl says next that there is no such model
    taken = _attributes(found) | dict.fromkeys(_ASSIGNED)
    return Receiver(f"is no attribute of the model's {type(found).__name__}", taken | {"model_config": taken})


def _ray_init(config: DictConfig, path: str) -> Receiver | None:
    """The arguments of ``ray.init``, of which it reads some from its ``kwargs``; Ray Client takes others."""
    if "://" in str(select(config, f"{path}.address", os.environ.get("RAY_ADDRESS"))):
        return None
    hidden = re.findall(r'kwargs\.pop\(\s*"(\w+)"', inspect.getsource(ray.init))
    return Receiver("is no argument of ray.init", dict.fromkeys([*inspect.signature(ray.init).parameters, *hidden]))


def _attributes(config: PretrainedConfig) -> dict[str, Any]:
    kind = type(config)
    settable = [name for name in dir(kind) if getattr(inspect.getattr_static(kind, name), "fset", None)]
    taken: dict[str, Any] = dict.fromkeys([*vars(config), *config.attribute_map, *settable])
    parts = {name: part for name, part in vars(config).items() if isinstance(part, PretrainedConfig)}
    return taken | {name: _attributes(part) for name, part in parts.items()}


_AT_START: Mapping[str, Callable[[DictConfig, str], Receiver | None]] = {
    "engine_kwargs.vllm": _vllm,
    "override_optimizer_config": _optimizer,
    "model.override_config": _model_config,
    **dict.fromkeys(
        ("fsdp_config.mixed_precision", "fsdp.mixed_precision"),
        lambda config, path: Receiver("is not read by verl", _PRECISIONS),
    ),
    "ray_init": _ray_init,
    "ray_init.runtime_env": lambda config, path: Receiver(
        "is no part of ray's runtime_env",
        dict.fromkeys([*sorted(RuntimeEnv.known_fields), *inspect.signature(RuntimeEnv).parameters]),
    ),
}
"""End of the path of a free node to its receiver, which a function makes of the configuration and the path."""


def _processor(processor: Any) -> Receiver | None:
    """The arguments of a processor of transformers, as its method ``_merge_kwargs`` collects them."""
    annotated = inspect.signature(type(processor).__call__).parameters.get("kwargs")
    kinds = [*get_args(annotated and annotated.annotation), getattr(processor, "valid_processor_kwargs", None)]
    kinds = [kind for kind in kinds if is_typeddict(kind)]
    if not kinds:
        return None
    takes: dict[str, Any] = {}
    for part, holder in _PARTS.items():
        own = getattr(getattr(processor, holder, None), "valid_kwargs", None)
        inside = [*(kind.__annotations__.get(part) for kind in kinds), own]
        takes[part] = dict.fromkeys(name for kind in inside if is_typeddict(kind) for name in kind.__annotations__)
    flat = dict.fromkeys(name for inside in takes.values() for name in inside)
    return Receiver(f"is no argument of the model's {type(processor).__name__}", flat | takes | {"common_kwargs": None})


_PARTS = {
    "images_kwargs": "image_processor",
    "videos_kwargs": "video_processor",
    "text_kwargs": "tokenizer",
    "audio_kwargs": "feature_extractor",
}
"""Groups of a processor's arguments to its attribute that takes them."""


def _chat_template(owner: Any) -> Receiver | None:
    """The words of a chat template, which include its variables, and the arguments of the method that renders it."""
    template = getattr(owner, "chat_template", None)
    if not template:
        return None
    text = " ".join(template.values()) if isinstance(template, Mapping) else template
    rendered = inspect.signature(owner.apply_chat_template).parameters
    return Receiver(
        "is not read by the model's chat template", dict.fromkeys([*re.findall(r"[A-Za-z_]\w*", text), *rendered])
    )


def _arguments(function: Callable[..., Any]) -> dict[str, None] | None:
    """The arguments of a function; None if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    return (
        None if any(each.kind is each.VAR_KEYWORD for each in parameters) else {each.name: None for each in parameters}
    )


def _nodes(tree: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """All nodes of a tree that hold something, with their dotted paths."""
    for name, node in tree.items():
        if isinstance(node, Mapping) and node:
            yield f"{path}{name}", node
            yield from _nodes(node, f"{path}{name}.")


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f".{end}")


def _paths(takes: Taken, path: str = "") -> Iterator[str]:
    for name, inside in takes.items():
        yield f"{path}{name}"
        yield from _paths(inside or {}, f"{path}{name}.")


def _not_taken(node: Mapping[Any, Any], takes: Taken, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if name not in takes:
            yield f"{path}{name}", value
        elif takes[name] is not None and isinstance(value, Mapping):
            yield from _not_taken(value, takes[name], f"{path}{name}.")


def _refused(receiver: Receiver | None, node: Mapping[Any, Any], path: str) -> Iterator[str]:
    return iter(()) if receiver is None else receiver.refused(node, path)


def _refuse(sentences: Iterable[str]) -> None:
    if refused := list(sentences):
        raise ConfigError(" ".join(refused))
