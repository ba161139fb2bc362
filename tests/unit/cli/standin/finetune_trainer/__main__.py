"""`python -m finetune_trainer STEP RUN.json`, without any training.

FINETUNE_STANDIN names a JSON file: {STEP: {"message": ..., "code": ..., "progress": ...,
"waits": ...}}. With `waits` it ends only at SIGTERM, or never when that is "forever".
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

step, run_file = sys.argv[1:]
run = json.loads(Path(run_file).read_text())
part: dict[str, Any] = json.loads(Path(os.environ["FINETUNE_STANDIN"]).read_text())[step]
work = Path(os.environ["FINETUNE_WORK_DIR"])
assert os.environ["FINETUNE_PROGRESS_PORT"] == "0"


def end(_number: int = 0, _frame: object = None) -> None:
    """Leave the message and go."""
    if "message" in part:
        Path(os.environ["FINETUNE_TERMINATION_LOG"]).write_text(json.dumps(part["message"]))
    sys.exit(part.get("code", 0))


signal.signal(signal.SIGTERM, signal.SIG_IGN if part.get("waits") == "forever" else end)
print(f"stand-in {step} for {run['job']['name']} attempt {run['attempt']}", flush=True)
if "progress" in part:
    (work / "progress.json").write_text(json.dumps(part["progress"]))
while part.get("waits"):
    time.sleep(0.05)
time.sleep(part.get("seconds", 0))
end()
