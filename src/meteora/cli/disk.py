"""The command that looks at the disk of a node that is stopped."""

from pathlib import Path

import click

from meteora.cli.connection import write_line
from meteora.cli.exit_status import FAILED, SUCCESS
from meteora.cli.help_text import examples


@click.command(epilog=examples("meteora verify -d /tmp/meteora/1/data"))
@click.option(
    "-d",
    "--data-directory",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("./data"),
    show_default=True,
    help="Where the node keeps its data.",
)
def verify(data_directory: Path) -> int:
    """Read all that a stopped node has on disk, and say what is wrong.

    One line for each damage, with its file, index or key; then one with what was read. The exit status is 0 if all is
    whole, and 1 if anything is damaged. Nothing is changed.
    """
    from meteora.server.verification import verify as read_all  # noqa: PLC0415  takes long to load

    read = read_all(data_directory, write_line)
    what = f"{read.entries} entries, {read.keys} keys and {read.sessions} sessions are readable"
    write_line(f"{what}: {'all is whole' if not read.damages else f'{read.damages} damages'}")
    return FAILED if read.damages else SUCCESS
