"""The answer: which configuration, how good, how sure, and by how much it leads."""

from collections import Counter

import plotly.graph_objects as go

from raysearch.report.html.parts import Absent, Chart, Part, Section, Table, Tile
from raysearch.report.html.results import Results
from raysearch.report.html.style import ACCENT, INK, MUTED, figure
from raysearch.report.tables import score_words
from raysearch.report.wording import count, inlier_words, settings
from raysearch.study.ranking import Candidate, Ranking
from raysearch.study.records import State

LEADERS = 10
"""Configurations that are shown, at most: the best of so many encoders."""


def above(results: Results) -> str:
    """Where the page comes from."""
    return f"raysearch · {results.folder}"


def title(results: Results) -> str:
    """The machine type and its configuration."""
    if results.winner is None:
        return f"{results.machine}: no result yet"
    return f"{results.machine}: {settings(results.winner)}"


def lead(results: Results) -> str:
    """The answer in a sentence or two."""
    winner = results.winner
    if winner is None:
        return _fruitless(results)
    kind = "Best so far: validation" if results.held is None else "Validation"
    sentences = [f"{kind} score {score_words(winner, results.confidence)}."]
    if (second := results.second) is not None and results.ranking is not None:
        ahead = f"{advantage(results.ranking):.4f}"
        sentences.append(f"It is {ahead} ahead of the second, {settings(second)}{_doubt(results)}.")
    if results.final_score is not None:
        sentences.append(
            f"On test IDs {_listed([one.id for one in results.final])}, which the search never "
            f"saw, it reaches {results.final_score:.4f}."
        )
    return " ".join(sentences)


def advantage(ranking: Ranking) -> float:
    """How far the winner's mean score lies above the second's, over the seeds that compare."""
    assert ranking.second is not None
    return ranking.winner.mean(ranking.seeds) - ranking.second.mean(ranking.seeds)


def _doubt(results: Results) -> str:
    sure = results.confidence
    if sure.lead_low is None or sure.lead_high is None:
        return ""
    return f" (95 % interval {sure.lead_low:.3f} to {sure.lead_high:.3f})".replace("-", "−")


def _fruitless(results: Results) -> str:
    ended = len(results.records)
    if not ended:
        return (
            f"{count(results.given, 'trial')} given out, none has ended yet. Draw this page again "
            f"with `raysearch report {results.folder}` once some have."
        )
    return f"{count(ended, 'trial')} ended, none of them with a score; the reasons stand below."


def notes(results: Results) -> list[str]:
    """What a reader must know before trusting the answer."""
    found = []
    total = results.space.strategy.trials
    done = len(results.searched)
    if results.held is None:
        found.append(
            f"The search is at work or was interrupted: {done} of {total} trials ended. All "
            "figures are provisional; the same `raysearch run` command goes on."
        )
    elif not results.is_current:
        found.append(
            "More trials have ended since this configuration was frozen, and another one leads "
            "now; the same `raysearch run` command concludes anew."
        )
    if results.confidence.note:
        found += results.confidence.note.split("; ")
    return [note[0].upper() + note[1:] for note in found]


def tiles(results: Results) -> list[Tile]:
    """The numbers that are read first."""
    found = []
    winner, sure = results.winner, results.confidence
    if winner is not None:
        interval = "no interval"
        if sure.low is not None and sure.high is not None:
            interval = f"95 % interval {sure.low:.3f} to {sure.high:.3f}"
        found.append(Tile("Validation score", f"{winner.score:.4f}", interval))
    if results.second is not None and results.ranking is not None:
        noise = "within noise" if sure.is_noise else "beyond noise"
        note = "" if sure.lead_low is None else noise
        found.append(Tile("Ahead of the second", f"{advantage(results.ranking):+.4f}", note))
    if results.final_score is not None:
        often = len(results.openings)
        note = f"test IDs opened {'once' if often == 1 else f'{often} times'}"
        found.append(Tile("Final test", f"{results.final_score:.4f}", note))
    states = Counter(record.state for record in results.records)
    note = ", ".join(f"{states[state]} {name}" for state, name in NAMES.items() if states[state])
    found.append(Tile("Trials", str(len(results.records)), note))
    return found


NAMES = {State.COMPLETE: "finished", State.PRUNED: "pruned", State.FAIL: "failed"}


def lead_section(results: Results) -> Section:
    """How the winner compares with the configurations behind it."""
    text = (
        "Scores are harmonic means of AUC and pAUC over the validation IDs, 1 is perfect and 0.5 "
        "is chance. With further seeds, the mean over them decides."
    )
    return Section("lead", "The lead", text, _parts(results))


def _parts(results: Results) -> list[Part]:
    if results.ranking is None:
        reason = "No trial has a score yet, so there is nothing to compare."
        return [Absent("The best configurations", reason)]
    leaders = _leaders(results.ranking)
    return [_chart(leaders, results), _table(leaders)]


def _leaders(ranking: Ranking) -> list[Candidate]:
    """The winner, then the best configuration of each other encoder."""
    best = {ranking.winner.configuration: ranking.winner}
    for one in ranking.candidates:
        best.setdefault(one.configuration, one)
    return list(best.values())[:LEADERS]


def _chart(leaders: list[Candidate], results: Results) -> Chart:
    names = [f"trial {one.proposal.number}, {inlier_words(one.inlier)}" for one in leaders]
    seeds = go.Scatter(
        x=[training.score for one in leaders for training in one.trainings],
        y=[name for name, one in zip(names, leaders, strict=True) for _ in one.trainings],
        mode="markers",
        name="a seed",
        marker={"color": MUTED, "size": 7, "symbol": "circle-open"},
        hovertemplate="%{y}<br>%{x:.4f}<extra></extra>",
    )
    means = go.Scatter(
        x=[one.mean() for one in leaders],
        y=names,
        mode="markers",
        name="mean of its seeds",
        marker={"size": 11, "symbol": "diamond", "color": [ACCENT] + [INK] * (len(leaders) - 1)},
        hovertemplate="%{y}<br>mean %{x:.4f}<extra></extra>",
    )
    traces, sure, told = [seeds, means], results.confidence, ""
    if results.is_current and sure.low is not None and sure.high is not None:
        traces.insert(0, _interval(names[0], sure.low, sure.high))
        told = " The bar is the winner's 95 % interval: where its score would lie if other clips "
        told += "had been recorded."
    chart = figure(traces, x="validation score", y="", height=120 + 34 * len(leaders))
    chart.update_yaxes(autorange="reversed")
    caption = (
        "Circles are trainings with one seed each, diamonds their means, the winner on top. "
        "Circles that spread wider than the diamonds lie apart mean that seeds matter more than "
        f"the choice between these configurations.{told}"
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
    for place, one in enumerate(leaders, start=1):
        configuration, inlier = one.configuration, one.inlier
        rows.append(
            [
                str(place),
                str(one.proposal.number),
                f"{configuration.lr:.3g}",
                str(configuration.batch_size),
                f"{configuration.lam:.3g}",
                inlier.name,
                "–" if inlier.p is None else f"{inlier.p:g}",
                f"{one.mean():.4f}",
                "–" if one.std is None else f"{one.std:.4f}",
                str(len(one.trainings)),
            ]
        )
    return Table(
        "The same in numbers",
        ["", "trial", "lr", "batch size", "λ", "inlier", "p", "score", "±", "seeds"],
        rows,
        "Every encoder with its best inlier model; ± is the standard deviation over seeds. All "
        "of them, with every inlier model, are in trials.csv.",
        numbers=frozenset({1, 2, 3, 4, 6, 7, 8, 9}),
        strong=frozenset({0}),
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
