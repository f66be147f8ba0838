"""Rows of a model's weights come back gene by gene, or an error where the model has no such weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from flat_options import pretrain

import scflyformer as sf


@pytest.fixture(scope="module")
def without_decoder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A model of `objective="mlm"` over the tiny model's genes."""
    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    vocabulary = sf.models.load(tiny_model).vocabulary
    shape = NetworkShape(
        objective="mlm", hidden_size=16, n_layers=1, n_heads=2, feed_forward=32, max_len=20, dropout=0.0
    )
    folder = tmp_path_factory.mktemp("models") / "order"
    with torch.random.fork_rng(devices=[]):
        network = CellBert(make_config(vocabulary.n_tokens, shape))
    save_folder(folder, network, vocabulary, metrics={}, provenance={"note": "random"}, card="# order\n")
    return folder


@pytest.mark.parametrize(
    ("part", "tensor", "skipped"),
    [
        ("decoder", "profile_decoder.weight", 0),
        ("directions", "profile_encoder.directions", 0),
        ("contrast", "profile_encoder.contrast_directions", 0),
        ("token", "bert.embeddings.word_embeddings.weight", 3),
    ],
)
def test_rows_are_those_of_the_file(part: str, tensor: str, skipped: int) -> None:
    """Without the special tokens, which have a row only among the tokens."""
    model = sf.models.load("fly-tiny")
    weights = model.tensors(tensor)[""][skipped:].astype(np.float32)
    found = sf.get.gene_embeddings("fly-tiny", part=part)
    assert found.index.tolist() == model.vocabulary.gene_ids.tolist() and found.index.name == "gene_id"
    assert list(found)[:2] == ["symbol", f"{part}_0"] and list(found)[-1] == f"{part}_{weights.shape[1] - 1}"
    assert found["symbol"].tolist() == model.vocabulary.names.tolist()
    assert set(found.dtypes.iloc[1:]) == {np.dtype("float32")}
    np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(), weights)


def test_a_copy_of_a_name_a_folder_or_a_model(tiny_model: Path) -> None:
    """Also of the model of the settings; changing the table leaves the model as it was."""
    model = sf.models.load(tiny_model)
    found = sf.get.gene_embeddings(model)
    with sf.settings.override(model=tiny_model):
        assert sf.get.gene_embeddings().equals(found)
    assert sf.get.gene_embeddings(tiny_model).equals(found)
    found.iloc[:, 1:] = 0.0
    assert sf.get.gene_embeddings(model).iloc[:, 1:].to_numpy().any()


def test_a_changed_network_gives_its_own_weights(tiny_model: Path) -> None:
    import copy

    model = sf.models.load(tiny_model)
    network = copy.deepcopy(model.network())
    with torch.no_grad():
        network.profile_decoder.weight.fill_(2.0)
    assert (sf.get.gene_embeddings(model.with_network(network)).iloc[:, 1:] == 2).all(axis=None)


def test_parts_that_a_model_lacks(tiny_model: Path, without_decoder: Path) -> None:
    with pytest.raises(ValueError, match=r"'order' has no decoder of expression.*objective='cell'.*part='token'"):
        sf.get.gene_embeddings(without_decoder)
    assert sf.get.gene_embeddings(without_decoder, part="token").shape == (60, 17)
    for part in ("directions", "contrast"):
        for model, name in ((tiny_model, "tiny"), (without_decoder, "order")):
            with pytest.raises(ValueError, match=f"'{name}' has no .*code_size"):
                sf.get.gene_embeddings(model, part=part)
    with pytest.raises(ValueError, match="part is 'tokens'; expected one of 'decoder', 'directions'"):
        sf.get.gene_embeddings(tiny_model, part="tokens")
    with pytest.raises(ValueError, match="No model is named 'fli'"):
        sf.get.gene_embeddings("fli")


@pytest.mark.filterwarnings("ignore")
def test_another_species_goes_by_the_names_it_was_trained_with(many_cells, tmp_path: Path) -> None:
    many_cells.var_names = [f"AGAP{number:06d}" for number in range(many_cells.n_vars)]
    pretrain(
        many_cells, out=tmp_path / "mosquito", hidden_size=16, n_layers=1, n_heads=2, code_size=8, n_directions=8,
        code_epochs=1, epochs=1, warmup_steps=1, validation=0.2, min_cells=2,
    )  # fmt: skip
    found = sf.get.gene_embeddings(tmp_path / "mosquito", part="directions")
    assert found.index.str.startswith("AGAP").all() and found["symbol"].tolist() == found.index.tolist()
    assert found.shape == (many_cells.n_vars, 9)
