"""Parts of scoring: embeddings of whole clips, and the sweep over inlier models."""

from collections.abc import Iterator

from bench_parts.duel import Duel
from bench_parts.plan import Bench
from bench_parts.recipe import Trainer
from bench_parts.recipe_scoring import embed_clips
from bench_parts.rows import Figure

from raysearch.training.embedding import Embedder
from raysearch.training.network import new_encoder


def scoring(bench: Bench) -> Iterator[Duel]:
    """Compare the embedding of test clips, by all of their overlapping segments."""
    files, part, segments = bench.test_files(), bench.test_part, bench.options.segments
    trainer = Trainer(bench.setting(bench.plan.sizes.batch_sizes[0]))
    encoder = new_encoder(bench.options, len(bench.data.ids), pretrained=False)
    embedder = Embedder(encoder.to(bench.device).eval(), bench.options, bench.data.ids)
    clips = part.clips.tolist()

    def recipe() -> None:
        embed_clips(files, trainer, segments)

    def raysearch() -> None:
        embedder.clips(part, clips)

    remark = f"{segments} segments of a clip; the store was decoded before"
    yield Duel("scoring", "clips", len(clips), recipe, raysearch, remark)


def sweep(bench: Bench) -> Iterator[Duel | Figure]:
    """Compare the fits and scores of all inlier models."""
    from bench_parts.sweep import Sizes, auc_difference, sweep_duel

    sizes = Sizes(**bench.plan.sweep)
    yield sweep_duel(sizes)
    yield Figure("sweep, AUC", "points apart", auc_difference(sizes), most=0.1)
