"""The speed suite measures what it says: both ways give the same, ratios come from turns, operations are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch


@pytest.mark.parametrize("name", ["Embed", "EmbedMean"])
def test_embeddings_agree(settings, name):
    from benchmarks.speed import embed

    part = getattr(embed, name)(settings)
    part.setup()
    part.tune()
    for side in part.sides():
        part.call(side)
    ours, theirs = part.found["ours"], part.found["reference"]
    assert part.units == 30 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5 < 1e-2 < np.abs(theirs - theirs[0]).max()
    assert "30 cells" in part.note(part.lines[0])


def test_tokens_of_the_loop_are_those_of_the_package(cells, tiny_model):
    import scflyformer as sf
    from benchmarks.speed.plain_loop import PlainLoop

    model = sf.models.load(tiny_model)
    sf.pp.tokenize(cells, model=tiny_model, gene_key="FBgn")
    for row, (tokens, values) in zip(cells.obsm["tokens"].toarray(), PlainLoop(model).tokens(cells), strict=True):
        np.testing.assert_array_equal(row[row > 0], tokens)
        assert (np.diff(values) <= 0).all()


def test_tuning_keeps_the_fastest_batch(settings):
    from benchmarks.speed.embed import Embed
    from benchmarks.speed.plain_loop import BATCHES

    part = Embed(settings)
    part.setup()
    part.tune()
    assert set(part.tried) == set(BATCHES) and part.tried[part.loop.batch] == max(part.tried.values())
    assert part.settings.batch == part.loop.batch, "processes that measure memory take the same"


def test_draws_are_kept_and_in_order(settings):
    drawn = settings.draw(20)
    again = settings.draw(20)
    order = list(settings.draw(0).obs_names)
    assert drawn.n_obs == 20 and list(drawn.obs_names) == list(again.obs_names)
    assert sorted(drawn.obs_names, key=order.index) == list(drawn.obs_names)


def test_tables_give_ratios_of_turns(settings, monkeypatch, capsys):
    from benchmarks.speed import runner
    from benchmarks.speed.part import Line, Part

    seconds = iter([2.0, 8.0, 4.0, 2.0, 1.0, 5.0])

    class Dummy(Part):
        what = "dishes"
        lines = (Line("washed"),)

        def setup(self):
            self.units = 8

        def ours(self):
            return 1

        reference = ours

        def rate(self, _):
            return self.units / next(seconds)

        def note(self, line):
            return f"{line.title} well"

    monkeypatch.setattr(runner, "peak_memory", lambda make, settings, side: {"ours": 12.0}.get(side, float("nan")))
    (line,) = runner.compare("kitchen", Dummy, settings, 3)
    # turns: ours 2 s, reference 8 s; backwards, reference 4 s, ours 2 s; ours 1 s, reference 5 s
    assert line["ratio"].tolist() == [4, 2, 5] and line["ours"].tolist() == [4, 4, 8]
    text = runner.comparison_table([line]).splitlines()
    assert text[-1] == "| kitchen | washed | dishes/s | 4 | 1.6 | 4.00 (2.00 to 5.00) | 12 | – | washed well |"
    table = runner.by_turn([line], ["ours", "reference", "ratio"])
    assert table["ratio"].tolist() == [4, 2, 5] and table["case"].tolist() == ["washed"] * 3
    assert "turn 3 of 3, dishes/s" in capsys.readouterr().err


def test_peak_is_beyond_what_was_there():
    from benchmarks.lib.processes import RESET
    from benchmarks.speed.memory import peak_beyond

    if not RESET.exists():
        pytest.skip("the high-water mark of memory can be set back on Linux alone")
    held = np.ones(2**24)  # 128 MB that do not count
    peak = peak_beyond(lambda: np.ones(2**23).sum())
    assert 60 < peak < 90 and held[0] == 1


def test_growth_changes_one_thing(settings):
    import scflyformer as sf
    from benchmarks.speed.growth import with_columns, with_tokens

    cells = settings.draw(20)
    wide = with_columns(cells, 3000)
    assert wide.shape == (20, 3000) and wide.X.nnz > cells.X.nnz
    assert (wide.X[:, : cells.n_vars] != cells.X).nnz == 0
    model = sf.models.load(settings.model)
    cut = with_tokens(cells, 5, 40, model)
    assert cut.n_obs == 5 and np.diff(cut.X.indptr).tolist() == [40] * 5
    most = np.sort(np.argsort(-np.diff(cells.X.indptr), kind="stable")[:5])
    for adata in (cut, cells):
        sf.pp.tokenize(adata, model=settings.model, gene_key="FBgn", max_len=40)
    assert (cut.obsm["tokens"] != cells.obsm["tokens"][most]).nnz <= 5  # ties at the cut alone


def test_operations_by_hand():
    from benchmarks.speed.flops import ATTENTION, CODE, HEAD, LAYERS, VALUES, Shape, needed, reference

    shape = Shape(width=2, feed_forward=3, n_layers=2, n_tokens=13, code_size=0, n_directions=0)
    # a token: four products of 2 × 2 and two of 2 × 3, twice as many operations: 32 + 24
    assert shape.layer == 56
    found = needed(shape, np.array([4]))
    # 5 tokens through one layer; of the last, keys and values (16 a token), the rest (40) for the cell token
    assert found[LAYERS] == 5 * 56 + 5 * 16 + 40
    # scores and weighted sums, 2 × 2 operations a pair: all pairs in the first layer, one row in the last
    assert found[ATTENTION] == 8 * 25 + 8 * 5
    assert found[VALUES] == 4 * 2 * 64 * 3 and found[CODE] == 0 and HEAD not in found
    plain = reference(shape, np.array([4, 2, 1]), batch=2)  # padded to 4, 4, 1
    assert plain[LAYERS] == pytest.approx(2 * 56 * (5 + 5 + 2) / 3)
    assert plain[ATTENTION] == pytest.approx(2 * 8 * (25 + 25 + 4) / 3)
    assert plain[HEAD] == pytest.approx((8 + 52) * (5 + 5 + 2) / 3)


def test_operations_as_torch_counts_them(settings):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    import scflyformer as sf
    from benchmarks.speed.flops import HEAD, Shape, needed, reference
    from benchmarks.speed.plain_loop import PlainLoop

    model = sf.models.load(settings.model)
    shape = Shape.of(model.config)
    length = 50
    tokens = torch.arange(3, 3 + length)[None]
    values = torch.ones(1, length)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.network().embed(tokens, values)
    assert counter.get_total_flops() == sum(needed(shape, np.array([length])).values())

    loop = PlainLoop(model)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loop._cell_batch([(np.arange(3, 3 + n), np.ones(n)) for n in (length, 20)], torch.ones(shape.n_tokens - 3))
    expected = reference(shape, np.array([length, 20]), batch=2)
    # the head of BertForMaskedLM reads the cell token as well, which `reference` counts
    assert counter.get_total_flops() == pytest.approx(2 * sum(expected.values())) and expected[HEAD] > 0


def test_limit_adds_the_time_of_parts():
    from benchmarks.speed.profile import limit

    assert limit({"a": 10.0, "b": 6.0, "c": 0.0}, {"a": 5.0, "b": 3.0}) == pytest.approx(1 / 4)


def test_machine_is_named():
    from benchmarks.speed.machine import cores, machine

    said = machine(2, "cpu")
    assert f"{cores()} cores" in said and torch.__version__ in said and said.endswith("2 threads")


def test_deletions_agree(settings):
    from benchmarks.speed.perturb import Perturb

    part = Perturb(settings)
    part.setup()
    for side in part.sides():
        part.call(side)
    assert part.units == 20 and "largest difference" in part.note(part.lines[0])
    np.testing.assert_allclose(part.found["ours"], part.found["reference"], atol=1e-6)


def test_screen_is_held_against_exact_deletions(settings):
    from benchmarks.speed.perturb import Screen

    part = Screen(settings)
    part.setup()
    for side in part.sides():
        part.call(side)
    shifts = part.found["ours"]
    assert len(shifts) == part.units > 200 and np.isfinite(shifts).any()
    said = part.note(part.lines[0])
    assert f"{part.units:,} deletions in 3 cells" in said and "genes" in said
    np.testing.assert_allclose(part.found["by_sample"], shifts, rtol=0.02, atol=1e-6, equal_nan=True)


def test_a_scan_has_the_groups_and_genes_it_is_to_have(settings):
    from benchmarks.speed.scan import Scan

    for axis, size in (("groups", 1), ("genes", 300)):
        part = Scan(settings, axis, size, few=True)
        part.setup()
        part.call("ours")
        results = part.adata.uns["perturb"]["results"]
        assert results["group"].nunique() == 1 and len(results)
        assert part.adata.n_vars == 300 or axis == "groups"


def test_copies_are_spread_over_ranks(tiny_model, cells):
    import scflyformer as sf
    from benchmarks.speed.deletions import spread_pairs
    from scflyformer.data import _adata
    from scflyformer.data._reading import Reading

    rows, _ = _adata.token_rows(cells[:3].copy(), sf.models.load(tiny_model), Reading(gene_key="FBgn"), progress=False)
    sets, (which, copies) = spread_pairs(rows, 5)
    assert np.bincount(which).tolist() == [5, 5, 5] and copies.tolist() == list(range(15))
    first = rows.tokens[: rows.indptr[1]]
    assert sets[0, 0] == first[0] and sets[4, 0] == first[-1] and np.isin(sets[:5, 0], first).all()


def test_training_is_timed_by_the_stopwatch(settings):
    from transformers import trainer

    from benchmarks.speed.plain_trainer import Stopwatch
    from benchmarks.speed.pretrain import Pretrain

    part = Pretrain(settings, few=True)
    part.setup()
    for side in ("ours", "reference"):
        Stopwatch.latest = None
        part.call(side)
        assert 0 < part.rate(0.0) < np.inf
    part.teardown()
    assert Stopwatch not in trainer.DEFAULT_CALLBACKS


def test_annotation_labels_the_other_libraries(settings):
    from benchmarks.speed.annotate import Annotate

    part = Annotate(settings)
    part.setup()
    part.tune()
    for side in part.sides():
        part.call(side)
    assert not set(part.reference_cells.obs["batch"]) & set(part.query.obs["batch"])
    assert len(part.found["ours"]) == len(part.found["reference"]) == part.query.n_obs
    assert "right labels" in part.note(part.lines[0])


def test_a_run_writes_both_tables(simulated, model_folder, tmp_path, monkeypatch, capsys):
    """Memory is measured in processes of their own."""
    import sys

    from benchmarks.speed import __main__ as speed

    asked = ["speed", "tokenize", "growth", "--quick", "--threads", str(torch.get_num_threads()), "--data"]
    asked += [str(simulated), "--model", str(model_folder), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", asked)
    speed.main()
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "speed.md").read_text()
    assert "| tokenize | beside a loop that ranks and nothing else | cells/s |" in text
    assert "| embed | tokens | 128 | 16 | 128 |" in text
    table = pd.read_csv(tmp_path / "out" / "growth.tsv", sep="\t")
    assert len(table) == 2 * 2 * 2 * 3 and table["memory_mb"].notna().all()


def test_models_are_timed_on_the_same_cells(tmp_path, monkeypatch, cells, tiny_model):
    from benchmarks.speed import models

    (tmp_path / "fly").mkdir()
    cells.write_h5ad(tmp_path / "fly" / "some.h5ad")
    monkeypatch.setattr(models, "SETS", ("fly/some",))
    names = [str(tiny_model), str(tiny_model)]
    head, _, row = models.speed(tmp_path, names, n_cells=20, n_turns=2).splitlines()
    assert head == "| cells | genes a cell | tiny | tiny |" and row.startswith("| some | ")
    assert float(row.split(" | ")[2].split(", ")[1].rstrip("×")) == pytest.approx(1)
