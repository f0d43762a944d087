"""Imports in a thread of their own: one after another, and no further one after the end."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.backend.background_import import BackgroundImport


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two modules that are not imported yet; the first takes as long as the gate is shut."""
    names = ["preloaded_first", "preloaded_second"]
    first, second = (tmp_path / f"{name}.py" for name in names)
    first.write_text("from tests.backend.test_background_import import GATE\nGATE.wait(60)\n")
    second.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    GATE.clear()
    yield names
    GATE.set()
    for name in names:
        sys.modules.pop(name, None)


GATE = threading.Event()


def test_modules_are_there_when_they_are_said_to_be(modules: list[str]) -> None:
    first, second = modules
    with BackgroundImport(modules) as later:
        assert second not in sys.modules
        later.start()
        later.start()
        assert not later.is_loaded(first)
        GATE.set()
        end = time.monotonic() + 60
        while not later.is_loaded(second):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert later.is_loaded(first)
        assert set(modules) <= sys.modules.keys()


def test_after_the_end_nothing_further_is_imported(modules: list[str]) -> None:
    first, second = modules
    later = BackgroundImport(modules)
    later.start()
    ending = threading.Thread(target=later.__exit__)
    ending.start()
    ending.join(0.1)
    assert ending.is_alive(), "what is being imported comes to its end"
    GATE.set()
    ending.join()
    assert later.is_loaded(first)
    assert second not in sys.modules


def test_what_never_began_ends_at_once(modules: list[str]) -> None:
    with BackgroundImport(modules) as later:
        pass
    later.start()
    assert not set(modules) & sys.modules.keys()


def test_a_module_that_cannot_be_imported_raises_no_error(
    modules: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with BackgroundImport(["no_such_module", *modules]) as later:
        later.start()
    assert not later.is_loaded("no_such_module")
    assert not later.is_loaded(modules[0])
    assert capsys.readouterr().err == ""
