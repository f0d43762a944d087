"""Cost of a search: training time, scoring time, device hours, machines."""

from collections.abc import Sequence

import plotly.graph_objects as go

from raysearch.report.html.parts import Absent, Chart, Facts, Part, Section, Table, draw
from raysearch.report.html.style import ACCENT, MUTED, figure
from raysearch.report.wording import count, duration
from raysearch.study.records import Record, State
from raysearch.study.results import Results

MOST_BARS = 200


def cost_section(results: Results) -> Section:
    """Return the section with the times and devices of all trials."""
    text = (
        "A device is a GPU, a part of one counting as such, or a worker process of a trial that "
        "ran on CPUs."
    )
    return Section("cost", "Time and cost", text, _parts(results.records))


def _parts(records: Sequence[Record]) -> list[Part]:
    if not any(record.train_seconds for record in records):
        return [Absent("Time of trials", "No trial has been timed yet.")]
    return [
        _totals(records),
        draw("Time of trials", lambda: _time_bars(records)),
        draw("Machines", lambda: _machines(records)),
    ]


def _totals(records: Sequence[Record]) -> Facts:
    training = sum(record.train_seconds for record in records)
    scoring = sum(record.score_seconds for record in records)
    lost = sum(r.device_seconds for r in records if r.state is not State.COMPLETE)
    reruns = sum(r.device_seconds for r in records if r.proposal.rerun_of is not None)
    total = sum(record.device_seconds for record in records)
    rows = [
        ("Devices", f"{total / 3600:.3g} device hours in all"),
        ("Training encoders", duration(training)),
        ("Fitting and scoring inlier models", duration(scoring)),
        ("A trial on average", duration((training + scoring) / len(records))),
        ("Pruned and failed trials", f"{lost / total:.0%} of the device time" if total else "–"),
        ("Finalists' further seeds", f"{reruns / total:.0%} of the device time" if total else "–"),
        ("Resumed", count(sum(len(record.resumes) for record in records), "time")),
    ]
    return Facts("In all", rows)


def _time_bars(records: Sequence[Record]) -> Chart:
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
            ("scoring", "score_seconds", MUTED),
        )
    ]
    chart = figure(traces, x="trial", y="time in s", height=300, barmode="stack")
    selection = (
        f"The {len(shown)} longest of {len(records)} trials" if len(shown) < len(records) else ""
    )
    caption = (
        f"{selection or 'Every trial'}: time of training the encoder, and above it of fitting and "
        "scoring all inlier models. Short bars are trials that were pruned or failed early."
    )
    return Chart("times", "Time of trials", chart, caption)


def _machines(records: Sequence[Record]) -> Table:
    rows = []
    for host in sorted({record.host for record in records}):
        trials = [record for record in records if record.host == host]
        failed = sum(record.state is State.FAIL for record in trials)
        hours = sum(record.device_seconds for record in trials) / 3600
        seconds = sum(record.train_seconds + record.score_seconds for record in trials)
        rows.append(
            [host or "unknown", str(len(trials)), str(failed), duration(seconds), f"{hours:.3g}"]
        )
    return Table(
        "Machines",
        ["machine", "trials", "failed", "time of trials", "device hours"],
        rows,
        "Trials are counted where they ended.",
        numbers=frozenset({1, 2, 4}),
    )
