"""Tokens a second of the pretraining loop beside a plain `transformers.Trainer`, in turns within one run; peak memory.

The plain loop is what one would write first: `BertForMaskedLM`, cells in random order padded to the longest of the
batch, masks as `DataCollatorForLanguageModeling` draws them, the vocabulary projected on every token, float32. Both get
the same cells, shape of network, length, cells a batch (on average) and threads. Only genes count as tokens, never
padding. The time of a step is taken from the end of the step before, so data are part of it; ``wall`` is by the clock,
``cpu`` by the processor time of the process, which work of others on the machine disturbs less.

``python benchmarks/training_speed.py`` prints speeds, ratios and where a step's time goes; ``--memory`` instead what
memory `tl.pretrain` takes as the number of cells grows, each run in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
import transformers
from pretrain_fly import SETS, add_data_argument
from scipy import sparse
from transformers import BertConfig, BertForMaskedLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

import scflyformer as sf
from scflyformer.data import _adata
from scflyformer.genes._vocabulary import MASK, N_SPECIAL
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._options import PretrainOptions, RunOptions
from scflyformer.training._processes import Processes
from scflyformer.training._store import CountWriter, TokenStore
from scflyformer.training._trainer import train_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.genes._vocabulary import Vocabulary

WARM_UP = 2
"""Steps left out at the start of each turn."""
MEMORY_STEPS = 20


@dataclass(frozen=True)
class Loop:
    """Sizes that the loops share: of the network, of a batch, and the steps timed."""

    hidden_size: int = 192
    n_layers: int = 4
    max_len: int = 1024
    batch_tokens: int = 8192
    steps: int = 8
    device: str = "cpu"


class Stopwatch(TrainerCallback):
    """Notes when a step's parts end and how many genes the network was given by then."""

    latest: Stopwatch | None = None

    def __init__(self) -> None:
        Stopwatch.latest = self
        self.events: list[tuple[str, float, float, int]] = []
        self.tokens = 0

    def note(self, what: str) -> None:
        """Add an event."""
        self.events.append((what, time.perf_counter(), time.process_time(), self.tokens))

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note that the batch is there."""
        self.note("data")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note that the gradients are there."""
        self.note("gradients")

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note that the weights are moved."""
        self.note("weights")

    def speed(self) -> dict[str, float]:
        """Return tokens a second and the share of wall time of each part, from the end of the warm-up on."""
        ends = [place for place, event in enumerate(self.events) if event[0] == "weights"]
        events = self.events[ends[WARM_UP - 1] : ends[-1] + 1]
        (_, wall, cpu, tokens), (_, wall_end, cpu_end, tokens_end) = events[0], events[-1]
        spent: dict[str, float] = {}
        for before, event in pairwise(events):
            spent[event[0]] = spent.get(event[0], 0.0) + event[1] - before[1]
        seen = tokens_end - tokens
        return {"wall": seen / (wall_end - wall), "cpu": seen / (cpu_end - cpu)} | {
            part: seconds / (wall_end - wall) for part, seconds in spent.items()
        }


def count_tokens(network: torch.nn.Module) -> torch.nn.Module:
    """Let the stopwatch know of every gene that the network is given."""

    def count(_: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if network.training and Stopwatch.latest is not None:
            tokens = kwargs["attention_mask"].sum() if "attention_mask" in kwargs else args[0].numel()
            Stopwatch.latest.tokens += int(tokens)

    network.register_forward_pre_hook(count, with_kwargs=True)
    return network


def make_store(
    data: Path, folder: Path, vocabulary: Vocabulary, n_cells: int, sets: Sequence[str] = SETS
) -> TokenStore:
    """Write a token store of random cells, the same number of each set."""
    random = np.random.default_rng(0)
    panels = np.zeros((len(sets), vocabulary.n_genes), dtype=bool)
    with CountWriter(folder) as writer:
        for number, name in enumerate(sets):
            adata = ad.read_h5ad(data / "fly" / f"{name}.h5ad")
            index = _adata.match_genes(adata, vocabulary, gene_key="FBgn").index
            cells = np.sort(random.choice(adata.n_obs, min(n_cells // len(sets), adata.n_obs), replace=False))
            known = np.flatnonzero(index >= 0)
            counts = sparse.coo_matrix(adata.X[cells][:, known])
            shape = (len(cells), vocabulary.n_genes)
            place = index[known][counts.col]
            writer.append(sparse.csr_matrix((counts.data, (counts.row, place)), shape=shape), number)
            panels[number, index[known]] = True
        return writer.finish().rank(np.arange(vocabulary.n_genes), vocabulary.medians, panels)


class Cells(torch.utils.data.Dataset):
    """Token ids of a cell."""

    def __init__(self, store: TokenStore, max_len: int) -> None:
        self.store, self.max_len = store, max_len

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, cell: int) -> torch.Tensor:
        tokens = self.store.rows(np.array([cell])).tokens[: self.max_len]
        return torch.from_numpy(tokens.astype(np.int64))


def padded_and_masked(cells: list[torch.Tensor], n_tokens: int) -> dict[str, torch.Tensor]:
    """Pad to the longest; 15 % of tokens become targets, of which 80 % masked, 10 % random, 10 % kept."""
    truth = torch.nn.utils.rnn.pad_sequence(cells, batch_first=True)
    present = truth != 0
    chosen = (torch.rand(truth.shape) < 0.15) & present
    dice = torch.rand(truth.shape)
    tokens = torch.where(chosen & (dice < 0.8), MASK, truth)
    tokens = torch.where(chosen & (dice >= 0.9), torch.randint(N_SPECIAL, n_tokens, truth.shape), tokens)
    labels = truth.masked_fill(~chosen, -100)
    return {"input_ids": tokens, "attention_mask": present.long(), "labels": labels}


def plain(store: TokenStore, n_tokens: int, loop: Loop, folder: Path) -> None:
    """Train a while with the plain loop."""
    config = BertConfig(
        vocab_size=n_tokens, hidden_size=loop.hidden_size, num_hidden_layers=loop.n_layers, num_attention_heads=4,
        intermediate_size=2 * loop.hidden_size, max_position_embeddings=loop.max_len, hidden_dropout_prob=0.02,
        attention_probs_dropout_prob=0.0, type_vocab_size=1,
    )  # fmt: skip
    mean = np.minimum(store.lengths, loop.max_len).mean()
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=loop.steps + WARM_UP, learning_rate=1e-3, max_grad_norm=1.0,
        per_device_train_batch_size=max(round(loop.batch_tokens / mean), 1), use_cpu=loop.device == "cpu", report_to=[],
        disable_tqdm=True, save_strategy="no", logging_strategy="no", remove_unused_columns=False,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(
        count_tokens(BertForMaskedLM(config)), arguments, train_dataset=Cells(store, loop.max_len),
        data_collator=lambda cells: padded_and_masked(cells, n_tokens),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def ours(store: TokenStore, n_tokens: int, loop: Loop, folder: Path, objective: str, dtype: str) -> None:
    """Train as long with the package's loop; nothing is evaluated or saved before the last step."""
    shape = {"hidden_size": loop.hidden_size, "n_layers": loop.n_layers, "n_heads": 4}
    shape |= {"feed_forward": 2 * loop.hidden_size, "max_len": loop.max_len, "dropout": 0.02}
    shape |= {"code_size": PretrainOptions.code_size}
    network = count_tokens(CellBert(make_config(n_tokens, NetworkShape(objective=objective, **shape))))
    tokens = np.minimum(store.lengths, loop.max_len).sum()
    epochs = (loop.steps + WARM_UP) * loop.batch_tokens / tokens
    given = {"objective": objective, "epochs": epochs, "batch_tokens": loop.batch_tokens}
    asked = PretrainOptions(**shape | given | {"eval_steps": 10**6, "save_steps": 10**6})
    options = RunOptions.of(asked, {}, seed=0, dtype=dtype)
    cells = np.arange(len(store))
    processes = Processes(device=loop.device)
    train_network(network, store, cells, cells[:8], folder=folder, options=options, processes=processes)


