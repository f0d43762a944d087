"""Real tiny searches, each broken at a random moment, then continued by the same command.

After each fault the same command runs again, up to three times, with the way out between them that
a refusing command names. Then must hold:

- no finished record is lost, altered or doubled, and every trial ends,
- no trial fails,
- no test ID is opened before the search has ended, and none twice,
- the best configuration is that of the records, and all results are those of an undisturbed search,
- a command that stopped said why in one line, and nothing printed a traceback,
- no process outlives its driver.
"""

import argparse
import csv
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from raysearch.data.synthetic.demo import DemoSize, write_demo
from tests.command import PATIENCE, descendants
from tests.faults.broken import MissedError, Search, make_home
from tests.faults.gate import HOST, Gate
from tests.faults.kinds import FAULTS, Fault
from tests.s3 import BUCKET, S3, serve_s3

AGAIN = 3
"""Times that the same command may run after a fault."""
DRAWS = 4
"""Moments that are drawn until one is before the end of the search."""


@dataclass(frozen=True)
class Row:
    """A broken search, as a row of the table.

    Attributes:
        number: of the fault, from 1.
        fault: name.
        moment: ended trials and seconds since the last of them.
        seconds: of the whole search.
        commands: number of times that the same command ran again.
        outcome: "kept", "missed" (the search ended first), or the violated invariants.
        remark: lines that the commands printed last.
    """

    number: int
    fault: str
    moment: str
    seconds: int
    commands: int
    outcome: str
    remark: str


@dataclass
class Soak:
    """Many broken searches on the same recordings.

    Attributes:
        data: folder of the recordings.
        seed: of all random draws.
        s3: server for results that lie on one.
        save: folder that keeps the output of searches that violate an invariant.
    """

    data: Path
    seed: int
    s3: S3 | None
    save: Path | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    _undisturbed: dict[int, Search] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int, fault: Fault) -> Row:
        """Break a search; draw an earlier moment if it ended before the fault."""
        generator, started = random.Random(f"{self.seed}/{number}"), time.monotonic()
        undisturbed = self.undisturbed(fault.workers)
        for draw in range(DRAWS):
            allowed = fault.moments[: max(1, len(fault.moments) - draw)]
            moment = generator.choice(allowed), generator.uniform(0, 1.5) / (draw + 1)
            with self._search(fault, generator, f"f{number}-{draw}") as search:
                try:
                    commands = _break(search, fault, moment)
                except MissedError:
                    search.driver.wait()
                    continue
                except Exception as error:
                    search.violations.append(f"{type(error).__name__}: {error}")
                    commands = AGAIN
                    search.driver.kill()
                else:
                    if not search.violations or commands <= AGAIN:
                        _check(search, undisturbed)
                if search.violations:
                    self._keep(search, number)
            outcome = "; ".join(search.violations) or "kept"
            return _row(number, fault, moment, started, commands, outcome, search.remarks)
        return _row(number, fault, moment, started, 0, "missed", search.remarks)

    def undisturbed(self, workers: int) -> Search:
        """Return a search that nothing disturbs; the first call runs it."""
        with self._lock:
            if workers not in self._undisturbed:
                fault = Fault("none", lambda search: None, workers=workers)
                context = self._search(fault, random.Random(0), f"undisturbed-{workers}")
                search = self.stack.enter_context(context)
                ended = search.start().wait()
                assert ended.code == 0, ended
                self._undisturbed[workers] = search
        return self._undisturbed[workers]

    @contextmanager
    def _search(self, fault: Fault, generator: random.Random, name: str) -> Iterator[Search]:
        with make_home(self.data, copied=fault.copied) as home:
            search = Search(home, generator)
            search.environment |= {
                "RAYSEARCH_CACHE": str(home / "cache"),
                # Ray's folder lies in there, so no search meets another's.
                "RAY_TMPDIR": str(home),
                "RAY_USAGE_STATS_ENABLED": "0",
                "OMP_NUM_THREADS": "1",
            }
            if fault.workers > 1:
                search.arguments = ("--workers-per-trial", fault.workers)
            if fault.on_s3:
                assert self.s3 is not None
                search.gate = Gate(urlsplit(self.s3.endpoint).port or 0)
                search.out = f"s3://{BUCKET}/{name}"
                search.environment["AWS_ENDPOINT_URL"] = f"http://{HOST}:{search.gate.port}"
            with search.stack:
                fault.prepare(search)
                yield search

    def _keep(self, search: Search, number: int) -> None:
        """Keep the output of a search, for whoever looks for the cause."""
        if self.save is None:
            return
        outputs = sorted(search.home.glob("*.out"), key=lambda p: p.stat().st_mtime)
        texts = [
            f"=== {path.name}\n{path.read_text()}\n--- errors\n"
            f"{path.with_suffix('.err').read_text()}"
            for path in outputs
        ]
        (self.save / f"{number:04d}.txt").write_text("\n".join(texts))


