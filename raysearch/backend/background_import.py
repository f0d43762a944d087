"""Imports of modules that a run needs later, done while its trials run.

They take seconds, in which the driver is otherwise idle.
"""

import importlib
import threading
from collections.abc import Sequence
from typing import Self


class BackgroundImport:
    """Thread that imports modules one after another."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Prepare; nothing is imported yet.

        Args:
            modules: dotted names, in the order of their import.
        """
        self._events = {module: threading.Event() for module in modules}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._load, name="background-import")

    def start(self) -> None:
        """Start the imports and return at once. Further calls do nothing."""
        if self._thread.ident is None and not self._ended.is_set():
            self._thread.start()

    def is_loaded(self, module: str) -> bool:
        """Return True if one of the modules has been imported."""
        return self._events[module].is_set()

    def __enter__(self) -> Self:
        """Wait for `start`."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for the current import and skip the rest."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _load(self) -> None:
        for module, loaded in self._events.items():
            if self._ended.is_set():
                return
            try:
                importlib.import_module(module)
            except Exception:  # The code that needs the module imports it again and raises.
                return
            loaded.set()
