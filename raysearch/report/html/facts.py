"""Provenance of a search: data, command, versions, ledger of the test IDs."""

from raysearch.config import id_order
from raysearch.report.html.parts import Absent, Facts, Part, Section, Table, draw
from raysearch.report.wording import again, cell, count, format_time, settings
from raysearch.study.results import Results
from raysearch.study.scores import FinalScore


def facts_section(results: Results) -> Section:
    """Return the section with data, command, environment and ledger."""
    text = "Everything needed to repeat and to verify this search."
    parts = [
        draw("Data", lambda: _data(results)),
        draw("Command", lambda: _command(results)),
        draw("Environment", lambda: _environment(results)),
        draw("Openings of the test IDs", lambda: _ledger(results)),
    ]
    return Section("facts", "Data, environment, ledger", text, parts)


def _data(results: Results) -> Part:
    manifest = results.manifest
    clips = manifest.clips
    if clips is None:
        reason = (
            f"The recordings lie in {manifest.data}. Their numbers are missing, as the run is of "
            "an older version; the same `raysearch run` command adds them."
        )
        return Absent("Data", reason)
    rows = []
    for product_id in sorted(clips.training, key=id_order):
        test = clips.validation.get(product_id)
        use = "validation" if product_id in manifest.validation_ids else "–"
        use = "test" if product_id in manifest.test_ids else use
        scores = [score for score in results.scores if score.id == product_id]
        rows.append(
            [
                f"ID {product_id}",
                use,
                str(clips.training[product_id]),
                *([str(test.normal), str(test.anomalous)] if test else _label_counts(scores)),
            ]
        )
    # Of a shared search the test machines are no part of the search, which the counts are of.
    for key in results.space.test_keys if results.space.is_shared else ():
        scores = [score for score in results.scores if score.id == key]
        rows.append([f"ID {key}", "test", "–", *_label_counts(scores)])
    for machine, number in sorted(clips.others.items()):
        rows.append([machine, "outliers", str(number), "–", "–"])
    left_out = clips.left_out
    others = "the other validation machines" if results.space.is_shared else "other machine types"
    caption = (
        f"From {manifest.data}, fingerprint {manifest.fingerprint[:12]}. Training clips are "
        f"normal; those of {others} are the outliers. "
        f"{left_out or 'No'} defective file{'' if left_out == 1 else 's'} left out."
    )
    header = ["clips of", "use", "training", "test normal", "test anomalous"]
    return Table("Data", header, rows, caption, numbers=frozenset({2, 3, 4}))


def _label_counts(scores: list[FinalScore]) -> list[str]:
    """Return the numbers of normal and anomalous clips in the final test, or dashes."""
    if not scores:
        return ["–", "–"]
    return [str(sum(score.label == label for score in scores)) for label in (0, 1)]


def _command(results: Results) -> Facts:
    manifest = results.manifest
    rows = [
        ("Command", manifest.command or "–"),
        ("Space file", manifest.space_file),
        ("Seed", str(manifest.seed)),
        ("Begun", format_time(manifest.started)),
    ]
    if results.frozen is not None:
        rows.insert(1, ("The winner alone", again(results.machine, results.space)))
    return Facts("Command", rows, code=True)


def _environment(results: Results) -> Facts:
    options = results.space.fixed
    rows = list(results.manifest.versions.items())
    rows += [
        ("backbone", f"{options.backbone}, pretrained: {options.pretrained}"),
        ("epochs", str(options.epochs)),
        (
            "front end",
            f"{options.n_mels} mel bands, {options.f_min:g} to {options.f_max:g} Hz, window "
            f"{options.n_fft}, hop {options.hop} samples at {options.rate} Hz",
        ),
    ]
    return Facts("Environment", rows, "All options are in study.json.", code=True)


def _ledger(results: Results) -> Part:
    title = "Openings of the test IDs"
    openings = results.ledger.openings
    if not openings:
        return Absent(title, "The ledger is empty: the test IDs have not been opened.")
    rows = []
    for opening in openings:
        tested = f"trial {opening.winner.trial}, {settings(opening.winner)}"
        ids = ", ".join(opening.test_ids)
        rows.append(
            [
                *(str(opening.number), format_time(opening.time), ids, str(opening.clips)),
                *(tested, cell(opening.score), opening.command),
            ]
        )
    caption = (
        "One line for each opening; the first is the one to quote. After a choice by its result, "
        "a final test is a validation score."
    )
    if results.ledger.earlier:
        caption += (
            f" {count(results.ledger.earlier, 'opening')} by studies that --fresh deleted came "
            "before."
        )
    header = ["", "time", "IDs", "clips", "configuration", "score", "command"]
    return Table(title, header, rows, caption, numbers=frozenset({3, 5}))
