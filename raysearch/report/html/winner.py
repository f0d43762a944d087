"""The winner in detail: training curves, embeddings, misclassified clips."""

from base64 import b64encode
from collections.abc import Sequence

import plotly.graph_objects as go
from upath import UPath

from raysearch.report.clips.misclassified import MisclassifiedClip, read_misclassified
from raysearch.report.clips.shown import has_evidence, machine_home, read_clips
from raysearch.report.html.embeddings import (
    KINDS,
    by_label,
    by_machine,
    by_product,
    hide_scales,
)
from raysearch.report.html.parts import Absent, Chart, Part, Section, Sound, Sounds, View, draw
from raysearch.report.html.style import ACCENT, GRID, MUTED, figure
from raysearch.report.wording import score
from raysearch.study.records import Record
from raysearch.study.results import Results
from raysearch.training.conditions import PER_PRODUCT, WITH_BACKBONE
from raysearch.training.outcome import Epoch

LOSSES = (
    ("total", "train_loss", "val_loss"),
    ("machine type", "train_machine_loss", "val_machine_loss"),
    ("product ID", "train_product_loss", "val_product_loss"),
)


def winner_section(results: Results) -> Section:
    """Return the section with training curves, embeddings and worst misclassified clips."""
    text = (
        "From clips that the search may use: held-out training clips and the test clips of the "
        "validation IDs. The test IDs are left out."
    )
    return Section("winner", "The winner in detail", text, _parts(results))


def _parts(results: Results) -> list[Part]:
    winner = results.winner
    if winner is None:
        return [Absent("Training, embeddings, misclassified clips", "There is no winner yet.")]
    return [training_part(results), *clip_parts(results)]


def training_part(results: Results) -> Part:
    """Return the training curves of the winner."""
    winner = results.winner
    record = None if winner is None else results.record(winner.trial)
    return draw("Training", lambda: _curves(results, record))


def clip_parts(results: Results, machine: str = "") -> list[Part]:
    """Return embeddings and worst misclassified clips.

    Args:
        results: of the study.
        machine: a validation machine of a shared search; empty for any other search.
    """
    folder = machine_home(results.folder, machine) if machine else results.folder
    of = f" of {machine}" if machine else ""
    plane, worst = f"Embeddings{of}", f"Worst misclassified clips{of}"
    name = f"plane-{machine}" if machine else "plane"
    return [
        draw(plane, lambda: _embeddings(results, folder, plane, name)),
        draw(worst, lambda: _misclassified(results, folder, worst)),
    ]


def _curves(results: Results, record: Record | None) -> Part:
    if results.space.members:
        return Absent("Training", "The members of an ensemble are trained by their own studies.")
    if record is not None and record.epochs == 0:
        return Absent("Training", "This method is not trained.")
    if record is None or not record.history:
        reason = "The winner's record holds no epochs, so its training cannot be drawn."
        return Absent("Training", reason)
    history, traces, views = record.history, [], []
    parts = [loss for loss in LOSSES if getattr(history[0], loss[1]) is not None]
    for number, (label, train, validation) in enumerate(parts):
        for attribute, name, colour in (
            (train, "training", MUTED),
            (validation, "validation", ACCENT),
        ):
            traces.append(_line(history, attribute, name, colour, visible=number == 0))
        views.append(View(label, (2 * number, 2 * number + 1)))
    chart = figure(traces, x="epoch", y="loss", height=360)
    if len(history) < 10:
        chart.update_xaxes(dtick=1)
    if record.best_epoch is not None:
        chart.add_vline(record.best_epoch, line={"color": GRID, "dash": "dash"})
    kept = f"its least, at epoch {record.best_epoch} (dashed), is the encoder that was kept."
    if results.space.is_shared:
        kept = "both are means over the machine types, each of which keeps its own best encoder."
    caption = (
        f"Losses of trial {record.proposal.number} over its {len(history)} epochs. The validation "
        f"loss is on held-out training clips; {kept}"
    )
    if results.method in WITH_BACKBONE:
        caption += (
            " Training losses are higher where Mixup and dropout make training harder than scoring."
        )
    if len(parts) == len(LOSSES):
        caption += " The total is the loss of the machine type plus λ times that of the product ID."
    return Chart("training", "Training", chart, caption, tuple(views))


