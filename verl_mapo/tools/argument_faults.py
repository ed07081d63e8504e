# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a model is told about arguments in the wrong form: in terms of JSON, never of Python and its classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_OBJECT_FAULTS = ("model_type", "model_attributes_type", "dataclass_type", "dict_type", "mapping_type")
"""pydantic's faults of a value that is no JSON object; its messages name the Python class."""

_PLAIN_FAULTS = (
    *("missing", "extra_forbidden", "value_error", "literal_error", "enum", "finite_number", "multiple_of"),
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "too_long"),
    *("string_type", "string_too_short", "string_too_long", "string_pattern_mismatch", "list_type", "bool_type"),
    *("int_type", "int_from_float", "float_type"),
)
"""pydantic's faults whose messages a model can use as they are."""

_EXAMPLES = {"string": "...", "boolean": True, "integer": 0, "number": 0.5}


def sentence(error: ValidationError, written: Any, parameters: Mapping[str, Any], step: float) -> str:
    """The first fault of a call's arguments: the argument, what is wrong with it, and an example of the right type.

    Args:
        error: pydantic's error.
        written: the arguments as the model wrote them.
        parameters: the JSON schema of the arguments as the model is shown it.
        step: distance between the coordinates of an example.
    """
    fault = error.errors(include_url=False, include_input=False)[0]
    place, kind = fault["loc"], fault["type"]
    if kind in _OBJECT_FAULTS:
        reason = "it should be a JSON object"
    elif kind in _PLAIN_FAULTS:
        reason = fault["msg"].removeprefix("Value error, ")
    else:
        reason = "it does not have the form that the tool asks for"
    if kind.endswith("_type") and not place:
        reason += f", such as {json.dumps(example(parameters, step))}"
    elif kind.endswith("_type") and len(place) == 1 and place[0] in parameters["properties"]:
        reason += f", such as {json.dumps(_value(parameters['properties'][place[0]], step))}"
    return f"{_named(place, written, kind) or 'arguments'}: {reason[:1].lower()}{reason[1:]}"


def example(parameters: Mapping[str, Any], step: float) -> dict[str, Any]:
    """Arguments of the right types: the required ones or, where none is required, the first.

    Args:
        parameters: the JSON schema of the arguments.
        step: distance between the coordinates of a box.
    """
    properties = parameters["properties"]
    return {name: _value(properties[name], step) for name in parameters.get("required") or [*properties][:1]}


def _value(schema: Mapping[str, Any], step: float) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [round(step * (index + 1), 1) for index in range(schema.get("minItems", 1))]
    return schema.get("default", _EXAMPLES.get(schema.get("type"), {}))


def _named(place: tuple[int | str, ...], written: Any, kind: str) -> str:
    """The names and positions that lead to a fault, without the names of types that pydantic puts among them."""
    named = []
    for key in place:
        inside = isinstance(written, dict) and key in written
        if inside or (isinstance(written, list) and isinstance(key, int) and 0 <= key < len(written)):
            written = written[key]
        elif kind != "missing" or key != place[-1]:
            continue
        named.append(str(key))
    return ".".join(named)
