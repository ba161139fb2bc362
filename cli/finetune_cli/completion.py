"""`finetune completion`: scripts made from the parser itself, so that they cannot fall behind."""

import argparse
from collections.abc import Iterator

from finetune_cli.codes import Code

_BASH = """\
_finetune() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
}}
complete -o default -F _finetune finetune
"""


def main(options: argparse.Namespace) -> Code:
    """Print the script for a shell."""
    from finetune_cli.main import build_parser

    commands = dict(_commands(build_parser()))
    cases = "\n".join(
        f'    {name}) COMPREPLY=($(compgen -W "{" ".join(flags)}" -- "$word")) ;;'
        for name, flags in commands.items()
    )
    if options.shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    print(_BASH.format(commands=" ".join(commands), cases=cases), end="")
    return Code.OK


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Each command with its long options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                flags = [flag for a in command._actions for flag in a.option_strings]
                yield name, [flag for flag in flags if flag.startswith("--")]
