"""Import of torch without its compiler, until code is compiled.

`torch._dynamo` takes as long to import as all the rest of torch. torchvision and the optimisers
import it only for calls that affect compiled code. Tried with torch 2.14 and torchvision 0.29;
every other use of the compiler imports it.
"""

import importlib
import sys
from collections.abc import Callable
from functools import partial, wraps
from types import ModuleType
from typing import Any, TypeAlias

NAME = "torch._dynamo"
UTILS = f"{NAME}.utils"
Function: TypeAlias = Callable[..., Any]


def postpone_compiler() -> None:
    """Replace the compiler by modules that import it on first use.

    Without effect if the compiler is imported already.
    """
    if NAME not in sys.modules:
        sys.modules[NAME], sys.modules[UTILS] = _LazyCompiler(NAME), _LazyModule(UTILS)


class _LazyModule(ModuleType):
    """A module of the compiler that is imported on first use."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Return the answer of the compiler; called for compiled code only."""
        return bool(self.__getattr__("is_compile_supported")(device_type))

    def __getattr__(self, name: str) -> Any:
        """Import the compiler and return its attribute of this name."""
        # Only the compiler itself is a package; the other names are read by every import.
        if name in ("__spec__", "__file__", "__loader__") or (
            name == "__path__" and self.__name__ != NAME
        ):
            raise AttributeError(name)
        return getattr(_import_compiler(self.__name__), name)


class _LazyCompiler(_LazyModule):
    """A substitute for the compiler as long as nothing is compiled."""

    def graph_break(self, msg: str = "") -> None:
        """Leave the graph as it is: there is none."""

    def disable(self, fn: Function | None = None, recursive: bool = True, **options: Any) -> Any:
        """Return the function, hidden from the compiler once that is imported."""
        if fn is None:
            return partial(self.disable, recursive=recursive, **options)
        disabled: list[Function] = []

        @wraps(fn)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            if sys.modules.get(NAME) is self:
                return fn(*arguments, **keywords)
            if not disabled:
                disabled.append(_import_compiler(NAME).disable(fn, recursive, **options))
            return disabled[0](*arguments, **keywords)

        return wrapper


def _import_compiler(name: str) -> ModuleType:
    """Import the compiler, or a module of it, in place of its substitute."""
    for module in (NAME, UTILS):
        if isinstance(sys.modules.get(module), _LazyModule):
            del sys.modules[module]
    return importlib.import_module(name)
