"""The processes of a run: one, or those that torchrun started. The first reads and writes; all of them train."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
_PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which may have an atlas to read; that one has died is seen at once."""
_CUDA_READERS = 4


class OtherProcessError(RuntimeError):
    """Raised in a process that ends because another one failed."""


@dataclass(frozen=True)
class Processes:
    """What a process knows of itself and of those that run with it.

    Attributes
    ----------
    rank, count
        Its number, from 0, and how many there are.
    group
        What they talk through, `None` where there is but one.
    device
        Where it trains: ``"cpu"``, ``"cuda"`` or ``"mps"``.
    num_workers
        Processes that read batches ahead for it; ``"auto"``: 4 on CUDA, else 0.
    """

    rank: int = 0
    count: int = 1
    group: Any = None
    device: str = "cpu"
    num_workers: int | Literal["auto"] = "auto"

    @property
    def n_readers(self) -> int:
        """Processes that read batches ahead for this one."""
        if self.num_workers == "auto":
            return _CUDA_READERS if self.device == "cuda" else 0
        return self.num_workers

    def gather(self, value: T) -> list[T]:
        """Return the value of each process, in order; every process must call this."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.count
        try:
            distributed.all_gather_object(values, value, group=self.group)
        except RuntimeError as error:
            raise OtherProcessError(
                f"Process {self.rank} of {self.count} lost the others: one of them has ended; what it printed says "
                "why. Start the same command again: a run goes on from its last checkpoint."
            ) from error
        return values

    def each(self, make: Callable[[], T]) -> T:
        """Call ``make`` in every process, and return its value there; where one failed, all do."""
        try:
            value, error = make(), None
        except Exception as caught:
            value, error = None, caught
        errors = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        failed = [f"process {rank} of {self.count} failed: {text}" for rank, text in enumerate(errors) if text]
        if failed:
            raise OtherProcessError(f"Process {self.rank} stops, because {failed[0]}")
        return value  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """Call ``make`` in the first process while the others wait, and return its value in all."""
        value = self.each(make if self.rank == 0 else lambda: None)
        return self.gather(value)[0]  # type: ignore[return-value]


@contextmanager
def processes(device: torch.device, num_workers: int | Literal["auto"] = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun started, by gloo on CPUs, by nccl on CUDA; all but the first are quiet."""
    launched = {"RANK", "WORLD_SIZE"} <= set(os.environ)
    if not (distributed.is_available() and (launched or distributed.is_initialized())):
        yield Processes(device=device.type, num_workers=num_workers)
        return
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"Several processes train on device='cpu' or 'cuda', not on {device.type!r}.")
    if device.type == "cuda":
        local, n_devices = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= n_devices:
            raise ValueError(
                f"Process {local} of this machine has no CUDA device of its own: there are {n_devices}. "
                f"Start at most {n_devices} a machine (torchrun --nproc-per-node)."
            )
        torch.cuda.set_device(local)
    ours = not distributed.is_initialized()
    if ours:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    joined = Processes(
        distributed.get_rank(),
        distributed.get_world_size(),
        distributed.new_group(backend="gloo", timeout=_PATIENCE),
        device.type,
        num_workers,
    )
    with _quiet(joined.rank > 0):
        yield joined
    if ours:  # after an error others may still wait for this process, and end with it
        distributed.destroy_process_group()


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    from scanpy import settings

    before = settings.verbosity
    settings.verbosity = 0
    try:
        yield
    finally:
        settings.verbosity = before
