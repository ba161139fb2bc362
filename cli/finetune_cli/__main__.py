"""Lets `python -m finetune_cli` stand for `finetune`."""

import sys

from finetune_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
