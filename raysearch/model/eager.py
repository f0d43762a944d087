"""torch without its compiler, until somebody compiles.

`torch._dynamo` takes as long to import as all the rest of torch. torchvision and the optimisers
import it only to say what concerns compiled code; without it there is nothing to say. Tried with
torch 2.14 and torchvision 0.29; where they ask for anything else, they get the compiler itself.
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
    """Put modules in the compiler's place that bring it when it is asked for.

    Does nothing where the compiler is imported already.
    """
    if NAME not in sys.modules:
        sys.modules[NAME], sys.modules[UTILS] = _Compiler(NAME), _Postponed(UTILS)


class _Postponed(ModuleType):
    """Stands for a module of the compiler."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Answer as the compiler does, which is asked for compiled code only."""
        return bool(self.__getattr__("is_compile_supported")(device_type))

    def __getattr__(self, name: str) -> Any:
        """Bring the compiler, and return what it has of this name."""
        # Only the compiler itself is a package; the rest is what every import asks for.
        if name in ("__spec__", "__file__", "__loader__") or (
            name == "__path__" and self.__name__ != NAME
        ):
            raise AttributeError(name)
        return getattr(_compiler(self.__name__), name)


class _Compiler(_Postponed):
    """Answers for the compiler as long as nothing is compiled."""

    def graph_break(self, msg: str = "") -> None:
        """Do nothing: there is no graph."""

    def disable(self, fn: Function | None = None, recursive: bool = True, **how: Any) -> Any:
        """Return the function, into which the compiler, once it is there, does not look."""
        if fn is None:
            return partial(self.disable, recursive=recursive, **how)
        hidden: list[Function] = []

        @wraps(fn)
        def called(*arguments: Any, **keywords: Any) -> Any:
            if sys.modules.get(NAME) is self:
                return fn(*arguments, **keywords)
            if not hidden:
                hidden.append(_compiler(NAME).disable(fn, recursive, **how))
            return hidden[0](*arguments, **keywords)

        return called


def _compiler(name: str) -> ModuleType:
    """Import the compiler, or a module of it, in place of the one that stood for it."""
    for place in (NAME, UTILS):
        if isinstance(sys.modules.get(place), _Postponed):
            del sys.modules[place]
    return importlib.import_module(name)
