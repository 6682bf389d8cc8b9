"""``sifmake completion``: print a script that lets a shell complete commands, options and image names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples

if TYPE_CHECKING:
    import argparse

_NAMES = ("bash", "zsh", "fish")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.epilog = examples(
        "sifmake completion bash > ~/.local/share/bash-completion/completions/sifmake",
        "sifmake completion zsh > ~/.zfunc/_sifmake           # with ~/.zfunc in fpath",
        "sifmake completion fish > ~/.config/fish/completions/sifmake.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=_NAMES, help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from sifmake.cli.command_table import read_commands, read_global_options
    from sifmake.cli.completion import completion_script
    from sifmake.printing import print_output

    print_output(completion_script(args.shell, read_commands(), read_global_options()))
    return 0