def compare(args: argparse.Namespace) -> None:
    """Print speeds of every loop, in turns, and the ratios."""
    transformers.logging.set_verbosity_error()
    transformers.trainer.DEFAULT_CALLBACKS.append(Stopwatch)
    vocabulary = sf.models.load(args.vocabulary).vocabulary
    loops = {"plain, float32": None} | {
        f"{objective}, {dtype}": (objective, dtype) for objective in ("mlm", "cell") for dtype in args.dtypes
    }
    loop = Loop(args.hidden_size, args.n_layers, args.max_len, args.batch_tokens, args.steps)
    records = []
    with tempfile.TemporaryDirectory() as scratch:
        store = make_store(args.data, Path(scratch, "store"), vocabulary, args.cells)
        lengths = np.minimum(store.lengths, args.max_len)
        print(
            f"{len(store):,} cells of {', '.join(SETS)}; genes a cell {lengths.mean():.0f} (5 % below "
            f"{np.quantile(lengths, 0.05):.0f}, 5 % above {np.quantile(lengths, 0.95):.0f}); {args.n_layers} layers × "
            f"{args.hidden_size}, at most {args.max_len} genes, {vocabulary.n_tokens:,} tokens, "
            f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, transformers {transformers.__version__}",
            flush=True,
        )
        for repeat in range(args.repeats):
            for name, settings in loops.items():
                folder = Path(scratch, f"{repeat}-{name}")
                if settings is None:
                    plain(store, vocabulary.n_tokens, loop, folder)
                else:
                    ours(store, vocabulary.n_tokens, loop, folder, *settings)
                assert Stopwatch.latest is not None
                records.append({"turn": repeat + 1, "loop": name} | Stopwatch.latest.speed())
                shown = ", ".join(f"{key} {records[-1][key]:,.0f}" for key in ("wall", "cpu"))
                print(f"turn {repeat + 1}, {name}: genes a second {shown}", flush=True)
    table = pd.DataFrame(records)
    base = table[table["loop"] == "plain, float32"].set_index("turn")
    print("\n| loop | genes/s | × plain, wall (range) | × plain, cpu (range) | data | gradients | weights |")
    print("| --- " * 7 + "|")
    for name, rows in table.groupby("loop", sort=False):
        turns = rows.set_index("turn")
        ratios = [(turns[clock] / base[clock]) for clock in ("wall", "cpu")]
        told = [f"{ratio.median():.2f} ({ratio.min():.2f} to {ratio.max():.2f})" for ratio in ratios]
        parts = [f"{turns[part].median():.0%}" for part in ("data", "gradients", "weights")]
        print(f"| {name} | {turns['wall'].median():,.0f} | {' | '.join(told)} | {' | '.join(parts)} |")
        below = name != "plain, float32" and ratios[1].median() < 3
        if below and args.profile:
            print(f"{name} is below the 3 times asked for; a profile follows the table.", file=sys.stderr)
    if args.profile:
        profile(args, loop, vocabulary)


