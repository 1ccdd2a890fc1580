"""The command that makes a shell complete the others."""

import click
from click.shell_completion import get_completion_class

from meteora.cli.exit_status import SUCCESS
from meteora.cli.help_text import examples

_COMPLETE_VARIABLE = "_METEORA_COMPLETE"
"""In which a shell tells click that it wants words and no command: click makes it of the program's name."""


@click.command(
    epilog=examples(
        'eval "$(meteora completion bash)"                                  in ~/.bashrc',
        'eval "$(meteora completion zsh)"                                   in ~/.zshrc, after compinit',
        "meteora completion fish > ~/.config/fish/completions/meteora.fish  once",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what makes SHELL complete commands, options and their values."""
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"click knows no {shell}", context)
    click.echo(complete(context.find_root().command, {}, "meteora", _COMPLETE_VARIABLE).source())
    return SUCCESS
