"""What the terminal shows of a running search: a live table, or plain lines without a terminal."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raysearch.report.progress import say
from raysearch.report.words import best_of, configuration, count, duration, held, inlier, origin
from raysearch.search.budget import Budget
from raysearch.search.resources import Cluster, Share
from raysearch.search.study import Proposal, Record, State

SUSPICIOUS = 3
"""Failures on one machine, one after the other, from which on it is named."""


class Followed(Protocol):
    """A study that is followed; `search.agenda.Agenda` is one."""

    @property
    def name(self) -> str:
        """Of the study."""

    @property
    def epochs(self) -> int:
        """Of a trial."""

    @property
    def total(self) -> int:
        """Trials that it will have."""

    @property
    def records(self) -> Mapping[int, Record]:
        """Of the trials that ended."""

    @property
    def device_seconds(self) -> float:
        """What it cost so far."""


@dataclass
class Running:
    """A trial that runs."""

    proposal: Proposal
    epochs: int
    epoch: int = 0
    train_loss: float | None = None
    val_loss: float | None = None
    score: float | None = None
    since: float = field(default_factory=time.monotonic)
    note: str = ""


class LiveView:
    """Follows one study or several; satisfies `search.view.View`."""

    def __init__(
        self, console: Console, studies: Sequence[Followed], budget: Budget | None = None
    ) -> None:
        """Begins to follow.

        Args:
            console: where to show it.
            studies: that are searched.
            budget: of all of them.
        """
        self.console, self.budget = console, budget or Budget()
        self.studies = {study.name: study for study in studies}
        self.earlier = self._done()
        self.running: dict[tuple[str, int], Running] = {}
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

    @property
    def name(self) -> str:
        """What to call all that is followed."""
        names = list(self.studies)
        return names[0] if len(names) == 1 else f"{len(names)} studies"

    def cluster(self, cluster: Cluster, share: Share) -> None:
        """The search begins."""
        self.dashboard = cluster.dashboard
        self.start = time.monotonic()
        if cluster.address:
            machines = count(len(cluster.nodes), "machine")
            say(
                self.console,
                f"{self.name}: joined the Ray cluster at {cluster.address} ({machines})",
            )
        what = "trial" if share.concurrent == 1 else "trials"
        line = f"{self.name}: {share.concurrent} {what} at once, {held(share)} each"
        self._line(line + (f"; Ray dashboard at {cluster.dashboard}" if cluster.dashboard else ""))

    def started(self, study: str, proposal: Proposal) -> None:
        """A trial was given out."""
        trial = Running(proposal, self.studies[study].epochs, note=origin(proposal))
        self.running[study, proposal.number] = trial
        idea = f" ({trial.note})" if trial.note else ""
        self._line(f"{self._trial(study, proposal.number)}: {configuration(proposal)}{idea}")

    def epoch(self, study: str, number: int, result: Mapping[str, Any]) -> None:
        """A trial finished an epoch."""
        trial = self.running.get((study, number))
        if trial is None:
            return
        trial.epoch, trial.note = int(result["epoch"]), origin(trial.proposal)
        trial.train_loss, trial.val_loss = result["train_loss"], result["val_loss"]
        score = result.get("val_score")
        trial.score = trial.score if score is None else score
        quarter = trial.epoch == trial.epochs or trial.epoch % max(1, trial.epochs // 4) == 0
        if quarter or score is not None:
            rung = "" if score is None else f", validation score {score:.4f} so far"
            self._line(
                f"{self._trial(study, number)}: epoch {trial.epoch}/{trial.epochs}, training loss "
                f"{trial.train_loss:.4f}, validation loss {trial.val_loss:.4f}{rung}"
            )

    def reading(self, study: str, number: int, host: str, clips: int) -> None:
        """A trial's machine decodes recordings, the first time it needs them."""
        trial = self.running.get((study, number))
        if trial is not None:
            trial.note = f"{host} reads recordings: {clips} so far"
            self._line(f"{self._trial(study, number)}: {trial.note}")

    def lost(self, study: str, number: int, host: str, reason: str) -> None:
        """A trial's process or machine was lost; the trial goes on from its checkpoint."""
        trial = self._trial(study, number)
        self._always(f"{trial}: lost on {host} ({reason}); it goes on from its checkpoint")
        self._blame(host)

    def finished(self, study: str, record: Record) -> None:
        """A trial ended."""
        number, followed = record.proposal.number, self.studies[study]
        trial = self.running.pop((study, number), None)
        best = record.best
        if best is not None:
            what = f"{best.val_score:.4f} with {inlier(best)}"
        elif record.state is State.PRUNED:
            what = f"after {len(record.history)} of {followed.epochs} epochs"
            what += f", score {trial.score:.4f}" if trial and trial.score is not None else ""
        else:
            what = record.error or "; ".join(dict.fromkeys(row.error for row in record.rows))
        line = f"{self._trial(study, number)}: {record.state} {what}"
        if self.console.is_terminal and record.state is State.FAIL:
            self.live.console.print(Text(line, style="red"))
        self._line(f"{line}  [{self._done()}/{self._total()}, {self._times()}]")
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

    def _trial(self, study: str, number: int) -> str:
        return f"trial {number}" if len(self.studies) == 1 else f"{study} trial {number}"

    def _done(self) -> int:
        return sum(len(study.records) for study in self.studies.values())

    def _total(self) -> int:
        return sum(study.total for study in self.studies.values())

    def _times(self) -> str:
        elapsed = time.monotonic() - self.start
        new, total = self._done() - self.earlier, self._total()
        # A running trial counts for the share of its epochs that it has behind it.
        shares = new + sum(trial.epoch / trial.epochs for trial in self.running.values())
        text = f"{duration(elapsed)} elapsed"
        if shares > 0:
            left = elapsed / shares * max(0.0, total - self.earlier - shares)
            text += f", about {duration(left)} left"
        return text + self._budgets()

    def _budgets(self) -> str:
        text = ""
        if self.budget.seconds is not None:
            text += f", {duration(self.budget.seconds)} at most"
        if self.budget.gpu_hours is not None:
            spent = sum(study.device_seconds for study in self.studies.values()) / 3600
            text += f", {spent:.2f} of {self.budget.gpu_hours:g} GPU hours"
        return text

    def _render(self) -> Group:
        states = Counter(
            record.state for study in self.studies.values() for record in study.records.values()
        )
        counts = [
            f"{len(self.running)} running",
            f"{states[State.COMPLETE]} finished",
            f"{states[State.PRUNED]} pruned",
            f"{states[State.FAIL]} failed",
        ]
        head = f"{self.name}   {', '.join(counts)} of {self._total()}   {self._times()}"
        parts: list[Any] = [Text(head, style="bold")]
        if self.running:
            parts.append(self._table())
        parts += [Text(line, style="green") for line in self._best()]
        if self.dashboard:
            parts.append(Text(f"Ray dashboard  {self.dashboard}", style="dim"))
        return Group(*parts)

    def _best(self) -> Iterator[str]:
        for name, study in self.studies.items():
            best = best_of(list(study.records.values()))
            if best is not None:
                record, row = best
                yield (
                    f"best so far  {row.val_score:.4f}  {self._trial(name, record.proposal.number)}"
                    f": {configuration(record.proposal)}, {inlier(row)}"
                )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        several = len(self.studies) > 1
        names = (
            "trial",
            "lr",
            "batch",
            "λ",
            "epoch",
            "train loss",
            "val loss",
            "score",
            "time",
            "",
        )
        for name in ("study", *names) if several else names:
            table.add_column(name, justify="right")
        now = time.monotonic()
        for (study, number), trial in sorted(self.running.items()):
            proposal = trial.proposal
            table.add_row(
                *([study] if several else []),
                str(number),
                f"{proposal.lr:.3g}",
                str(proposal.batch_size),
                f"{proposal.lam:.3g}",
                f"{trial.epoch}/{trial.epochs}",
                _figure(trial.train_loss),
                _figure(trial.val_loss),
                _figure(trial.score),
                duration(now - trial.since),
                trial.note,
            )
        return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
