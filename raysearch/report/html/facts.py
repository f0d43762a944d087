"""What it takes to repeat the search and to believe it: data, command, versions, ledger."""

from typing import Any

from raysearch.config import id_order
from raysearch.report.html.parts import Absent, Facts, Part, Section, Table
from raysearch.report.html.results import Results


def facts_section(results: Results) -> Section:
    """Data, command, environment and the openings of the test IDs."""
    text = "What it takes to repeat this search, and to believe it."
    parts = [_data(results), _command(results), _environment(results), _ledger(results)]
    return Section("facts", "Data, environment, ledger", text, parts)


def _data(results: Results) -> Part:
    manifest = results.manifest
    clips = manifest.clips
    if clips is None:
        reason = (
            f"The recordings lie in {manifest.data}. This run is from before their numbers were "
            "noted; the same `raysearch run` command notes them."
        )
        return Absent("Data", reason)
    rows = []
    for identity in sorted(clips.training, key=id_order):
        test = clips.validation.get(identity)
        use = "validation" if identity in manifest.validation_ids else "–"
        use = "test" if identity in manifest.test_ids else use
        heard = [one for one in results.scores if one.id == identity]
        rows.append(
            [
                f"ID {identity}",
                use,
                str(clips.training[identity]),
                *([str(test.normal), str(test.anomalous)] if test else _kinds(heard)),
            ]
        )
    for machine, number in sorted(clips.others.items()):
        rows.append([machine, "outliers", str(number), "–", "–"])
    left = clips.left_out
    caption = (
        f"From {manifest.data}, fingerprint {manifest.fingerprint[:12]}. Training clips are "
        "normal; those of other machine types are the outliers. "
        f"{left or 'No'} defective file{'' if left == 1 else 's'} left out."
    )
    header = ["clips of", "use", "training", "test normal", "test anomalous"]
    return Table("Data", header, rows, caption, numbers=frozenset({2, 3, 4}))


def _kinds(heard: list[Any]) -> list[str]:
    """Normal and anomalous test clips that the final test heard, if it did."""
    if not heard:
        return ["–", "–"]
    return [str(sum(one.label == label for one in heard)) for label in (0, 1)]


def _command(results: Results) -> Facts:
    manifest = results.manifest
    rows = [
        ("Command", manifest.command or "–"),
        ("Space file", manifest.space_file),
        ("Seed", str(manifest.seed)),
        ("Begun", moment(manifest.started)),
    ]
    if results.held is not None:
        again = f"raysearch run --machine {results.machine} --space best_config.yaml --name again"
        rows.insert(1, ("The winner alone", again))
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
    if not results.openings:
        return Absent(title, "The ledger is empty: the test IDs have not been opened.")
    rows = []
    for number, line in enumerate(results.openings, start=1):
        ids = ", ".join(line["test_ids"])
        rows.append([str(number), moment(line["time"]), ids, str(line["clips"]), line["command"]])
    caption = (
        "One line for each time. After the first, whoever chose anything by its result has made "
        "it a validation score."
    )
    header = ["", "time", "IDs", "clips", "command"]
    return Table(title, header, rows, caption, numbers=frozenset({3}))


def moment(text: str) -> str:
    """A time as files have it, for people."""
    return text.replace("T", " ").replace("+00:00", " UTC")
