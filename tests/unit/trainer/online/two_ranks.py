"""Updates on recorded answers, as one of two ranks or alone.

`python -m tests.unit.trainer.online.two_ranks FOLDER` with the variables of the elastic agent; rank
0 writes the parameters into FOLDER.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from finetune_trainer.checkpoint.state import capture
from finetune_trainer.engine.distributed import Comm
from finetune_trainer.engine.interrupt import StopFlag
from finetune_trainer.online import engine as online
from finetune_trainer.online.rollouts import Rollouts, roll_out
from finetune_trainer.pulse import Pulse
from safetensors.torch import save_file

from tests.unit.trainer.engine_support import REPOSITORY
from tests.unit.trainer.online.online_support import grpo_engine, make_policy, ppo_engine

METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "grpo": (grpo_engine, {"generations": 3, "iterations": 2, "beta": "0.1"}),
    "ppo": (
        ppo_engine,
        {"batch": 5, "epochs_per_batch": 2, "minibatches": 2, "kl_coefficient": "0.2"},
    ),
}
STEPS = 2


def recorded(_: Comm, __: Any, *more: Any, **named: Any) -> Rollouts:
    """Answers of a model that is no longer the policy, the same on every rank."""
    return roll_out(Comm.alone(), make_policy(7), *more, **named)


def train(comm: Comm, name: str) -> dict[str, torch.Tensor]:
    """The state after some steps on such answers."""
    engine, options = METHODS[name]
    made = engine(make_policy(0), comm=comm, steps=STEPS, **options)
    with patch.object(online, "roll_out", recorded):
        while not made.finished:
            made.run_step()
    return capture(made)


def train_on_two_ranks(folder: Path) -> None:
    """Let two processes train with every method."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = os.pathsep.join(str(REPOSITORY / part) for part in (".", "api", "trainer_image"))
    command = [sys.executable, "-m", "tests.unit.trainer.online.two_ranks", str(folder)]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **group, "PYTHONPATH": paths, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    assert [rank.wait(timeout=200) for rank in ranks] == [0, 0]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    comm = Comm.from_environment(StopFlag(), Pulse())
    for name in METHODS:
        tensors = train(comm, name)
        if comm.is_first:
            save_file(tensors, folder / f"{name}.safetensors")
    comm.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