def _line(
    history: Sequence[Epoch], attribute: str, name: str, colour: str, *, visible: bool
) -> go.Scatter:
    return go.Scatter(
        x=[epoch.epoch for epoch in history],
        y=[getattr(epoch, attribute) for epoch in history],
        mode="lines+markers" if len(history) < 30 else "lines",
        name=name,
        line={"color": colour, "width": 2},
        marker={"size": 5},
        visible=visible,
        hovertemplate="epoch %{x}<br>" + name + " %{y:.4f}<extra></extra>",
    )


def _no_clips_reason(results: Results) -> str:
    """Return the reason for missing clips and how to get them."""
    if results.frozen is None:
        return "The clips are collected at the end of the run."
    return (
        "The run's folder lacks the clips: it is of an older version, or was fetched without them. "
        "The same `raysearch run` command collects them, without training anything again."
    )


def _embeddings(results: Results, folder: UPath, title: str, name: str) -> Part:
    clips = read_clips(folder)
    if not clips:
        return Absent(title, _no_clips_reason(results))
    colourings = [
        ("product ID", by_product(clips)),
        ("normal or anomalous", by_label(clips)),
        ("machine type", by_machine(clips)),
    ]
    traces: list[go.Scatter] = []
    views = []
    for label, clouds in colourings:
        views.append(View(label, tuple(range(len(traces), len(traces) + len(clouds)))))
        traces += clouds
    chart = hide_scales(figure(traces, x="", y="", height=520))
    for k, trace in enumerate(chart.data):
        trace.visible = k in views[0].traces
    kept = "product IDs apart and " if results.method in WITH_BACKBONE else ""
    caption = (
        f"Each of {len(clips)} dots is a clip, the mean of its segments' embeddings, placed by "
        "t-SNE: near dots are alike, distances between groups mean little. A good encoder keeps "
        f"{kept}anomalies away from the normal clips of their ID."
    )
    if results.space.members:
        caption += " The embedding of an ensemble is the vector of its members' scores."
    elif results.method in PER_PRODUCT:
        caption += (
            " Here each product ID has a network of its own, so only the dots of one ID compare; "
            "those of other machine types are by any of these networks."
        )
    return Chart(name, title, chart, caption, tuple(views))


def _misclassified(results: Results, folder: UPath, title: str) -> Part:
    if not results.space.validation_ids:
        return Absent(title, "Without validation labels no clip is known to be misclassified.")
    if not has_evidence(folder):
        return Absent(title, _no_clips_reason(results))
    clips = read_misclassified(folder)
    if not clips:
        reason = "Every validation clip lies on the right side of its ID's threshold."
        return Absent(title, reason)
    return Sounds(
        title,
        [_sound(*item) for item in clips],
        "Validation clips on the wrong side of their ID's threshold, those first that lie beyond "
        "most clips of the other kind. Listen before you blame the detector: a label may be "
        "wrong, or a recording not what it should be. Pictures are log-mel spectrograms, time "
        "from left to right, low frequencies at the bottom, bright is loud.",
    )


def _sound(clip: MisclassifiedClip, sound: bytes, picture: bytes) -> Sound:
    error = "Missed" if clip.label else "False alarm"
    comparison = "normal clips score higher" if clip.label else "anomalous clips score lower"
    verdict = (
        f"{clip.clip} is {KINDS[clip.label]}, but {clip.beyond} of {clip.others} {comparison}. "
        f"Score {score(clip.score)}, threshold {score(clip.threshold)}."
    )
    alt = (
        f"Log-mel spectrogram of {clip.clip}: {clip.seconds:.1f} s from left to right, "
        f"{clip.f_min:g} to {clip.f_max:g} Hz from bottom to top."
    )
    title = f"{error}, ID {clip.id}"
    return Sound(title, verdict, _data("image/png", picture), alt, _data("audio/flac", sound))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
