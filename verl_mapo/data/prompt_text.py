# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The prompt of a row as the agent loop renders it, with a model's own tokenizer and template, and its length.

:class:`verl_mapo.rollout.prompt_length.PromptLength` computes the same length with verl and transformers, which load
torch and Ray (860 MB) and take milliseconds a row. Here the files of the model are read directly; tests compare them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer

from verl_mapo.data.families import Family, json_file
from verl_mapo.data.read_rows import ReadRow
from verl_mapo.data.reasons import LeftOut
from verl_mapo.rollout import prompts
from verl_mapo.rollout.plain_text import PLACEHOLDERS, PlainText
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse

IMAGE = PLACEHOLDERS[0]
"""The token of which a template writes one for each image; the processor repeats it."""


class PromptText:
    """Renders prompts and counts their tokens.

    Args:
        folder: folder of the model: tokenizer.json, tokenizer_config.json, its chat template, config.json.
        config: the whole configuration.

    Raises:
        ConfigError: the folder lacks a file.
    """

    def __init__(self, folder: Path, config: DictConfig):
        self.family = Family.of_folder(folder)
        self.resize = self.family.resize(config)
        self._settings = parse(VisualToolSettings, config)
        space = self._settings.space(self.family.model_type)
        self._tools = [*self._settings.build_tools(space, self.resize.factor).values()]
        self._tokenizer = _tokenizer(folder)
        named = json_file(folder / "tokenizer_config.json", folder)
        self._special = {key: _text(value) for key, value in named.items() if key.endswith("_token") and _text(value)}
        self._plain_text = PlainText(
            SimpleNamespace(
                added_tokens_decoder=self._tokenizer.get_added_tokens_decoder(),
                all_special_tokens=[*self._special.values()],
            )
        )
        self._template = _template(folder, named)
        arguments = config.data.get("apply_chat_template_kwargs") or {}
        self._arguments = OmegaConf.to_container(OmegaConf.create(arguments))

    def render(self, row: ReadRow) -> str:
        """The prompt as the model reads it, with one :data:`IMAGE` for each image.

        Raises:
            LeftOut: the template refuses the messages.
        """
        shown = prompts.shown(row.messages, self._plain_text, self._tools, self._settings)
        names = self._special | self._arguments
        try:
            return self._template.render(messages=shown, add_generation_prompt=True, **names)
        except (jinja2.TemplateError, TypeError) as error:
            raise LeftOut("malformed", f"the model's chat template refuses the prompt: {error}") from None

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of rendered prompts, each image as the one token that stands for it."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def _tokenizer(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(f"--model {folder} has no readable tokenizer.json: {error}") from None
    found.no_truncation()
    found.no_padding()
    return found


def _template(folder: Path, named: dict[str, Any]) -> jinja2.Template:
    """The template of the model's processor, compiled as transformers does."""
    if (folder / "chat_template.jinja").is_file():
        text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    elif (folder / "chat_template.json").is_file():
        text = json_file(folder / "chat_template.json", folder).get("chat_template")
    else:
        text = named.get("chat_template")
    if not isinstance(text, str):
        raise ConfigError(f"--model {folder} has no chat template: add its file chat_template.jinja.")
    extensions = ["jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, **{"ensure_ascii": False, **options})
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(text)
    except jinja2.TemplateError as error:
        raise ConfigError(f"--model {folder} has a chat template that jinja2 cannot read: {error}") from None


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _text(token: Any) -> str:
    """A named token of tokenizer_config.json, which is a text or a dict; empty without one."""
    return token.get("content") or "" if isinstance(token, dict) else token if isinstance(token, str) else ""
