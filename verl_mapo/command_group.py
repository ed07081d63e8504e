# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The group of commands in which an invalid setting is a usage error."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from verl_mapo.settings import ConfigError


class ConfigErrorGroup(TyperGroup):
    """A group of commands that show the message of an invalid setting instead of a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command; a :class:`ConfigError` becomes an error of its usage."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            name = ctx.invoked_subcommand
            command = self.get_command(ctx, name or "") or self
            raise typer.BadParameter(str(error), type(ctx)(command, ctx, name)) from None
