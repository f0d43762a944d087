"""The usual plots of finished and running studies, as a marimo notebook.

    marimo edit analysis/explore.py -- --runs runs     # an editable page in the browser
    python analysis/explore.py --runs runs             # executes every cell, draws nothing

Every cell reads files of a run's folder, which docs/outputs.md explains column by column. No cell
needs raysearch. A finished page without a server is
`marimo export html analysis/explore.py -o explore.html -- --runs runs`. Needs the extra `analysis`,
which `make install-dev` brings.
"""

# mypy: allow-untyped-defs
# marimo writes the signatures of the cells.

import marimo

app = marimo.App(width="medium", app_title="raysearch runs")


@app.cell
def _():
    import json
    import pathlib

    import marimo as mo
    import pandas as pd
    import plotly.express as px

    return json, mo, pathlib, pd, px


@app.cell
def _(mo, pathlib):
    folder = pathlib.Path(mo.cli_args().get("runs") or "runs")
    studies = {path.parent.name: path.parent for path in sorted(folder.glob("*/study.json"))}
    mo.stop(not studies, mo.md(f"`{folder}` holds no study; `raysearch run` makes one."))
    study = mo.ui.dropdown(list(studies), value=next(iter(studies)), label="study")
    mo.md(f"# Runs in `{folder}`\n\n{study}")
    return studies, study


@app.cell
def _(json, pd, studies, study):
    run = studies[study.value]
    facts = json.loads((run / "study.json").read_text())
    rows = pd.read_csv(run / "trials.csv").query("state != 'REFERENCE'")
    records = [json.loads(path.read_text()) for path in sorted(run.glob("records/[0-9]*.json"))]
    return facts, records, rows, run


@app.cell
def _(facts, mo, rows):
    trials = rows.sort_values("val_score", ascending=False).drop_duplicates("trial")
    trials = trials.sort_values("trial")
    states = ", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items())
    mo.vstack([mo.md(f"## {facts['machine']}: {states}\n\n`{facts['command']}`"), trials])
    return (trials,)


@app.cell
def _(px, trials):
    history = trials.assign(best=trials["val_score"].cummax())
    progress = px.scatter(
        history, x="trial", y="val_score", color="state", hover_data=["lr", "batch_size", "lambda"]
    )
    progress.add_scatter(
        x=history["trial"], y=history["best"], mode="lines", line_shape="hv", name="best so far"
    )
    progress.update_layout(title="Search progress")
    return


@app.cell
def _(px, trials):
    scored = trials.dropna(subset="val_score")
    px.parallel_coordinates(
        scored,
        dimensions=["lr", "batch_size", "lambda", "val_score"],
        color="val_score",
        title="Configurations",
    )
    return


@app.cell
def _(px, rows):
    models = rows.dropna(subset="val_score").pivot_table(
        index="inlier", columns="p", values="val_score", aggfunc="max"
    )
    px.imshow(
        models,
        x=models.columns.astype(str),
        text_auto=".3f",
        aspect="auto",
        title="Best score of each inlier model and p",
    )
    return


@app.cell
def _(mo, trials):
    best = int(trials.loc[trials["val_score"].idxmax(), "trial"])
    numbers = [str(number) for number in trials["trial"]]
    trial = mo.ui.dropdown(numbers, value=str(best), label="trial")
    mo.vstack([trial])
    return (trial,)


@app.cell
def _(pd, px, records, trial):
    numbered = {record["proposal"]["number"]: record for record in records}
    epochs = pd.DataFrame(numbered[int(trial.value)]["history"])
    px.line(
        epochs.melt(id_vars="epoch", value_vars=["train_loss", "val_loss"]),
        x="epoch",
        y="value",
        color="variable",
        title=f"Training of trial {trial.value}",
    )
    return


@app.cell
def _(mo, pd, px, run):
    path = run / "final_test.csv"
    mo.stop(not path.exists(), mo.md("There is no final test."))
    final = pd.read_csv(path, dtype={"id": str})
    px.bar(
        final.melt(id_vars="id", value_vars=["auc", "pauc"]),
        x="id",
        y="value",
        color="variable",
        barmode="group",
        title="Final test",
    )
    return (final,)


if __name__ == "__main__":
    app.run()
