"""The processes of a run: one, or those that torchrun started. The first reads and writes; all of them train."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
_PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which may have an atlas to read; that one has died is seen at once."""


class OtherProcessError(RuntimeError):
    """Raised in a process that ends because another one failed."""


@dataclass(frozen=True)
class Processes:
    """What a process knows of those that run with it.

    Attributes
    ----------
    rank
        Its number, from 0.
    count
        How many there are.
    group
        What they talk through, `None` where there is but one.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    def gather(self, value: T) -> list[T]:
        """Return the value of each process, in order; every process must call this.

        Raises
        ------
        OtherProcessError
            When a process is gone.
        """
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
        """Call ``make`` in every process, and return its value there.

        Raises
        ------
        OtherProcessError
            When it failed in another process; where it failed, its own error is raised.
        """
        try:
            value, error = make(), None
        except Exception as caught:
            value, error = None, caught
        told = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        failed = [f"process {rank} of {self.count} failed: {text}" for rank, text in enumerate(told) if text]
        if failed:
            raise OtherProcessError(f"Process {self.rank} stops, because {failed[0]}")
        return value  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """Call ``make`` in the first process while the others wait, and return its value in all.

        Raises
        ------
        OtherProcessError
            When it failed, in the other processes.
        """
        value = self.each(make if self.rank == 0 else lambda: None)
        return self.gather(value)[0]  # type: ignore[return-value]


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started for ``device``: gloo on CPUs, nccl on CUDA; all but the first are quiet.

    Raises
    ------
    ValueError
        When there are several and ``device`` is neither, or there are more of them than CUDA devices.
    """
    launched = {"RANK", "WORLD_SIZE"} <= set(os.environ)
    if not (distributed.is_available() and (launched or distributed.is_initialized())):
        yield Processes()
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
    found = Processes(
        distributed.get_rank(), distributed.get_world_size(), distributed.new_group(backend="gloo", timeout=_PATIENCE)
    )
    with _quiet(found.rank > 0):
        yield found
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
