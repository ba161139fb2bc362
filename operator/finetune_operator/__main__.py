"""`python -m finetune_operator` runs the operator, in a pod or with KUBECONFIG outside."""

import asyncio
import sys

from finetune_operator.app import run_operator
from finetune_operator.config import Config
from finetune_operator.log import set_up_logging


def main() -> int:
    """Exit code of the process."""
    try:
        config = Config.from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    set_up_logging(config.log_level)
    asyncio.run(run_operator(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
