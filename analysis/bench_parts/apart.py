"""The plain recipe in a process of its own, with the memory allocator that plain programs have."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from bench_parts.allocator import without_allocator
from bench_parts.duel import Duel, Work
from bench_parts.plan import Bench, BenchPlan


@contextmanager
def plain_side(name: str, position: int, bench: Bench) -> Iterator[Work]:
    """Start a process that does the plain work of a duel; yield a call of that work.

    Args:
        name: of the part.
        position: of the duel among the items of the part.
        bench: sizes and recordings.
    """
    context = get_context("spawn")
    connection, other = context.Pipe()
    arguments = (other, name, position, bench.plan, bench.folder)
    # No daemon: those may not start the processes of a DataLoader.
    process = context.Process(target=_serve, args=arguments)
    with without_allocator():
        process.start()
    other.close()

    def work() -> None:
        connection.send(None)
        if reason := connection.recv():
            raise RuntimeError(f"the plain side: {reason}")

    try:
        yield work
    finally:
        connection.close()
        process.join(10)
        process.terminate()
        process.join()


def _serve(
    connection: "Connection[str, None]", name: str, position: int, plan: BenchPlan, folder: Path
) -> None:
    """Run the plain work of a duel each time that the other process asks for it."""
    from bench_parts.parts import PARTS

    duel = next(islice(PARTS[name](Bench.open(plan, folder)), position, None))
    assert isinstance(duel, Duel), duel
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        try:
            duel.plain()
        except Exception as error:
            connection.send(f"{type(error).__name__}: {error}")
        else:
            connection.send("")
