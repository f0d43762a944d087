"""Head of the page: best configuration, its score, confidence and lead."""

from collections import Counter

import plotly.graph_objects as go

from raysearch.report.html.parts import Absent, Chart, Part, Section, Table, Tile, draw
from raysearch.report.html.style import ACCENT, INK, MUTED, figure
from raysearch.report.wording import (
    cell,
    count,
    format_inlier,
    format_score,
    format_value,
    name_ids,
    settings,
)
from raysearch.study.confidence import Confidence
from raysearch.study.ranking import Candidate, Ranking
from raysearch.study.records import State
from raysearch.study.reference import NAME
from raysearch.study.results import Results
from raysearch.study.winner import Winner

LEADERS = 10
"""Maximum number of configurations, each the best of its encoder."""


def breadcrumb(results: Results) -> str:
    """Return the line above the title: the folder of the study."""
    return f"raysearch · {results.folder}"


def title(results: Results) -> str:
    """Return the machine type, its method unless it is the proposed one, and its configuration."""
    winner = results.winner
    if winner is None:
        return f"{results.machine}: no result yet"
    is_named = results.method == "proposed" or "method" in dict(winner.configuration.options)
    method = "" if is_named else f"{results.method}, "
    return f"{results.machine}: {method}{settings(winner)}"


def lead(results: Results) -> str:
    """Return the summary of the result, in one or two sentences."""
    winner = results.winner
    if winner is None:
        return _lead_without_score(results)
    kind = "Best so far: validation" if results.frozen is None else "Validation"
    score = format_score(winner, results.confidence)
    sentences = [f"{kind} score {score}{_reference(winner, results)}."]
    if winner.score is None:
        sentences = ["The only configuration, trained on healthy clips: no validation score."]
    if (second := results.second) is not None and results.ranking is not None:
        ahead = f"{advantage(results.ranking):.4f}"
        sentences.append(
            f"It is {ahead} ahead of the second, {settings(second)}{_lead_interval(results)}."
        )
    if results.final_score is not None:
        limits = f" ({results.final_note})" if results.final_note else ""
        sentences.append(
            f"On test {name_ids([*results.final.areas])}, which the search never saw, it reaches "
            f"{results.final_score:.4f}{limits}{_final_reference(results)}."
        )
    return " ".join(sentences)


def _reference(winner: Winner, results: Results) -> str:
    """Return the rest of the first sentence: the score of the reference."""
    reference = results.reference
    if reference is None:
        return ""
    if winner.score is not None and winner.score < reference:
        return f", below the {reference:.4f} of the reference, {NAME}"
    return f"; the reference, {NAME}, has {reference:.4f}"


def _final_reference(results: Results) -> str:
    reference = results.final_reference
    if reference is None:
        return ""
    name = f", {NAME}," if results.reference is None else ""  # The first sentence names it.
    return f"; the reference{name} reaches {reference:.4f} there"


def advantage(ranking: Ranking) -> float:
    """Return the lead of the winner's mean score over the second's, on common seeds."""
    assert ranking.second is not None
    return ranking.winner.mean(ranking.seeds) - ranking.second.mean(ranking.seeds)


def _lead_interval(results: Results) -> str:
    confidence = results.confidence
    if confidence.lead_low is None or confidence.lead_high is None:
        return ""
    return f" (95 % interval {confidence.lead_low:.3f} to {confidence.lead_high:.3f})".replace(
        "-", "−"
    )


def _lead_without_score(results: Results) -> str:
    ended = len(results.records)
    if not ended:
        return (
            f"{count(results.proposed, 'trial')} given out, none has ended yet. Draw this page "
            f"again with `raysearch report {results.folder}` once some have."
        )
    return f"{count(ended, 'trial')} ended, none of them with a score; see the reasons below."


def notes(results: Results) -> list[str]:
    """Return the caveats of the result."""
    caveats = []
    total = results.space.strategy.trials
    ended = len(results.searched)
    if results.frozen is None:
        caveats.append(
            f"The search is running or was interrupted: {ended} of {total} trials ended. All "
            "figures are provisional; the same `raysearch run` command resumes it."
        )
    elif not results.is_current:
        caveats.append(
            "More trials have ended since this configuration was frozen, and another one leads "
            "now; the same `raysearch run` command updates it."
        )
    if results.confidence.note:
        caveats += results.confidence.note.split("; ")
    return [note[0].upper() + note[1:] for note in caveats]


def tiles(results: Results) -> list[Tile]:
    """Return the key figures."""
    figures = []
    winner, confidence = results.winner, results.confidence
    if winner is not None:
        interval = "no interval"
        if confidence.low is not None and confidence.high is not None:
            interval = f"95 % interval {confidence.low:.3f} to {confidence.high:.3f}"
        if winner.score is None:
            figures.append(Tile("Validation score", "none", "no validation labels"))
        else:
            figures.append(Tile("Validation score", f"{winner.score:.4f}", interval))
        if confidence.unselected is not None:
            note = f"the winner is the best of {confidence.choices} configurations"
            figures.append(Tile("Without selection", f"{confidence.unselected:.4f}", note))
    if results.reference is not None:
        figures.append(Tile("Reference", f"{results.reference:.4f}", "without a training"))
    if results.second is not None and results.ranking is not None:
        ahead = f"{advantage(results.ranking):+.4f}"
        figures.append(Tile("Ahead of the second", ahead, _claim(results.ranking, confidence)))
    if results.final_score is not None:
        openings = len(results.ledger.openings) + results.ledger.earlier
        note = f"test IDs opened {'once' if openings == 1 else f'{openings} times'}"
        figures.append(Tile("Final test", f"{results.final_score:.4f}", note))
    states = Counter(record.state for record in results.records)
    note = ", ".join(f"{states[state]} {name}" for state, name in NAMES.items() if states[state])
    figures.append(Tile("Trials", str(len(results.records)), note))
    return figures