def profile(args: argparse.Namespace, loop: Loop, vocabulary: Vocabulary) -> None:
    """Print the operations that the package's loop spends its time in."""
    with tempfile.TemporaryDirectory() as scratch:
        store = make_store(args.data, Path(scratch, "store"), vocabulary, args.cells)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
            ours(store, vocabulary.n_tokens, loop, Path(scratch, "run"), "cell", args.dtypes[0])
        print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


def memory(args: argparse.Namespace) -> None:
    """Print peak memory of `tl.pretrain` on files of growing size, made of repeated cells of fca_head."""
    cells = ad.read_h5ad(args.data / "fly" / "fca_head.h5ad")
    print(
        "| cells | file, MB | peak resident, MB | of it not file-backed, MB | before the run, MB |\n"
        + "| --- " * 5
        + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for n in args.memory:
            file = Path(scratch, f"{n}.h5ad")
            chosen = np.random.default_rng(0).integers(0, cells.n_obs, n)
            obs = pd.DataFrame(index=np.arange(n).astype(str))
            ad.AnnData(cells.X[chosen], obs=obs, var=cells.var).write_h5ad(file)
            command = [sys.executable, __file__, "--one-file", str(file), "--cells", str(n)]
            command += ["--threads", str(torch.get_num_threads())]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            peak = json.loads(done.stdout.splitlines()[-1])
            numbers = [f"{peak[key]:,.0f}" for key in ("resident", "anonymous", "before")]
            print(f"| {n:,} | {file.stat().st_size / 1e6:,.0f} | {' | '.join(numbers)} |", flush=True)
            file.unlink()


def one_file(path: Path, n_cells: int) -> None:
    """Pretrain a few steps on a file and print the peak memory of this process, MB."""
    import scflyformer.training._trainer  # noqa: F401, what it imports is not what grows

    before, highest = _anonymous(), 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            epochs = MEMORY_STEPS * 16 / n_cells
            options = sf.tl.PretrainOptions(hidden_size=64, n_layers=1, max_len=512, batch_tokens=4096, epochs=epochs)
            with sf.settings.override(device="cpu"):
                out, validation = Path(scratch, "model"), 256 / n_cells
                sf.tl.pretrain(path, out=out, gene_key="FBgn", validation=validation, options=options)
    finally:
        done.set()
        watcher.join()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"resident": resident, "anonymous": highest, "before": before}))


def _anonymous() -> float:
    """Return the memory of this process that no file backs, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return float(line.split()[1]) / 1e3
    return float("nan")


def main() -> None:
    """Read arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--vocabulary", default="fly-tiny", help="model whose genes and medians hold (%(default)s)")
    parser.add_argument("--cells", type=int, default=4000)
    parser.add_argument("--hidden-size", type=int, default=Loop.hidden_size)
    parser.add_argument("--n-layers", type=int, default=Loop.n_layers)
    parser.add_argument("--max-len", type=int, default=Loop.max_len)
    parser.add_argument("--batch-tokens", type=int, default=Loop.batch_tokens)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="of the package's loop")
    parser.add_argument("--steps", type=int, default=Loop.steps, help="steps timed in a turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print the operations that take longest")
    parser.add_argument("--memory", nargs="*", type=int, metavar="CELLS", help="peak memory instead of speed")
    parser.add_argument("--one-file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sc.settings.verbosity = 0
    if args.one_file:
        one_file(args.one_file, args.cells)
    elif args.memory is not None:
        args.memory = args.memory or [5_000, 20_000, 80_000]
        memory(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
