"""Modules that a run needs later, imported while its trials are at work.

They take seconds, in which a driver has little else to do.
"""

import importlib
import threading
from collections.abc import Sequence
from typing import Self


class BackgroundImport:
    """Imports modules in a thread of its own, one after another."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Prepare; nothing is imported yet.

        Args:
            modules: dotted names, in the order of their import.
        """
        self._events = {module: threading.Event() for module in modules}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._load, name="background-import")

    def start(self) -> None:
        """Begin to import; return at once. Further calls do nothing."""
        if self._thread.ident is None and not self._ended.is_set():
            self._thread.start()

    def has(self, module: str) -> bool:
        """Whether one of the modules is there."""
        return self._events[module].is_set()

    def __enter__(self) -> Self:
        """Wait for `start`."""
        return self

    def __exit__(self, *error: object) -> None:
        """Import no further module; what is being imported comes to its end."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _load(self) -> None:
        for module, loaded in self._events.items():
            if self._ended.is_set():
                return
            try:
                importlib.import_module(module)
            except Exception:  # Whoever needs the module imports it again, and meets the reason.
                return
            loaded.set()