def _claim(ranking: Ranking, confidence: Confidence) -> str:
    """Return the verdict on the lead; empty where it was not measured."""
    if ranking.seeds == 1:
        return "one seed: no claim"
    if confidence.lead_low is None:
        return ""
    return "within noise" if confidence.is_noise else "beyond noise"


NAMES = {State.COMPLETE: "finished", State.PRUNED: "pruned", State.FAIL: "failed"}


def lead_section(results: Results) -> Section:
    """Return the section that compares the winner with the next configurations."""
    text = (
        "Scores are harmonic means of AUC and pAUC over the validation IDs, 1 is perfect and 0.5 "
        "is chance. With further seeds, the mean over them decides."
    )
    return Section("lead", "The lead", text, _parts(results))


def _parts(results: Results) -> list[Part]:
    if results.ranking is None:
        reason = "No trial has a score yet, so there is nothing to compare."
        return [Absent("The best configurations", reason)]
    if not results.space.validation_ids:
        reason = "Without validation labels no configuration can be compared with another."
        return [Absent("The best configurations", reason)]
    leaders = _leaders(results.ranking)
    return [
        draw("The best configurations", lambda: _chart(leaders, results)),
        draw("The same in numbers", lambda: _table(leaders)),
    ]


def _leaders(ranking: Ranking) -> list[Candidate]:
    """Return the winner, then the best configuration of each other encoder."""
    best = {ranking.winner.configuration: ranking.winner}
    for candidate in ranking.candidates:
        best.setdefault(candidate.configuration, candidate)
    return list(best.values())[:LEADERS]


def _chart(leaders: list[Candidate], results: Results) -> Chart:
    names = [
        f"trial {candidate.proposal.number}, {format_inlier(candidate.inlier)}"
        for candidate in leaders
    ]
    seeds = go.Scatter(
        x=[training.score for candidate in leaders for training in candidate.trainings],
        y=[
            name
            for name, candidate in zip(names, leaders, strict=True)
            for _ in candidate.trainings
        ],
        mode="markers",
        name="a seed",
        marker={"color": MUTED, "size": 7, "symbol": "circle-open"},
        hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
    )
    means = go.Scatter(
        x=[candidate.mean() for candidate in leaders],
        y=names,
        mode="markers",
        name="mean of its seeds",
        marker={"size": 11, "symbol": "diamond", "color": [ACCENT] + [INK] * (len(leaders) - 1)},
        hovertemplate="%{y}<br>mean %{x:.4f}<extra></extra>",
    )
    traces, confidence, interval_note = [seeds, means], results.confidence, ""
    if results.is_current and confidence.low is not None and confidence.high is not None:
        traces.insert(0, _interval(names[0], confidence.low, confidence.high))
        interval_note = (
            " The bar is the winner's 95 % interval: where its score would lie with other "
            f"{confidence.over}."
        )
    chart = figure(traces, x="validation score", y="", height=120 + 34 * len(leaders))
    chart.update_yaxes(autorange="reversed")
    caption = (
        "Circles are trainings with one seed each, diamonds their means, the winner on top. "
        "Circles that spread wider than the diamonds lie apart mean that seeds matter more than "
        f"the choice between these configurations.{interval_note}"
    )
    return Chart("leaders", "The best configurations", chart, caption)


def _interval(name: str, low: float, high: float) -> go.Scatter:
    return go.Scatter(
        x=[low, high],
        y=[name, name],
        mode="lines",
        name="95 % interval",
        line={"color": "var(--accent-soft)", "width": 16},
        hovertemplate="%{x:.4f}<extra></extra>",
    )


def _table(leaders: list[Candidate]) -> Table:
    rows = []
    names = sorted({name for leader in leaders for name, _ in leader.configuration.options})
    for position, candidate in enumerate(leaders, start=1):
        configuration, inlier = candidate.configuration, candidate.inlier
        values = dict(configuration.options)
        rows.append(
            [
                str(position),
                str(candidate.proposal.number),
                format_value(configuration.lr),
                format_value(configuration.batch_size),
                format_value(configuration.lam),
                *(format_value(values.get(name)) for name in names),
                inlier.name,
                "–" if inlier.p is None else f"{inlier.p:g}",
                f"{candidate.mean():.4f}",
                cell(candidate.std),
                str(len(candidate.trainings)),
            ]
        )
    return Table(
        "The same in numbers",
        [*("", "trial", "lr", "batch size", "λ"), *names, *("inlier", "p", "score", "±", "seeds")],
        rows,
        "Every encoder with its best inlier model; ± is the standard deviation over seeds. All "
        "of them, with every inlier model, are in trials.csv.",
        numbers=frozenset({1, 2, 3, 4} | {len(names) + column for column in (6, 7, 8, 9)}),
        strong=frozenset({0}),
    )
