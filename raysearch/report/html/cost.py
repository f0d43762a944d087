"""What the search cost: time of training and of judging, GPU hours, machines."""

from collections.abc import Sequence

import plotly.graph_objects as go

from raysearch.report.html.parts import Absent, Chart, Facts, Part, Section, Table
from raysearch.report.html.results import Results
from raysearch.report.html.style import ACCENT, MUTED, figure
from raysearch.report.wording import count, duration
from raysearch.study.records import Record, State

MOST_BARS = 200


def cost_section(results: Results) -> Section:
    """Times of trials and what they held meanwhile."""
    text = (
        "A device is a GPU, a part of one counting as such, or a worker process of a trial that "
        "ran on CPUs."
    )
    return Section("cost", "Time and cost", text, _parts(results.records))


def _parts(records: Sequence[Record]) -> list[Part]:
    if not any(record.train_seconds for record in records):
        return [Absent("Time of trials", "No trial has been timed yet.")]
    return [_sums(records), _bars(records), _machines(records)]


def _sums(records: Sequence[Record]) -> Facts:
    training = sum(record.train_seconds for record in records)
    judging = sum(record.score_seconds for record in records)
    lost = sum(r.device_seconds for r in records if r.state is not State.COMPLETE)
    again = sum(r.device_seconds for r in records if r.proposal.rerun_of is not None)
    total = sum(record.device_seconds for record in records)
    rows = [
        ("Devices", f"{total / 3600:.3g} device hours in all"),
        ("Training encoders", duration(training)),
        ("Fitting and judging inlier models", duration(judging)),
        ("A trial on average", duration((training + judging) / len(records))),
        ("Pruned and failed trials", f"{lost / total:.0%} of the device time" if total else "–"),
        ("Finalists' further seeds", f"{again / total:.0%} of the device time" if total else "–"),
        ("Taken up again", count(sum(len(record.resumes) for record in records), "time")),
    ]
    return Facts("In all", rows)


def _bars(records: Sequence[Record]) -> Chart:
    shown = sorted(records, key=lambda r: r.train_seconds + r.score_seconds)[-MOST_BARS:]
    shown.sort(key=lambda record: record.proposal.number)
    numbers = [record.proposal.number for record in shown]
    traces = [
        go.Bar(
            x=numbers,
            y=[getattr(record, attribute) for record in shown],
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{record.host}, {record.devices:g} devices" for record in shown],
            textposition="none",
            hovertemplate="trial %{x}<br>" + name + " %{y:.1f} s<br>%{text}<extra></extra>",
        )
        for name, attribute, colour in (
            ("training", "train_seconds", ACCENT),
            ("judging", "score_seconds", MUTED),
        )
    ]
    chart = figure(traces, x="trial", y="time in s", height=300, barmode="stack")
    fewer = (
        f"The {len(shown)} longest of {len(records)} trials" if len(shown) < len(records) else ""
    )
    caption = (
        f"{fewer or 'Every trial'}: time of training the encoder, and above it of fitting and "
        "judging all inlier models. Short bars are trials that were pruned or failed early."
    )
    return Chart("times", "Time of trials", chart, caption)


def _machines(records: Sequence[Record]) -> Table:
    rows = []
    for host in sorted({record.host for record in records}):
        own = [record for record in records if record.host == host]
        failed = sum(record.state is State.FAIL for record in own)
        hours = sum(record.device_seconds for record in own) / 3600
        seconds = sum(record.train_seconds + record.score_seconds for record in own)
        rows.append(
            [host or "unknown", str(len(own)), str(failed), duration(seconds), f"{hours:.3g}"]
        )
    return Table(
        "Machines",
        ["machine", "trials", "failed", "time of trials", "device hours"],
        rows,
        "Trials are counted where they ended.",
        numbers=frozenset({1, 2, 4}),
    )
