"""What the ranks of a run say to each other.

Two channels: the process group (NCCL on accelerators, gloo on CPUs) carries gradients and
tensors; a gloo group and the key-value store carry small facts, so that a question to the other
ranks never waits for a device.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist
from torch._C._distributed_c10d import Store

from finetune_trainer.arrays import Float32, Int64
from finetune_trainer.engine.interrupt import StopFlag, interrupted
from finetune_trainer.pulse import Pulse

_COLLECTIVE_MARGIN = timedelta(minutes=5)
"""A collective that takes this much longer than a step may means a peer that hangs; the launchers,
which know more, speak before."""
_STOP_KEY = "finetune/stop"
_POLL_SECONDS = 0.1
_PEER_PHRASES = (
    "gloo",
    "nccl",
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "broken pipe",
    "timed out waiting",
    "tcpstore",
)


class Comm:
    """This rank's place among all, and how it talks to them."""

    def __init__(
        self,
        *,
        rank: int,
        world_size: int,
        local_rank: int,
        device: torch.device,
        stop: StopFlag,
        pulse: Pulse,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.local_rank = local_rank
        self.device = device
        self.stop = stop
        self.pulse = pulse
        self._store: Store | None = None
        self._control: dist.ProcessGroup | None = None

    @classmethod
    def alone(cls, stop: StopFlag | None = None) -> "Comm":
        """One process without a group, on the CPU."""
        return cls(
            rank=0,
            world_size=1,
            local_rank=0,
            device=torch.device("cpu"),
            stop=stop or StopFlag(),
            pulse=Pulse(),
        )

    @classmethod
    def from_environment(
        cls, stop: StopFlag, pulse: Pulse, step_deadline: timedelta = timedelta(minutes=30)
    ) -> "Comm":
        """Join the group that the elastic agent's variables describe.

        Args:
            pulse: of this rank.
            step_deadline: longest time of a step.
        """
        local_rank = int(os.environ["LOCAL_RANK"])
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
        comm = cls(
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=local_rank,
            device=device,
            stop=stop,
            pulse=pulse,
        )
        comm._join(step_deadline + _COLLECTIVE_MARGIN)
        return comm

    def _join(self, timeout: timedelta) -> None:
        on_device = self.device.type == "cuda"
        dist.init_process_group(
            "nccl" if on_device else "gloo",
            timeout=timeout,
            device_id=self.device if on_device else None,
        )
        self._control = dist.new_group(backend="gloo", timeout=timeout)
        self._store = dist.distributed_c10d._get_default_store()

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that writes and speaks."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks, computed in float64 on the host."""
        if self._control is None:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self._control)
        return [float(value) for value in tensor]

    def agree_to_stop(self, values: Sequence[float] = ()) -> tuple[bool, list[float]]:
        """Whether any rank was asked to stop, and the sums of `values`, in one message.

        Collective: all ranks get the same answer at the same point of their work.
        """
        *sums, asked = self.sum([*values, float(self.stop.is_set)])
        self.pulse.beat()
        return asked > 0, sums

    def sum_array(self, values: Float32) -> Float32:
        """The sum of every rank's `values`, which have one shape."""
        if self._control is None:
            return values
        tensor = torch.from_numpy(values.copy())
        dist.all_reduce(tensor, group=self._control)
        return tensor.numpy()

    def gather_array(self, values: Int64) -> list[Int64]:
        """Every rank's `values` [n], of any length, in the order of ranks; collective."""
        if self._control is None:
            return [values]
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([len(values)]), group=self._control)
        mine = torch.zeros(max(1, *(int(size) for size in sizes)), dtype=torch.int64)
        mine[: len(values)] = torch.from_numpy(values)
        found = [torch.zeros_like(mine) for _ in sizes]
        dist.all_gather(found, mine, group=self._control)
        return [each[: int(size)].numpy() for each, size in zip(found, sizes, strict=True)]

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite `tensors` with rank 0's."""
        if self._control is not None and self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def share(self, key: str, value: Any = None) -> Any:
        """Rank 0's JSON `value` for `key`; the others wait for it, or for a request to stop.

        Raises InterruptedRunError.
        """
        if self.is_first:
            self.put(key, value)
            return value
        return self.get(key)

    def put(self, key: str, value: Any) -> None:
        """Tell all ranks `value` under `key`; each key is used once."""
        if self._store is not None:
            self._store.set(f"finetune/{key}", json.dumps(value))

    def get(self, key: str) -> Any:
        """Wait for a value under `key`. Raises InterruptedRunError when asked to stop."""
        assert self._store is not None
        while not self._store.check([f"finetune/{key}"]):
            self.pulse.rest()
            self.look_for_stop()
            time.sleep(_POLL_SECONDS)
        self.pulse.beat()
        return json.loads(self._store.get(f"finetune/{key}"))

    def gather(self, key: str, value: Any = None) -> list[Any]:
        """Every rank's JSON `value` for `key`, in the order of ranks; each key is used once.

        Waits for all of them, or for a request to stop: raises InterruptedRunError.
        """
        if self._store is None:
            return [value]
        self.put(f"{key}/{self.rank}", value)
        return [self.get(f"{key}/{rank}") for rank in range(self.world_size)]

    def await_all(self, key: str) -> None:
        """Wait until all ranks are here, as after work that takes one pod much longer than another:
        the launchers do not watch who waits. Each key is used once.

        Raises InterruptedRunError when asked to stop.
        """
        self.gather(key, value=True)

    def check_stop(self) -> None:
        """Between pieces of work outside of steps: raise InterruptedRunError if any rank was
        asked to stop."""
        self.pulse.beat()
        self.look_for_stop()

    def look_for_stop(self) -> None:
        """The same in the middle of a piece of work, which does not get on by being looked at."""
        if self.stop_is_known():
            raise interrupted("no step was under way")

    @contextmanager
    def cut_short_by_stop(self) -> Iterator[None]:
        """Work of a library that takes long, does not look for a request to stop, and leaves
        nothing that is kept: a request ends it where it stands.

        Raises InterruptedRunError, whatever the library made of its end.
        """
        self.check_stop()
        try:
            with self.stop.cutting_short():
                yield
        finally:
            self.check_stop()

    def stop_is_known(self) -> bool:
        """Whether this rank, or one that said so through the store, was asked to stop."""
        if self.stop.is_set:
            if self._store is not None:
                self._store.set(_STOP_KEY, "1")
            return True
        return self._store is not None and self._store.check([_STOP_KEY])

    def meet(self) -> None:
        """Wait until all ranks are here."""
        if self._control is not None:
            dist.barrier(group=self._control)

    def leave(self) -> None:
        """Tear the groups down, if there are any."""
        if self._control is not None:
            dist.destroy_process_group()


def is_peer_loss(error: BaseException) -> bool:
    """Whether `error` says that another rank, or the way to it, is gone."""
    if isinstance(error, dist.DistBackendError | dist.DistNetworkError | dist.DistStoreError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PEER_PHRASES)
