"""`python -m finetune_trainer prepare|launch RUN.json`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns an exit code of finetune_api.exits."""
    parser = argparse.ArgumentParser(prog="finetune_trainer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("prepare", "check the data and turn it into tokens (CPU)"),
        ("launch", "train, measure and publish, on all processes of this pod"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("run_file", type=Path, metavar="RUN.json", help="the run file")
    parsed = parser.parse_args(arguments)
    # Imported when needed: both load torch, which takes seconds that --help need not wait for.
    if parsed.command == "prepare":
        from finetune_trainer.preparation.process import prepare_main

        return prepare_main(parsed.run_file)
    from finetune_trainer.launch.main import launch_main

    return launch_main(parsed.run_file)


if __name__ == "__main__":
    sys.exit(main())
