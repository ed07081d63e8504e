# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from types import ModuleType

import pytest

from verl_mapo.registry import Registry


class Tool:
    """The base class of the parts under test."""


class Zoom(Tool):
    pass


class Flip(Tool):
    """A part from another package."""


def same(answer: str) -> bool:
    return True


@pytest.fixture(autouse=True)
def package(monkeypatch) -> None:
    """A module with parts of its own."""
    module = ModuleType("their_package")
    module.Zoom, module.Flip, module.same, module.number = Zoom, Flip, same, 3
    module.tools = ModuleType("their_package.tools")
    module.tools.Flip = Flip
    monkeypatch.setitem(sys.modules, "their_package", module)
    monkeypatch.setitem(sys.modules, "their_package.tools", module.tools)


@pytest.fixture
def tools() -> Registry[type[Tool]]:
    return Registry("tool", Tool, {"zoom": "their_package:Zoom", "gone": "their_package:Gone"})


@pytest.fixture
def checks() -> Registry:
    return Registry("answer check", None, {"same": "their_package:same"})


def message(registry: Registry, name: str) -> str:
    with pytest.raises(ValueError) as error:
        registry.find(name)
    return str(error.value)


def test_names_are_listed_in_order(tools):
    assert tools.names == ["zoom", "gone"]


def test_part_is_found_by_its_built_in_name(tools):
    assert tools.find("zoom") is Zoom


@pytest.mark.parametrize("path", ["their_package.Flip", "their_package:Flip", "their_package.tools.Flip"])
def test_part_is_found_by_dotted_path(tools, path):
    assert tools.find(path) is Flip


def test_function_is_found_by_name_and_by_dotted_path(checks):
    assert checks.find("same") is checks.find("their_package.same") is same


def test_unknown_name_is_answered_with_a_similar_one(tools):
    assert message(tools, "zom") == (
        "there is no tool 'zom': did you mean 'zoom'? use one of zoom, gone, or the dotted path of your own, such as "
        "'my_package.my_module.MyTool'"
    )


def test_unknown_name_without_a_similar_one_is_answered_with_all_names(checks):
    found = message(checks, "xyz")
    assert "did you mean" not in found
    assert "use one of same, or the dotted path of your own, such as 'my_package.my_module.my_function'" in found


@pytest.mark.parametrize("path", ["missing_package.Flip", "their_package.Missing", "their_package:Missing", "a..b"])
def test_dotted_path_that_leads_nowhere_names_the_remedy(tools, path):
    found = message(tools, path)
    assert found.startswith(f"the dotted path {path!r} leads to no tool (")
    assert "install the package or add its folder to PYTHONPATH" in found


def test_class_that_does_not_derive_from_the_base_class_is_refused(tools):
    assert message(tools, "their_package.tools") == f"'their_package.tools' is not a subclass of {__name__}.Tool"
    assert "is not a subclass" in message(tools, "collections.OrderedDict")


def test_object_that_cannot_be_called_is_refused_where_a_function_is_expected(checks):
    assert (
        message(checks, "their_package.number") == "'their_package.number' is not a function, as every answer check is"
    )


def test_error_inside_the_module_of_a_part_is_named(tools, tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="importing 'broken_part.Flip' raised ZeroDivisionError"):
        tools.find("broken_part.Flip")
