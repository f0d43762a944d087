"""Machine types of a shared search: the winner's AUC and pAUC on each of them."""

from raysearch.report.html.parts import Absent, Part, Section, Table, draw
from raysearch.report.html.winner import clip_parts, training_part
from raysearch.scoring.metrics import harmonic_mean
from raysearch.study.results import Results


def machines_section(results: Results) -> Section:
    """Return the section with the validation machines of a shared search."""
    space = results.space
    text = (
        "One configuration for all: a trial trains an encoder for each validation machine "
        f"({', '.join(space.validation_machines)}), and its score is the harmonic mean of all AUCs "
        "and pAUCs. The search reads no recording of another machine type, nor do these charts. "
        + _test_machines(results)
    )
    parts = [draw("Validation machines", lambda: _table(results))]
    if results.winner is not None:
        parts.append(training_part(results))
        parts += [
            part for machine in space.validation_machines for part in clip_parts(results, machine)
        ]
    return Section("machines", "The machine types", text, parts)


def _test_machines(results: Results) -> str:
    machines = results.space.test_machines
    if not machines:
        return "There are no test machines."
    names = ", ".join(machines)
    return (
        f"The frozen configuration is then trained on the test machines ({names}), each against "
        "the validation machines; their detectors are in machines/."
    )


def _table(results: Results) -> Part:
    title, winner = "Validation machines", results.winner
    record = None if winner is None else results.record(winner.trial)
    rows = record.rows if record is not None else ()
    row = next((row for row in rows if winner is not None and row.spec == winner.inlier), None)
    if record is None or row is None or not row.auc:
        return Absent(title, "There is no winner yet.")
    cells = [[key, f"{row.auc[key]:.4f}", f"{row.pauc[key]:.4f}"] for key in row.auc]
    means = [harmonic_mean(values.values()) for values in (row.auc, row.pauc)]
    caption = f"Machine type and product ID, with the encoders of trial {record.proposal.number}."
    return Table(
        title,
        ["", "AUC", "pAUC"],
        [*cells, ["harmonic mean", *(f"{mean:.4f}" for mean in means)]],
        caption,
        numbers=frozenset({1, 2}),
    )
