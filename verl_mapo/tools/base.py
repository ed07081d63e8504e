# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The base class of visual tools, the JSON schema by which a model sees a tool, and the registry of the built-in tools.

A tool is one subclass of :class:`VisualTool`. To use a tool of another package, give its dotted path in
``visual_tool.tools``; docs/extending.md has a complete example.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as settings_dataclass
from pydantic.json_schema import GenerateJsonSchema

from verl_mapo.registry import Registry
from verl_mapo.settings import STRICT
from verl_mapo.tools import argument_faults
from verl_mapo.tools.coordinates import Box, CoordinateSpace, Point
from verl_mapo.tools.image_history import ImageHistory, ToolImage

_KEYS = ("type", "enum", "description", "items", "minItems", "maxItems", "default")
"""Order of the keys of an argument's schema; any others follow."""


class ArgumentError(ValueError):
    """The arguments of a call have the wrong form. The message is written for the model."""


class Arguments(BaseModel):
    """Base class of the arguments of a tool: strict types, finite numbers, no unknown names.

    The JSON schema that the model is shown is generated from the subclass, so every field needs a description
    (``Field(description=...)``). Types are those of JSON: Literal instead of Enum, list instead of tuple. In a
    description, ``{units}`` stands for the units of the model's coordinates. A field whose default is None may be left
    out.

    Attributes:
        img_idx: index of the image that the call is about, among those shown so far.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    img_idx: int = Field(0, description="which image seen so far; 0 is the first")


class LabelledArguments(Arguments):
    """Base class of the arguments of a scored tool.

    Attributes:
        label: what the model expects to see. The schema requires it where the run asks for labels and leaves it out
            otherwise. A call without it is executed nevertheless; its alignment score is then 0.
    """

    label: str | None = Field(None, description="what you expect to see in the region")


@dataclass(frozen=True)
class ToolContext:
    """The facts about a run that its tools need.

    Attributes:
        space: the units in which the model writes coordinates.
        labels: whether the calls of scored tools carry a label.
        image_token_side: pixels along one image token of the model's processor.
    """

    space: CoordinateSpace
    labels: bool
    image_token_side: int


@settings_dataclass(frozen=True, config=STRICT)
class NoOptions:
    """Options of a tool that has none."""


class VisualTool(ABC):
    """An operation on an image that the model may call. Stateless: one object serves all rollouts of a worker.

    Class attributes:
        name: the name by which the model calls it, and its key in ``visual_tool.tool_options``.
        description: one sentence for the model.
        arguments: the arguments of a call; :class:`LabelledArguments` for a scored tool.
        scored: whether its calls make visual turns: the alignment of label (or description) and image is scored.
        Options: the tool's own settings, ``visual_tool.tool_options.<name>``: a pydantic dataclass with the
            configuration :data:`verl_mapo.settings.STRICT` and a default for every field.

    Args:
        context: the facts about the run.
        options: an object of ``Options``; None for the defaults.

    Raises:
        TypeError: the tool is scored, but its arguments have no label.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    arguments: ClassVar[type[Arguments]]
    scored: ClassVar[bool] = False
    Options: ClassVar[type] = NoOptions

    def __init__(self, context: ToolContext, options: Any = None):
        self.context = context
        self.options = self.Options() if options is None else options

    @classmethod
    def check_declaration(cls) -> None:
        """Check, at the start of a run, that the class declares what the model and the loop need.

        Raises:
            ValueError: naming what is missing.
        """
        for attribute, kind in (("name", str), ("description", str), ("arguments", type)):
            if not isinstance(getattr(cls, attribute, None), kind):
                raise ValueError(f"the tool {cls.__qualname__} has no {attribute}")
        base = LabelledArguments if cls.scored else Arguments
        if not issubclass(cls.arguments, base):
            kind = "scored tool" if cls.scored else "tool"
            raise ValueError(f"the arguments of the {kind} {cls.name!r} must derive from {base.__qualname__}")
        bare = [name for name, field in cls.arguments.model_fields.items() if not field.description]
        if bare:
            raise ValueError(f"the argument {bare[0]!r} of the tool {cls.name!r} has no description for the model")
        if not isinstance(cls.Options, type):
            raise ValueError(f"the Options of the tool {cls.name!r} must be a settings class, or be left out")
        if abstract := sorted(cls.__abstractmethods__):
            raise ValueError(f"the tool {cls.name!r} does not define {abstract[0]}()")

    @abstractmethod
    def run(self, arguments: Any, history: ImageHistory) -> ToolImage:
        """Execute a call.

        Args:
            arguments: an object of :attr:`arguments`.
            history: the images shown so far; it must not be changed.

        Raises:
            BoxError: the call names an image or a place that does not exist; the message is written for the model.
        """

    def box_of(self, arguments: Any) -> Box | None:
        """The box in a call, in the model's units; None for a call without a box."""
        return None

    def point_of(self, arguments: Any) -> Point | None:
        """The point in a call, in the model's units; None for a call without a point."""
        return None

    def label_of(self, arguments: Arguments) -> str | None:
        """The label in a call; None for a call without a label."""
        return arguments.label if isinstance(arguments, LabelledArguments) else None

    def schema(self) -> dict[str, Any]:
        """The tool as an OpenAI function schema, which the system message shows to the model."""
        function = {"name": self.name, "description": self.description, "parameters": self._parameters()}
        return {"type": "function", "function": function}

    def parse(self, arguments: Any) -> Any:
        """Turn the arguments that the model wrote (decoded JSON) into an object of :attr:`arguments`.

        Raises:
            ArgumentError: they have the wrong form.
        """
        try:
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            step = 0.1 if self.context.space is CoordinateSpace.normalized_1 else 10
            raise ArgumentError(argument_faults.sentence(error, arguments, self._parameters(), step)) from None

    def respell(self, arguments: Any) -> Any:
        """The arguments with values that have the wrong form in the right one, where their meaning is certain.

        It reads JSON inside a string, numbers written as strings or with a decimal point, a list inside a list, two
        corners, and a box written with names (``x1``, ``y1``, ``x2``, ``y2``). Other values are left as they are, and
        so are numbers that are not all separated alike: a comma may stand inside one of them (``1,234, 2, 300``).
        """
        if isinstance(arguments, str):
            arguments = _decoded(arguments)
        try:
            self.arguments.model_validate(arguments)
            return arguments
        except ValidationError as error:
            wrong = {fault["loc"][0] for fault in error.errors(include_url=False, include_input=False) if fault["loc"]}
        if not isinstance(arguments, dict):
            return arguments
        return {name: _respelled(value) if name in wrong else value for name, value in arguments.items()}

    def _parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments: the tool's own first, ``img_idx`` last."""
        schema = self.arguments.model_json_schema(schema_generator=_PlainSchema)
        labelled = self.scored and self.context.labels
        hidden = {"img_idx"} if labelled or not issubclass(self.arguments, LabelledArguments) else {"img_idx", "label"}
        shown = [name for name in schema["properties"] if name not in hidden]
        required = [name for name in shown if name in schema.get("required", ()) or (labelled and name == "label")]
        parameters = {
            "type": "object",
            "properties": {name: self._property(schema["properties"][name]) for name in [*shown, "img_idx"]},
        }
        return parameters | ({"required": required} if required else {}) | _part(schema, "$defs")

    def _property(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        ordered = {key: schema[key] for key in dict.fromkeys((*_KEYS, *schema)) if key in schema}
        if "description" in ordered:
            ordered["description"] = ordered["description"].replace("{units}", self.context.space.units)
        if ordered.get("default", ...) is None:
            del ordered["default"]
        return ordered


class _PlainSchema(GenerateJsonSchema):
    """pydantic's JSON schema without titles; a field that may be None has the schema of its other type."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def _part(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: schema[key]} if key in schema else {}


_NUMBERS = re.compile(r"[\[(]?\s*(-?\d+(?:\.\d+)?(?:(?:\s*,\s*|\s+)-?\d+(?:\.\d+)?)+)\s*[\])]?", re.ASCII)
_CORNERS = re.compile(r"[\[(]?\s*[\[(]([^()\[\]]{1,90})[\])]\s*,?\s*[\[(]([^()\[\]]{1,90})[\])]\s*[\])]?")
"""Two corners, as in Qwen2-VL's ``(10,20),(30,40)``."""
_SIDES = (("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"), ("x", "y"))


def _respelled(value: Any) -> Any:
    """A number, or a flat list of numbers, that a value stands for; the value itself where that is not certain."""
    if isinstance(value, str):
        value = _decoded(value)
    if isinstance(value, dict):
        names = next((names for names in _SIDES if set(names) == set(value)), ())
        value = [value[name] for name in names] or value
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        value = [number for item in value for number in item]
    return [*map(_number, value)] if isinstance(value, list) else _number(value)


def _decoded(text: str) -> Any:
    """The value of a text that is a list of numbers, two corners or JSON; otherwise the text."""
    if len(text) < 200 and (corners := _CORNERS.fullmatch(text.strip())):
        found = [_decoded(corner) for corner in corners.groups()]
        return found if all(isinstance(corner, list) for corner in found) else text
    numbers = _NUMBERS.fullmatch(text.strip()) if len(text) < 200 else None
    if numbers:
        gaps = {re.sub(r"\s+", " ", gap) for gap in re.findall(r"[,\s]+", numbers.group(1))}
        return [float(number) for number in re.split(r"[,\s]+", numbers.group(1))] if len(gaps) == 1 else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(value: Any) -> Any:
    """An integer for a whole number, however it is written; any other value as it is."""
    if isinstance(value, str):
        decoded = _decoded(value)
        value = decoded if isinstance(decoded, int | float) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


TOOLS: Registry[type[VisualTool]] = Registry(
    "tool",
    VisualTool,
    {
        "zoom": "verl_mapo.tools.zoom:Zoom",
        "rotate": "verl_mapo.tools.rotate:Rotate",
        "mark": "verl_mapo.tools.mark:Mark",
    },
)
"""The tools that ``visual_tool.tools`` may name."""
