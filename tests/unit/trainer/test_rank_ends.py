"""How a rank's end is told where it did not come to one in order."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.trainer.engine_support import REPOSITORY

PATHS = f"{REPOSITORY / 'api'}{os.pathsep}{REPOSITORY / 'trainer_image'}"
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS}
LAUNCHER = """
import subprocess, sys, time
rank = "from finetune_trainer.stages import rank; import time; rank._die_with_launcher(); "
rank += "print('ready', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", rank], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_rank_ends_with_a_launcher_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launcher:
        assert launcher.stdout is not None
        child = int(launcher.stdout.readline())
        assert launcher.stdout.readline() == "ready\n"

        os.killpg(launcher.pid, signal.SIGKILL)

    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_nothing_slow_is_left_on_for_determinism() -> None:
    script = (
        "import torch; from finetune_trainer.engine.determinism import make_deterministic; "
        "make_deterministic(); assert torch.are_deterministic_algorithms_enabled(); "
        "assert not torch.utils.deterministic.fill_uninitialized_memory; "
        "assert not torch.backends.cuda.cudnn_sdp_enabled()"
    )
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True)
