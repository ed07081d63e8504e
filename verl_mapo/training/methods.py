# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The methods of this package, and which of them a run uses.

Those of :data:`METHODS` act together or on other estimators, so that each of them reads the configuration to know
whether it is enabled. Those of :data:`RELATIVES` are one estimator each, in one file each, like a method of another
package; a run imports the one that it uses and no other.
"""

from __future__ import annotations

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.registry import Registry, is_dotted_path
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.axpo import Axpo
from verl_mapo.training.lens import Lens
from verl_mapo.training.mapo import Mapo
from verl_mapo.training.method import Method
from verl_mapo.training.visual_credit import VisualCredit

METHODS: tuple[type[Method], ...] = (Axpo, Mapo, VisualCredit, Lens)
"""The methods of this package, in the order in which the trainer calls their hooks."""

RELATIVES = {
    names.HDPO: "verl_mapo.relatives.hdpo:Hdpo",
    names.NAAR: "verl_mapo.relatives.naar:Naar",
    names.DTPO: "verl_mapo.relatives.dtpo:Dtpo",
    names.PEPO: "verl_mapo.relatives.pepo:Pepo",
    names.GDPO: "verl_mapo.relatives.gdpo:Gdpo",
    names.VPPO: "verl_mapo.relatives.vppo:Vppo",
    names.SRPO: "verl_mapo.relatives.srpo:Srpo",
    names.PAPO: "verl_mapo.relatives.papo:Papo",
    names.PGPO: "verl_mapo.relatives.pgpo:Pgpo",
}
"""Value of ``algorithm.adv_estimator`` to the method, for the estimators of one file each."""


def _path(method: type[Method]) -> str:
    return f"{method.__module__}:{method.__name__}"


_REGISTRY: Registry[type[Method]] = Registry("method", Method, {each.name: _path(each) for each in METHODS} | RELATIVES)


def is_built_in(method: type[Method]) -> bool:
    """Whether a method is one of this package and not of another one."""
    return _path(method) in _REGISTRY.builtin.values()


def find_method(name: str) -> type[Method]:
    """The built-in method of a name, imported."""
    return _REGISTRY.find(name)


def relatives() -> list[type[Method]]:
    """The methods of :data:`RELATIVES`, imported."""
    return [find_method(name) for name in RELATIVES]


def enabled_methods(config: DictConfig) -> list[type[Method]]:
    """The methods that a run uses, in the order in which their hooks are called; empty for a stock run.

    Raises:
        ConfigError: ``algorithm.adv_estimator`` is a dotted path that leads to no method.
    """
    found = [method for method in METHODS if method.enabled(config)]
    estimator = estimator_method(config)
    return found if estimator is None or estimator in found else [estimator, *found]


def estimator_method(config: DictConfig) -> type[Method] | None:
    """The method whose advantage estimator a run uses; None where the estimator is one of verl's own.

    Raises:
        ConfigError: ``algorithm.adv_estimator`` is a dotted path that leads to no method.
    """
    estimator = str(select(config, names.ADV_ESTIMATOR))
    if estimator not in names.ESTIMATORS and not is_dotted_path(estimator):
        return None
    try:
        method = _REGISTRY.find(estimator)
    except ValueError as error:
        raise ConfigError(f"{names.ADV_ESTIMATOR}={estimator} is refused: {error}.") from None
    if is_built_in(method) and estimator != method.name:
        raise ConfigError(f"{names.ADV_ESTIMATOR}={estimator} is refused: use its name, {method.name}.")
    if not is_built_in(method) and getattr(method, "name", None) in (None, *names.ESTIMATORS):
        raise ConfigError(
            f"{names.ADV_ESTIMATOR}={estimator} is refused: {method.__name__} needs a name of its own, other than "
            f"{', '.join(names.ESTIMATORS)}."
        )
    if method.advantages is Method.advantages:
        raise ConfigError(
            f"{names.ADV_ESTIMATOR}={estimator} is refused: {method.__name__} does not define advantages(), so it "
            "is no estimator; define it, or give the name of an estimator such as mapo."
        )
    return method
