# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the part that a configuration names: a built-in part by its name, any other part by its dotted path.

Tools, scorers, answer checks, methods and data sets are found in this way, so a part of another package is used like a
built-in part.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """The parts of one kind.

    Args:
        kind: the word for such a part in messages, for example ``"tool"``.
        base: the class from which every part must derive; None where the parts are functions.
        builtin: name of each built-in part to its dotted path (``package.module:attribute``). A part is imported only
            when :meth:`find` is called.
    """

    def __init__(self, kind: str, base: type | None, builtin: Mapping[str, str]):
        self.kind = kind
        self.base = base
        self.builtin = dict(builtin)

    @property
    def names(self) -> list[str]:
        """The built-in names, in the order of the table."""
        return list(self.builtin)

    def find(self, name: str) -> T:
        """Import a part.

        Args:
            name: a built-in name, or a dotted path (``package.module.attribute`` or ``package.module:attribute``).

        Returns:
            A subclass of ``base``, or a function where ``base`` is None.

        Raises:
            ValueError: no such part exists, or it has the wrong type. The message lists the built-in names.
        """
        path = self.builtin.get(name, name) if isinstance(name, str) else ""
        if not is_dotted_path(path):
            close = difflib.get_close_matches(str(name), self.builtin, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"there is no {self.kind} {name!r}: {hint}use one of {', '.join(self.builtin)}, or the dotted path of "
                f"your own, such as 'my_package.my_module.{self._example}'"
            )
        try:
            found: Any = pkgutil.resolve_name(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"the dotted path {name!r} leads to no {self.kind} ({error}): install the package or add its folder to "
                f"PYTHONPATH, or use one of {', '.join(self.builtin)}"
            ) from None
        except Exception as error:
            raise ValueError(
                f"importing {name!r} raised {type(error).__name__} ({error}): import its module by itself to see where"
            ) from error
        if self.base is None:
            if callable(found) and not isinstance(found, type):
                return found
            raise ValueError(f"{name!r} is not a function, as every {self.kind} is")
        if isinstance(found, type) and issubclass(found, self.base):
            return found
        raise ValueError(f"{name!r} is not a subclass of {self.base.__module__}.{self.base.__qualname__}")

    @property
    def _example(self) -> str:
        return "my_function" if self.base is None else f"My{self.base.__name__}"


def is_dotted_path(name: str) -> bool:
    """Whether a name has the form of a dotted path, and so is no built-in name."""
    return "." in name or ":" in name
