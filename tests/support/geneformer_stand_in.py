"""A stand-in for the package geneformer: its classes by the arguments that benchmarks pass, done in the plainest way.

Tests copy it to a folder as ``geneformer/__init__.py``. Ranked cells are kept as JSON, longest cell first when read.
"""

import json
import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import torch
from transformers import BertForMaskedLM


def _opened(folder, dataset):
    bert = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_hidden_states=True).eval()
    cells = json.loads(Path(dataset).read_text())
    return bert, sorted(cells, key=lambda cell: -len(cell["input_ids"]))


def _means(bert, cells):
    with torch.no_grad():
        found = bert(input_ids=torch.tensor(cells, device="cuda"))  # by name, as the package has it
    return found.hidden_states[-2].mean(1)


class TranscriptomeTokenizer:
    def __init__(self, custom_attr_name_dict=None, nproc=1, model_input_size=4096, special_token=True,
                 gene_median_file=None, token_dictionary_file=None, gene_mapping_file=None):  # fmt: skip
        assert not special_token
        self.columns, self.size = custom_attr_name_dict, model_input_size
        paths = (gene_median_file, token_dictionary_file, gene_mapping_file)
        self.medians, self.tokens, self.mapping = (pickle.loads(Path(path).read_bytes()) for path in paths)

    def tokenize_data(self, data_directory, output_directory, output_prefix, file_format="loom"):
        (path,) = Path(data_directory).glob(f"*.{file_format}")
        print("printed on stdout, as the package does")
        adata = ad.read_h5ad(path)
        known = [place for place, name in enumerate(adata.var["ensembl_id"]) if self.mapping.get(name) in self.tokens]
        names = adata.var["ensembl_id"].to_numpy()[known]
        tokens = np.array([self.tokens[name] for name in names])
        # a cell's total, which the package divides by, changes no order, but would break ties by rounding
        assert (adata.obs["n_counts"] > 0).all()
        scaled = adata.X.toarray()[:, known] / np.array([self.medians[name] for name in names], dtype=np.float32)
        cells = []
        for row, (_, obs) in zip(scaled, adata.obs.iterrows(), strict=True):
            order = np.lexsort((tokens, -row))[: min((row > 0).sum(), self.size)]
            cells.append({"input_ids": tokens[order].tolist(), **{new: obs[old] for old, new in self.columns.items()}})
        Path(output_directory, f"{output_prefix}.dataset").write_text(json.dumps(cells))


class EmbExtractor:
    def __init__(self, model_type="Pretrained", num_classes=0, emb_mode="cls", max_ncells=1000, emb_layer=-1,
                 emb_label=None, forward_batch_size=100, nproc=4, token_dictionary_file=None):  # fmt: skip
        assert emb_mode == "cell" and max_ncells is None and emb_layer == -1
        self.labels = emb_label

    def extract_embs(self, model_directory, input_data_file, output_directory, output_prefix):
        bert, cells = _opened(model_directory, input_data_file)
        found = pd.DataFrame(np.concatenate([_means(bert, [cell["input_ids"]]).numpy() for cell in cells]))
        for label in self.labels:
            found[label] = [cell[label] for cell in cells]
        found.to_csv(Path(output_directory, f"{output_prefix}.csv"))


class InSilicoPerturber:
    def __init__(self, perturb_type="delete", genes_to_perturb="all", model_type="Pretrained", num_classes=0,
                 emb_mode="cls", cell_states_to_model=None, state_embs_dict=None, max_ncells=None, emb_layer=-1,
                 forward_batch_size=100, nproc=4, token_dictionary_file=None):  # fmt: skip
        assert (perturb_type, genes_to_perturb, emb_mode) == ("delete", "all", "cell")
        self.states, self.goals = cell_states_to_model, state_embs_dict

    def perturb_data(self, model_directory, input_data_file, output_directory, output_prefix):
        bert, cells = _opened(model_directory, input_data_file)
        goal = self.goals[self.states["goal_state"]].to("cuda")  # by name as well
        for number, cell in enumerate(cells):
            assert cell[self.states["state_key"]] == self.states["start_state"]
            tokens = cell["input_ids"]
            without = [[each for each in tokens if each != token] for token in tokens]
            start = torch.cosine_similarity(_means(bert, [tokens]), goal[None])
            moved = torch.cosine_similarity(_means(bert, without), goal[None]) - start
            found = {(token, "cell_emb"): [float(shift)] for token, shift in zip(tokens, moved, strict=True)}
            path = Path(output_directory, f"in_silico_delete_{output_prefix}_dict_cell_embs_{number}batch-1_raw.pickle")
            path.write_bytes(pickle.dumps({self.states["goal_state"]: found, self.states["start_state"]: {}}))
