"""The command line: parses arguments, then imports only what the chosen command needs."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from finetune_cli.codes import Code, UsageError

_DESCRIPTION = "Fine-tune language models from one FineTuneJob, on a cluster or on this machine."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    command = import_module(f"finetune_cli.{options.module}")
    try:
        return int(command.main(options))
    except UsageError as error:
        print(f"{program()}: {error}", file=sys.stderr)
        return Code.USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.FAILED


def program() -> str:
    """What the user typed: `finetune`, or `kubectl finetune` for the plugin."""
    plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    return "kubectl finetune" if plugin else "finetune"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `module` of its result names the module that runs it."""
    parser = argparse.ArgumentParser(prog=program(), description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_lint(commands)
    _add_render(commands)
    _add_run(commands)
    _add_prepare(commands)
    _add_status(commands)
    _add_watch(commands)
    _add_completion(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("finetune-operator")
    except metadata.PackageNotFoundError:
        return "unknown"


_Commands = argparse._SubParsersAction  # argparse has no public name for it


def _command(
    commands: "_Commands[argparse.ArgumentParser]", name: str, module: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(module=module)
    return parser


def _add_lint(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "lint", "lint", "Check jobs without a cluster.")
    parser.add_argument("files", nargs="+", type=Path, metavar="JOB.yaml")


def _add_render(commands: "_Commands[argparse.ArgumentParser]") -> None:
    summary = "Print the objects that the operator would create for a job."
    parser = _command(commands, "render", "render", summary)
    parser.add_argument("file", type=Path, metavar="JOB.yaml")
    parser.add_argument("--image", help="image of the pods")
    parser.add_argument("-n", "--namespace", help="namespace, where the file names none")
    parser.add_argument(
        "--backend",
        choices=["PyTorchJob", "Job"],
        default="PyTorchJob",
        help="what runs the pods; Job where the cluster has no training-operator",
    )


def _add_run(commands: "_Commands[argparse.ArgumentParser]") -> None:
    summary = "Run a job on this machine, with the trainer that pods run."
    parser = _command(commands, "run", "run", summary)
    parser.set_defaults(only_prepare=False)
    _add_local_options(parser)
    add = parser.add_argument
    add("--processes", type=int, metavar="N", help="processes; workers.processesPerNode if absent")


def _add_prepare(commands: "_Commands[argparse.ArgumentParser]") -> None:
    summary = "Check and prepare a job's data on this machine, and write the data report."
    parser = _command(commands, "prepare", "run", summary)
    parser.set_defaults(only_prepare=True, processes=None)
    _add_local_options(parser)


def _add_local_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="JOB.yaml")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of all results")
    add("--model", metavar="PATH_OR_URI", help="in place of model.uri")
    add("--reward-model", metavar="PATH_OR_URI", help="in place of rewardModel.uri")
    repeated = "in place of the addresses in {}; once for each of them"
    for option, field in (
        ("--train", "data.train"),
        ("--evaluation", "data.evaluation"),
        ("--replay", "cpt.replay"),
        ("--domain-text", "data.domainText"),
    ):
        add(option, action="append", metavar="PATH_OR_URI", help=repeated.format(field))


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-n", "--namespace", help="namespace; kubectl's own when absent")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--kubeconfig", help="path of the kubeconfig")


def _add_status(commands: "_Commands[argparse.ArgumentParser]") -> None:
    _add_job_options(_command(commands, "status", "status", "Show a job on the cluster."))


def _add_watch(commands: "_Commands[argparse.ArgumentParser]") -> None:
    parser = _command(commands, "watch", "watch", "Follow a job on the cluster until it ends.")
    _add_job_options(parser)
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="then exit with 3")


def _add_completion(commands: "_Commands[argparse.ArgumentParser]") -> None:
    summary = "Print a completion script for a shell."
    parser = _command(commands, "completion", "completion", summary)
    parser.add_argument("shell", choices=("bash", "zsh"))
