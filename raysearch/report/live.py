"""Live view of a search: a table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from raysearch.backend.resources import Cluster, Share
from raysearch.backend.search_callback import SearchCallback, StudyProgress
from raysearch.report.live_table import Running, name_of, picture, trial_of
from raysearch.report.progress import ProgressBars, progress, say, show_log
from raysearch.report.wording import count, duration, inlier_words, origin, resource_words, settings
from raysearch.search.budget import Budget
from raysearch.study.records import Proposal, Record, State
from raysearch.training.outcome import Epoch

SUSPICIOUS = 3
"""Failures on one machine, one after the other, from which on it is named."""


class LiveView(SearchCallback):
    """View of one study or several while they are searched."""

    def __init__(self, console: Console) -> None:
        """Show nothing yet.

        Args:
            console: to show the search on.
        """
        self.console = console
        self.budget = Budget()
        self.studies: dict[str, StudyProgress] = {}
        self.earlier = 0
        """Trials that had ended before."""
        self.running: dict[tuple[str, int], Running] = {}
        self.faults: dict[str, int] = {}
        self.dashboard = ""
        self.start = time.monotonic()
        self.live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    @property
    def name(self) -> str:
        """What to call all that is followed."""
        return name_of(self.studies)

    def on_search_start(self, studies: Sequence[StudyProgress], budget: Budget) -> None:
        """Show the studies as they stand."""
        self.studies, self.budget = {study.name: study for study in studies}, budget
        self.earlier = self._done()
        self.start = time.monotonic()
        if self.console.is_terminal:
            self.live.start()

    def on_cluster_ready(self, cluster: Cluster, share: Share) -> None:
        """Show the cluster that runs the trials."""
        self.dashboard = cluster.dashboard
        self.start = time.monotonic()
        if cluster.address:
            machines = count(len(cluster.nodes), "machine")
            say(
                self.console,
                f"{self.name}: joined the Ray cluster at {cluster.address} ({machines})",
            )
        what = "trial" if share.concurrent == 1 else "trials"
        line = f"{self.name}: {share.concurrent} {what} at once, {resource_words(share)} each"
        self._line(line + (f"; Ray dashboard at {cluster.dashboard}" if cluster.dashboard else ""))

    def on_trial_start(self, study: str, proposal: Proposal) -> None:
        """Show a trial that runs."""
        trial = Running(
            proposal, self.studies[study].epochs, time.monotonic(), note=origin(proposal)
        )
        self.running[study, proposal.number] = trial
        idea = f" ({trial.note})" if trial.note else ""
        self._line(f"{self._trial(study, proposal.number)}: {settings(proposal)}{idea}")

    def on_epoch_end(self, study: str, number: int, epoch: Epoch) -> None:
        """Show how far a trial is."""
        trial = self.running.get((study, number))
        if trial is None:
            return
        trial.epoch, trial.note = epoch.epoch, origin(trial.proposal)
        trial.train_loss, trial.val_loss = epoch.train_loss, epoch.val_loss
        score = epoch.val_score
        trial.score = trial.score if score is None else score
        quarter = trial.epoch == trial.epochs or trial.epoch % max(1, trial.epochs // 4) == 0
        if quarter or score is not None:
            rung = "" if score is None else f", validation score {score:.4f} so far"
            self._line(
                f"{self._trial(study, number)}: epoch {trial.epoch}/{trial.epochs}, training loss "
                f"{trial.train_loss:.4f}, validation loss {trial.val_loss:.4f}{rung}"
            )

    def on_recordings_read(self, study: str, number: int, host: str, clips: int) -> None:
        """Show how far a trial's machine has read the recordings."""
        trial = self.running.get((study, number))
        if trial is not None:
            trial.note = f"{host} reads recordings: {clips} so far"
            self._line(f"{self._trial(study, number)}: {trial.note}")

    def on_trial_restart(self, study: str, number: int, host: str, reason: str) -> None:
        """Show that a trial lost its process or machine."""
        trial = self._trial(study, number)
        self.on_warning(f"{trial}: lost on {host} ({reason}); it goes on from its checkpoint")
        self._blame(host)

    def on_trial_end(self, study: str, record: Record) -> None:
        """Show what came out of a trial."""
        number, followed = record.proposal.number, self.studies[study]
        trial = self.running.pop((study, number), None)
        best = record.best
        if best is not None:
            model = f"with {inlier_words(best.spec)}"
            model = "without an inlier model" if best.inlier == "none" else model
            what = f"{best.val_score:.4f} {model}"
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

    def on_search_end(self) -> None:
        """Leave the last picture on the terminal."""
        self.live.stop()

    def _blame(self, host: str) -> None:
        """Names a machine on which one trial after the other fails."""
        self.faults[host] = self.faults.get(host, 0) + 1
        if host and self.faults[host] >= SUSPICIOUS:
            self.on_warning(
                f"{host} failed {self.faults[host]} times in a row; look at it with "
                "`raysearch doctor`, or take it out of the cluster"
            )

    def on_warning(self, text: str) -> None:
        """Show a line, above the live table if there is one."""
        say(self.live.console if self.console.is_terminal else self.console, text)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            say(self.console, text)

    def _trial(self, study: str, number: int) -> str:
        return trial_of(self.studies, study, number)

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
        return picture(self.studies, self.running, self._times(), self.dashboard)


@contextmanager
def show_on_console(*, quiet: bool = False) -> Iterator[tuple[LiveView, ProgressBars]]:
    """Show a run on the console while the block runs: the log, the search, progress bars.

    Args:
        quiet: print nothing.

    Yields:
        The callback of the search and the maker of the progress bars.
    """
    console = Console(quiet=quiet)
    with show_log(console):
        yield LiveView(console), partial(progress, console)
