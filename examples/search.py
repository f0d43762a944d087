"""Search the best detector for a machine type from a program, and score recordings with it.

    raysearch data demo demo/data --machine valve --machine fan --machine pump
    python examples/search.py demo/data valve --space search_spaces/demo.yaml

The same command again resumes the search, or loads the result of a finished one.
"""

import argparse
from pathlib import Path

import raysearch
from raysearch.study.records import Record


class BestScore(raysearch.SearchCallback):
    """Printer of each new best validation score."""

    def __init__(self) -> None:
        self.score = 0.0

    def on_trial_end(self, study: str, record: Record) -> None:
        """Print the score of a trial if it is the best so far."""
        score = record.best.val_score if record.best else None
        if score is not None and score > self.score:
            self.score = score
            print(f"{study}: trial {record.proposal.number} has validation score {score:.4f}")


def main() -> None:
    """Search, print the winner and its final test, score the machine's recordings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the recordings")
    parser.add_argument("machine", help="machine type, such as valve")
    parser.add_argument("--space", type=Path, default=Path("search_spaces/default.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the results")
    arguments = parser.parse_args()

    study = raysearch.run(
        arguments.data,
        machine=arguments.machine,
        space=arguments.space,
        out=arguments.out,
        callbacks=[BestScore()],
        quiet=True,
    )
    assert study.winner is not None
    print(f"winner: {study.winner.configuration} with {study.winner.inlier}")
    print(study.final_test)
    print(f"report: {study.report()}")

    detector = study.detector()
    clips = sorted((arguments.data / "dev_data" / arguments.machine / "source_test").glob("*.wav"))
    for clip, score in zip(clips, detector.score(clips), strict=True):
        print(f"{clip.name}: {score.score:.3f}{' anomalous' if score.anomalous else ''}")


if __name__ == "__main__":
    main()
