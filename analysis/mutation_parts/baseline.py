"""Tests of the code as it is: how long each takes, and which lines it executes."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage, CoverageData
from mutation_parts.operators import Mutant
from mutation_parts.suite import Watch, copy_repository, read_answer, run_tests

LONGEST = 30.0
"""Seconds of tests that a mutant meets, at most; the fast ones come first."""


@dataclass(frozen=True)
class Baseline:
    """Tests that pass.

    Attributes:
        seconds: ID of a test -> its duration.
        executed: path of a module -> line -> IDs of the tests that execute it.
    """

    seconds: Mapping[str, float]
    executed: Mapping[str, Mapping[str, Sequence[str]]]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that a mutant meets, the fast ones first.

        Tests of its module that execute its line come before those of other modules, and the rest
        of its module's tests comes last.
        """
        lines = self.executed.get(mutant.path, {})
        first, last = mutant.lines
        numbers: Iterable[str] = lines if mutant.at_import else map(str, range(first, last + 1))
        room, _, module = mutant.path.replace("raysearch/", "tests/", 1).rpartition("/")
        home = f"{room}/test_{module}::"
        names = {name for number in numbers for name in lines.get(number, ())}
        # Coverage sees nothing of the processes that a test starts.
        others = {name for name in self.seconds if name.startswith(home)} - names

        def order(name: str) -> tuple[bool, bool, float, str]:
            return name in others, not name.startswith(home), self.seconds[name], name

        ordered = sorted((names | others) & self.seconds.keys(), key=order)
        chosen: list[str] = []
        total = 0.0
        for name in ordered:
            total += self.seconds[name]
            if total <= LONGEST or not chosen:
                chosen.append(name)
        return chosen


def measure(repository: Path, tests: Sequence[str]) -> Baseline:
    """Run tests under coverage and return which lines each executes; minutes.

    Args:
        repository: with the code and its tests.
        tests: files and folders, relative to the repository.

    Raises:
        SystemExit: a test fails without any mutant.
    """
    with tempfile.TemporaryDirectory(prefix="mutants") as name:
        folder = Path(name)
        tree = folder / "tree"
        copy_repository(repository, tree)
        answer = folder / "answer.json"
        process = os.fork()
        if process == 0:
            _run_covered(tree, tests, answer)
        os.waitpid(process, 0)
        content = read_answer(answer)
        if content is None or content["code"]:
            raise SystemExit(answer.with_suffix(".log").read_text()[-3000:])
        lines = _lines(folder / "coverage", tree)
    return Baseline(content["seconds"], lines)


def _run_covered(tree: Path, tests: Sequence[str], answer: Path) -> None:
    coverage = Coverage(
        data_file=os.fspath(answer.with_name("coverage")), include=[f"{tree}/raysearch/*"]
    )

    class Marking(Watch):
        def pytest_runtest_logstart(self, nodeid: str) -> None:
            coverage.switch_context(nodeid)

        def pytest_sessionfinish(self) -> None:
            coverage.stop()
            coverage.save()

    coverage.start()
    run_tests(tree, tests, Marking(), answer)


def _lines(file: Path, tree: Path) -> dict[str, dict[str, list[str]]]:
    data = CoverageData(os.fspath(file))
    data.read()
    return {
        Path(path).relative_to(tree).as_posix(): {
            str(line): sorted(name for name in names if name)
            for line, names in data.contexts_by_lineno(path).items()
        }
        for path in data.measured_files()
    }
