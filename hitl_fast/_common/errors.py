"""Errors that a user can cause and can repair.

The command line prints these as one line; anything else is a defect of this package and shows its traceback.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

__all__ = ["InputError", "InputTypeError", "MissingExtraError", "UserError", "input_errors", "require"]


class UserError(Exception):
    """Base of every error whose cause lies in what the user gave or installed."""


class InputError(UserError, ValueError):
    """An argument or a file has a value that cannot be used."""


class InputTypeError(UserError, TypeError):
    """An argument has the wrong type."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or name the extra that brings it; "" for one that no extra brings.

    Raises:
        MissingExtraError: ``module`` is not installed; the message holds the command that installs it.

    >>> require("json", "plots", "drawing").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name != module.partition(".")[0]:
            raise
        wanted = f"'hitl-fast[{extra}]'" if extra else module
        raise MissingExtraError(
            f"{purpose} needs {module}: run pip install {wanted}", name=problem.name
        ) from None


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """Turn the plain errors of a check in ``hitl_kernels`` into errors of the user's input.

    The kernels raise ValueError and TypeError and know nothing of this package. Put only the check inside.

    >>> with input_errors():
    ...     raise ValueError("bins must rise")
    Traceback (most recent call last):
    hitl_fast._common.errors.InputError: bins must rise
    """
    try:
        yield
    except UserError:
        raise
    except TypeError as problem:
        raise InputTypeError(str(problem)) from problem
    except ValueError as problem:
        raise InputError(str(problem)) from problem
