"""Mutation score of the tests: the share of small faults in the code that a fast test notices.

    python analysis/mutation.py                                    # a sample of three rooms
    python analysis/mutation.py --room study/ledger.py --count 0   # every mutant of a module

A mutant is a module with one fault: a changed comparison, constant, sign or condition, a statement
or context left out, `None` returned. First the tests of the rooms run once under coverage, each
with its lines. Then each mutant meets the fast tests that execute its line, those of its own module
first, until one fails. A mutant whose tests take much longer than before counts as killed.

--count mutants are drawn from each room, at least three from each module; the same --seed draws the
same mutants of the same code. Writes mutation.csv and survivors.txt into --out and prints the score
of each module. A survivor is a hole in the tests, or changes nothing that anyone sees: read it.
"""

import argparse
import csv
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutation_parts.baseline import measure
from mutation_parts.execution import Outcome, describe, run_all
from mutation_parts.operators import Mutant, mutants_of
from mutation_parts.suite import import_libraries
from tabulate import tabulate

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("scoring", "methods", "study")
FEWEST = 3
"""Mutants of each module, if it has as many."""


@dataclass(frozen=True)
class Score:
    """Mutants of a room or module by their fate."""

    name: str
    mutants: int
    killed: int
    survived: int

    @property
    def share(self) -> float:
        """Share of killed mutants, in %."""
        return 100 * self.killed / self.mutants if self.mutants else math.nan


def main() -> None:
    """Draw mutants, run them and write their fates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("analysis-output"))
    parser.add_argument("--room", action="append", help="a folder or module below raysearch/")
    parser.add_argument("--tests", action="append", help="tests; those of the rooms by default")
    parser.add_argument("--count", type=int, default=150, help="mutants of a room; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rooms = arguments.room or list(ROOMS)
    drawn = [
        mutant
        for room in rooms
        for mutant in sample(room_mutants(room), arguments.count, arguments.seed)
    ]
    import_libraries()
    baseline = measure(REPOSITORY, arguments.tests or tests_of_rooms(rooms))
    outcomes = run_all(REPOSITORY, drawn, baseline, arguments.processes)
    write(outcomes, out)
    print(score_table(outcomes))


def tests_of_rooms(rooms: Sequence[str]) -> list[str]:
    """Return the folders of tests that mirror some rooms, or the rooms of some modules."""
    return sorted({f"tests/{room.partition('/')[0]}" for room in rooms})


def room_mutants(room: str) -> dict[str, list[Mutant]]:
    """Return the mutants of each module of a folder below raysearch/, or of one module."""
    source = REPOSITORY / "raysearch" / room
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    names = {file: file.relative_to(REPOSITORY).as_posix() for file in files}
    return {names[file]: mutants_of(names[file], file.read_text("utf-8")) for file in files}


def sample(mutants: Mapping[str, Sequence[Mutant]], count: int, seed: int) -> list[Mutant]:
    """Draw about `count` mutants, from each module in proportion and at least `FEWEST`.

    A module's draw depends on the seed and its own code alone.
    """
    total = sum(map(len, mutants.values()))
    drawn: list[Mutant] = []
    for path, choice in mutants.items():
        share = math.ceil(count * len(choice) / max(total, 1)) if count else len(choice)
        size = min(len(choice), max(share, FEWEST))
        drawn += random.Random(f"{seed} {path}").sample(choice, size)
    return drawn


def scores(outcomes: Sequence[Outcome]) -> list[Score]:
    """Return the score of each module, after that of its room."""
    fates: Counter[tuple[str, bool]] = Counter()
    for outcome in outcomes:
        room, _, module = outcome.mutant.path.removeprefix("raysearch/").partition("/")
        for name in {f"{room}/", f"{room}/{module}"}:
            fates[name, outcome.killed] += 1
    return [
        Score(name, fates[name, True] + fates[name, False], fates[name, True], fates[name, False])
        for name in sorted({name for name, _ in fates})
    ]


def score_table(outcomes: Sequence[Outcome]) -> str:
    """Return the scores as text."""
    rows = [(s.name, s.mutants, s.killed, s.survived, f"{s.share:.0f} %") for s in scores(outcomes)]
    return tabulate(rows, headers=["module", "mutants", "killed", "survived", "score"])


def write(outcomes: Sequence[Outcome], out: Path) -> None:
    """Write mutation.csv, a row for each mutant, and survivors.txt."""
    with (out / "mutation.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "line", "operator", "before", "after", "fate", "test"])
        for outcome in outcomes:
            m = outcome.mutant
            row = [m.path, m.lines[0], m.operator, m.before, m.after, outcome.fate, outcome.test]
            table.writerow(row)
    survivors = [describe(outcome) + "\n" for outcome in outcomes if not outcome.killed]
    (out / "survivors.txt").write_text("".join(survivors), encoding="utf-8")


if __name__ == "__main__":
    main()
