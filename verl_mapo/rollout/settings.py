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
"""Settings of the visual tool rollout: the top-level node ``visual_tool`` of the configuration."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from verl_mapo.names import VISUAL_TOOL_NODE
from verl_mapo.settings import STRICT, ConfigError
from verl_mapo.tools.base import VisualTool
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.tools.rotate import Rotate
from verl_mapo.tools.zoom import Zoom

Describe = Literal["before", "after", "both"]


@dataclass(frozen=True, config=STRICT)
class VisualToolSettings:
    """Settings of :class:`verl_mapo.rollout.loop.VisualToolAgentLoop`.

    The number of turns is verl's own ``actor_rollout_ref.rollout.multi_turn.max_assistant_turns``.

    Attributes:
        tools: what the model may call, ``zoom`` and ``rotate``.
        describe: when the model says what it looks at. ``before``: a label with the call (reader); ``after``: a
            description once the observation is seen (the abstract's wording also allows it); ``both``.
        max_label_tokens: cap on a label or a description (paper: length-capped; the number is ours).
        max_retries: corrective observations a trajectory may receive before it ends.
        coordinates: the units of boxes; ``auto`` takes them from the model type.
        min_side: shortest side of a crop, pixels of the original; None is one image token of the processor.
        max_aspect: largest ratio of a crop's sides.
        max_image_pixels: cap on the size at which an original is seen; None is the processor's own.
        max_crop_pixels: cap on the size at which a crop is seen; None is the processor's own.
        scorer_side: longest side in pixels of the crop that travels to the scorer.
        seed: when set, every generation gets a seed made of this number, the step, the row, the session and the turn,
            so that a resumed run samples what an uninterrupted one would have; None leaves sampling to the engine.
    """

    NODE: ClassVar[str] = VISUAL_TOOL_NODE

    tools: list[Literal["zoom", "rotate"]] = Field(default_factory=lambda: ["zoom"], min_length=1)
    describe: Describe = "before"
    max_label_tokens: PositiveInt = 32
    max_retries: Annotated[int, Field(ge=0)] = 2
    coordinates: Literal["auto", "pixels", "normalized_1000"] = "auto"
    min_side: PositiveInt | None = None
    max_aspect: Annotated[float, Field(gt=1, le=150)] = 20.0
    max_image_pixels: PositiveInt | None = None
    max_crop_pixels: PositiveInt | None = None
    scorer_side: PositiveInt = 224
    seed: Annotated[int, Field(ge=0)] | None = None

    def space(self, model_type: str | None) -> CoordinateSpace:
        """The units in which this model says boxes.

        Raises:
            ConfigError: ``auto`` with a model family whose units are not known.
        """
        if self.coordinates != "auto":
            return CoordinateSpace(self.coordinates)
        try:
            return CoordinateSpace.of_model(model_type or "")
        except KeyError:
            raise ConfigError(
                f"visual_tool.coordinates='auto' does not know the model type {model_type!r}: set it to 'pixels' "
                "(absolute pixels of the image as seen) or 'normalized_1000' (0 to 1000 along each side)."
            ) from None

    def build_tools(self, space: CoordinateSpace, image_token_side: int) -> dict[str, VisualTool]:
        """The tools by name, in the order in which they are declared to the model.

        Args:
            image_token_side: pixels along one image token, patch size times merge size.
        """
        labelled = self.describe in ("before", "both")
        makers = {
            "zoom": lambda: Zoom(space, labelled, self.min_side or image_token_side, self.max_aspect),
            "rotate": lambda: Rotate(space, labelled),
        }
        return {name: makers[name]() for name in self.tools}