def _break(search: Search, fault: Fault, moment: tuple[int, float]) -> int:
    """Start a search, break it and run its command again; return how often it ran again."""
    search.running = search.start()
    search.wait_for(*moment)
    search.note()
    children = descendants(search.driver.process.pid)
    fault.strike(search)
    ended = search.driver.wait()
    search.check_lines(ended)
    for again in range(1, AGAIN + 1):
        if search.folder_is_there():
            search.note()
        ended = search.start().wait(PATIENCE)
        search.check_lines(ended)
        if ended.code == 0:
            search.wait_for_end(children)
            return again
        fault.way_out(search)
    search.violations.append(f"the same command ended with {ended.code} {AGAIN} times")
    return AGAIN + 1


def _check(search: Search, undisturbed: Search) -> None:
    try:
        search.check_end(undisturbed)
    except Exception as error:  # A file that is missing or damaged in the end.
        search.violations.append(f"{type(error).__name__}: {error}")


def _row(
    number: int,
    fault: Fault,
    moment: tuple[int, float],
    started: float,
    commands: int,
    outcome: str,
    remarks: Sequence[str],
) -> Row:
    when = f"{moment[0]} trials + {moment[1]:.2f} s" if moment[0] >= 0 else f"{moment[1]:.2f} s"
    remark = re.sub(r"/tmp/sk\w+/", "", " | ".join(remarks))
    seconds = round(time.monotonic() - started)
    return Row(number, fault.name, when, seconds, commands, outcome, remark)


def draw_faults(count: int, seed: int, kinds: Sequence[Fault] = FAULTS) -> list[Fault]:
    """Draw faults; each kind comes as often as the others, but for one."""
    faults: list[Fault] = []
    generator = random.Random(seed)
    while len(faults) < count:
        faults += generator.sample(kinds, len(kinds))
    return faults[:count]


def soak(
    faults: Sequence[Fault], seed: int, jobs: int, folder: Path, save: Path | None = None
) -> Iterator[Row]:
    """Break a search for each fault, and yield the rows of the table as they come.

    Args:
        faults: one for each search.
        seed: of all random draws.
        jobs: searches at once.
        folder: for recordings and logs.
        save: folder that keeps the output of searches that violate an invariant.
    """
    write_demo(folder / "data", DemoSize(8, 6, 3.0), machines=("valve", "fan", "pump"))
    with ExitStack() as stack:
        s3 = None
        if any(fault.on_s3 for fault in faults):
            s3 = stack.enter_context(serve_s3(folder))
            os.environ.update(s3.environment)
        runner = Soak(folder / "data", seed, s3, save)
        with runner.stack, ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(runner.run, range(1, len(faults) + 1), faults)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description="Breaks tiny searches at random moments and checks what each must keep. "
        "100 faults take less than 60 minutes on 2 cores.",
        epilog="kinds: " + ", ".join(fault.name for fault in FAULTS),
    )
    parser.add_argument("--faults", type=int, default=100, help="number of faults")
    parser.add_argument("--seed", type=int, default=0, help="of kinds and moments")
    parser.add_argument("--jobs", type=int, default=2, help="searches at once")
    parser.add_argument("--kind", action="append", help="only this kind; may be given again")
    parser.add_argument("--table", type=Path, default=Path("build/soak.csv"), help="CSV to write")
    return parser.parse_args()


def main() -> int:
    """Run the program; return 1 if an invariant was violated."""
    options = _parse()
    kinds = [f for f in FAULTS if options.kind is None or f.name in options.kind]
    for fault in kinds:
        if not fault.is_possible:
            print(f"left out: {fault.name}, which needs {fault.needs}", flush=True)
    faults = draw_faults(options.faults, options.seed, [f for f in kinds if f.is_possible])
    options.table.parent.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        options.table.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        for row in soak(faults, options.seed, options.jobs, Path(folder), options.table.parent):
            cells = [getattr(row, field.name) for field in fields(Row)]
            writer.writerow(cells)
            file.flush()
            print(*cells, sep="  ", flush=True)
            outcomes[row.outcome if row.outcome in ("kept", "missed") else "violated"] += 1
    print(f"{sum(outcomes.values())} faults: {dict(outcomes)}; the table is {options.table}")
    return 1 if outcomes["violated"] else 0


if __name__ == "__main__":
    sys.exit(main())
