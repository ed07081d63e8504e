# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a tool is: a name, arguments, and a sight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from verl_mapo.tools.coordinates import Box, CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory, ToolImage


class ArgumentError(ValueError):
    """Arguments of the wrong form; the message is written for the model."""


class Arguments(BaseModel):
    """Base of every tool's arguments: strict types, finite numbers, unknown names refused.

    Attributes:
        img_idx: index of the image the call looks at, among those seen so far.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    img_idx: int = 0


class VisualTool(ABC):
    """Something a model may do to an image. Stateless: one object serves all trajectories of a worker.

    Args:
        space: the units in which the model says boxes.
        labelled: whether the call must carry a label of what the model expects to see.
    """

    name: ClassVar[str]
    arguments: ClassVar[type[Arguments]]
    described: ClassVar[bool]
    """Whether what it shows is described by the model and scored for alignment."""

    def __init__(self, space: CoordinateSpace, labelled: bool):
        self.space = space
        self.labelled = labelled and self.described

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, as the model is shown it."""

    @property
    @abstractmethod
    def description(self) -> str:
        """One sentence for the model."""

    @abstractmethod
    def look(self, arguments: Any, gallery: ImageHistory) -> ToolImage:
        """Carry the call out.

        Raises:
            BoxError: the call cannot be carried out; the message is written for the model.
        """

    def label_of(self, arguments: Any) -> str | None:
        """What the model says it will see; None for tools without a label."""
        return None

    def box_of(self, arguments: Any) -> Box | None:
        """The box as said; None for tools without a box."""
        return None

    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema that the chat template renders, in full."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters()}
        return {"type": "function", "function": function}

    def parse(self, arguments: Any) -> Any:
        """Arguments as the model wrote them (decoded JSON) as an object of :attr:`arguments`.

        Raises:
            ArgumentError: they have the wrong form.
        """
        try:
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, fault["loc"])) or "arguments"
            raise ArgumentError(f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]}") from None
