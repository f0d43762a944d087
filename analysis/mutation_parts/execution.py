"""Runs of many mutants, several at a time, each in a copy of the repository."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutation_parts.baseline import Baseline
from mutation_parts.operators import Mutant
from mutation_parts.suite import Watch, copy_repository, read_answer, run_tests

PATIENCE, FACTOR = 120.0, 4.0
"""A mutant's tests may take this many seconds, and this many times as long as without it."""

PAUSE = 0.1
NO_TESTS = 5
"""Exit code of pytest without tests."""


@dataclass(frozen=True)
class Outcome:
    """Fate of a mutant.

    Attributes:
        mutant: the fault.
        fate: killed, timeout, survived, or "no test" where no test executes the line.
        test: the test that failed, if one did.
    """

    mutant: Mutant
    fate: str
    test: str

    @property
    def killed(self) -> bool:
        """True if a test noticed the mutant."""
        return self.fate in ("killed", "timeout")


@dataclass(frozen=True)
class _Running:
    """A mutant whose tests run in the process `process`."""

    mutant: Mutant
    process: int
    deadline: float


def run_all(
    repository: Path, mutants: Sequence[Mutant], baseline: Baseline, processes: int
) -> list[Outcome]:
    """Return the fates of mutants, in their order, and print each."""
    with tempfile.TemporaryDirectory(prefix="mutants", ignore_cleanup_errors=True) as name:
        slots = [Path(name) / str(number) for number in range(processes)]
        for slot in slots:
            copy_repository(repository, slot)
        waiting, running, fates = list(reversed(mutants)), dict[Path, _Running](), {}
        while waiting or running:
            for slot in slots:
                if slot in running:
                    outcome = _ended(running[slot], repository, slot)
                    if outcome is None:
                        continue
                    fates[id(running.pop(slot).mutant)] = outcome
                    _show(outcome, len(fates), len(mutants))
                while waiting and slot not in running:
                    mutant = waiting.pop()
                    tests = baseline.tests_of(mutant)
                    if tests:
                        limit = PATIENCE + FACTOR * sum(baseline.seconds[test] for test in tests)
                        running[slot] = _start(mutant, tests, slot, limit)
                    else:
                        fates[id(mutant)] = Outcome(mutant, "no test", "")
                        _show(fates[id(mutant)], len(fates), len(mutants))
            time.sleep(PAUSE)
    return [fates[id(mutant)] for mutant in mutants]


def _start(mutant: Mutant, tests: Sequence[str], slot: Path, limit: float) -> _Running:
    answer = slot.with_suffix(".json")
    answer.unlink(missing_ok=True)
    file = slot / mutant.path
    file.write_text(mutant.source, encoding="utf-8")
    # No bytecode is as old as this.
    os.utime(file, (1, 1))
    process = os.fork()
    if process == 0:
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        run_tests(slot, files, Watch(order=list(tests)), answer)
    return _Running(mutant, process, time.monotonic() + limit)


def _ended(running: _Running, repository: Path, slot: Path) -> Outcome | None:
    """Return the fate of a mutant, or None while its tests run."""
    late = time.monotonic() > running.deadline
    if os.waitpid(running.process, os.WNOHANG)[0] == 0:
        if not late:
            return None
        os.killpg(running.process, signal.SIGKILL)
        os.waitpid(running.process, 0)
    shutil.copy2(repository / running.mutant.path, slot / running.mutant.path)
    shutil.rmtree(slot.with_suffix(".tmp"), ignore_errors=True)
    content = read_answer(slot.with_suffix(".json"))
    if content is None:
        return Outcome(running.mutant, "timeout" if late else "killed", "")
    fate = "survived" if content["code"] == 0 else "killed"
    if content["code"] == NO_TESTS:
        fate = "no test"
    return Outcome(running.mutant, fate, next(iter(content["failed"]), ""))


def describe(outcome: Outcome) -> str:
    """Return a mutant and its fate as a line."""
    mutant = outcome.mutant
    change = f"{mutant.operator}: {mutant.before} -> {mutant.after}"
    return f"{outcome.fate:8} {mutant.path}:{mutant.lines[0]} {change} {outcome.test}".rstrip()


def _show(outcome: Outcome, number: int, total: int) -> None:
    print(f"{number}/{total} {describe(outcome)}", flush=True)
