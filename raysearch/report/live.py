"""What the terminal shows of a running search: a live table, or plain lines without a terminal."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raysearch.report.progress import say
from raysearch.search.resources import Cluster, Share
from raysearch.search.study import Proposal, Record, State
from raysearch.trial import InlierResult

SUSPICIOUS = 3
"""Failures on one machine, one after the other, from which on it is named."""


@dataclass
class Running:
    """A trial that runs."""

    proposal: Proposal
    epoch: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    since: float = field(default_factory=time.monotonic)
    note: str = ""


class LiveView:
    """Follows one study; satisfies `search.tuning.View`."""

    def __init__(
        self, console: Console, name: str, trials: int, epochs: int, done: list[Record]
    ) -> None:
        """Begins to follow.

        Args:
            console: where to show it.
            name: of the study.
            trials: asked for in all.
            epochs: of a trial.
            done: records of earlier runs.
        """
        self.console, self.name = console, name
        self.trials, self.epochs = trials, epochs
        self.records = {record.proposal.number: record for record in done}
        self.earlier = len(done)
        self.running: dict[int, Running] = {}
        self.faults: dict[str, int] = {}
        self.dashboard = ""
        self.start = time.monotonic()
        self.live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> Self:
        """Starts to draw."""
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the last picture on the terminal."""
        if self.console.is_terminal:
            self.live.stop()

    def cluster(self, cluster: Cluster, share: Share) -> None:
        """The search begins."""
        self.dashboard = cluster.dashboard
        self.start = time.monotonic()
        if cluster.address:
            machines = _count(len(cluster.nodes), "machine")
            say(
                self.console,
                f"{self.name}: joined the Ray cluster at {cluster.address} ({machines})",
            )
        what = "trial" if share.concurrent == 1 else "trials"
        line = f"{self.name}: {share.concurrent} {what} at once, {_share(share)} each"
        self._line(line + (f"; Ray dashboard at {cluster.dashboard}" if cluster.dashboard else ""))

    def started(self, proposal: Proposal) -> None:
        """A trial was given out."""
        self.running[proposal.number] = Running(proposal)
        self._line(f"trial {proposal.number}: {configuration(proposal)}")

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        trial = self.running.get(number)
        if trial is None:
            return
        trial.epoch, trial.note = int(result["epoch"]), ""
        trial.train_loss, trial.val_loss = result["train_loss"], result["val_loss"]
        if trial.epoch == self.epochs or trial.epoch % max(1, self.epochs // 4) == 0:
            self._line(
                f"trial {number}: epoch {trial.epoch}/{self.epochs}, training loss "
                f"{trial.train_loss:.4f}, validation loss {trial.val_loss:.4f}"
            )

    def reading(self, number: int, host: str, clips: int) -> None:
        """A trial's machine decodes recordings, the first time it needs them."""
        trial = self.running.get(number)
        if trial is not None:
            trial.note = f"{host} reads recordings: {clips} so far"
            self._line(f"trial {number}: {trial.note}")

    def lost(self, number: int, host: str, reason: str) -> None:
        """A trial's process or machine was lost; the trial goes on from its checkpoint."""
        self._always(f"trial {number}: lost on {host} ({reason}); it goes on from its checkpoint")
        self._blame(host)

    def finished(self, record: Record) -> None:
        """A trial ended."""
        number = record.proposal.number
        self.running.pop(number, None)
        self.records[number] = record
        best = record.best
        if best is not None:
            what = f"{best.val_score:.4f} with {inlier(best)}"
        elif record.state is State.PRUNED:
            what = f"after {len(record.history)} of {self.epochs} epochs"
        else:
            what = record.error or "; ".join(dict.fromkeys(row.error for row in record.rows))
        line = f"trial {number}: {record.state} {what}"
        if self.console.is_terminal and record.state is State.FAIL:
            self.live.console.print(Text(line, style="red"))
        self._line(f"{line}  [{len(self.records)}/{self.trials}, {self._times()}]")
        if record.state is State.FAIL:
            self._blame(record.host)
        else:
            self.faults.pop(record.host, None)

    def _blame(self, host: str) -> None:
        """Names a machine on which one trial after the other fails."""
        self.faults[host] = self.faults.get(host, 0) + 1
        if host and self.faults[host] >= SUSPICIOUS:
            self._always(
                f"{host} failed {self.faults[host]} times in a row; look at it with "
                "`raysearch doctor`, or take it out of the cluster"
            )

    def _always(self, text: str) -> None:
        """A line that is shown above the live table, too."""
        say(self.live.console if self.console.is_terminal else self.console, text)

    def tick(self) -> None:
        """Time has passed: the live table draws itself."""

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            say(self.console, text)

    def _count(self, state: State) -> int:
        return sum(record.state is state for record in self.records.values())

    def _times(self) -> str:
        elapsed = time.monotonic() - self.start
        new = len(self.records) - self.earlier
        # A running trial counts for the share of its epochs that it has behind it.
        shares = new + sum(trial.epoch / self.epochs for trial in self.running.values())
        text = f"{duration(elapsed)} elapsed"
        if shares > 0:
            left = elapsed / shares * max(0.0, self.trials - self.earlier - shares)
            text += f", about {duration(left)} left"
        return text

    def _render(self) -> Group:
        states = [
            f"{len(self.running)} running",
            f"{self._count(State.COMPLETE)} finished",
            f"{self._count(State.PRUNED)} pruned",
            f"{self._count(State.FAIL)} failed",
        ]
        head = f"{self.name}   {', '.join(states)} of {self.trials}   {self._times()}"
        parts: list[Any] = [Text(head, style="bold")]
        if self.running:
            parts.append(self._table())
        best = best_of(list(self.records.values()))
        if best is not None:
            record, row = best
            parts.append(
                Text(
                    f"best so far  {row.val_score:.4f}  trial {record.proposal.number}: "
                    f"{configuration(record.proposal)}, {inlier(row)}",
                    style="green",
                )
            )
        if self.dashboard:
            parts.append(Text(f"Ray dashboard  {self.dashboard}", style="dim"))
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "lr", "batch", "λ", "epoch", "train loss", "val loss", "time", ""):
            table.add_column(name, justify="right")
        now = time.monotonic()
        for number, trial in sorted(self.running.items()):
            proposal = trial.proposal
            table.add_row(
                str(number),
                f"{proposal.lr:.3g}",
                str(proposal.batch_size),
                f"{proposal.lam:.3g}",
                f"{trial.epoch}/{self.epochs}",
                "" if trial.train_loss is None else f"{trial.train_loss:.4f}",
                "" if trial.val_loss is None else f"{trial.val_loss:.4f}",
                duration(now - trial.since),
                trial.note,
            )
        return table


def best_of(records: list[Record]) -> tuple[Record, InlierResult] | None:
    """The record of the highest validation score and its row, if any has one."""
    scored = [(record, record.best) for record in records if record.best is not None]
    pairs = [(record, row) for record, row in scored if row is not None]
    return max(pairs, key=lambda pair: pair[1].val_score or 0.0, default=None)


def configuration(proposal: Proposal) -> str:
    """A configuration in a few words."""
    text = f"lr {proposal.lr:.3g}, batch size {proposal.batch_size}, λ {proposal.lam:.3g}"
    if proposal.inlier:
        text += f", {proposal.inlier}" + ("" if proposal.p is None else f" p={proposal.p}")
    return text


def inlier(row: InlierResult) -> str:
    """An inlier model and its p in a few words."""
    return row.inlier if row.p is None else f"{row.inlier} p={row.p}"


def _share(share: Share) -> str:
    """What a trial holds, in a few words."""
    parts = [_count(share.cpus, "CPU")]
    if share.gpus:
        parts.insert(0, _count(share.gpus, "GPU"))
    held = ", ".join(parts)
    return held if share.workers == 1 else f"{share.workers} workers of {held}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """A time span, such as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
