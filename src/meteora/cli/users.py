"""The commands for users and roles, as etcdctl names them. A password never stands in a command line."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meteora.cli.connection import asked_for, read_password, with_client, write_line
from meteora.cli.exit_status import SUCCESS
from meteora.cli.help_text import examples

if TYPE_CHECKING:
    from meteora.client import Client, Permission

_ACCESS = click.Choice(["read", "write", "readwrite"])

_NEW_PASSWORD = click.option(
    "--new-password-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The first line of it is the new password; - is stdin. Without this, you are asked.",
)
_PREFIX = click.option("--prefix", is_flag=True, help="For all keys that begin with KEY.")
_FROM_KEY = click.option("--from-key", is_flag=True, help="For all keys from KEY on.")


@click.group()
def auth() -> None:
    """Say whether users have to log in."""


@auth.command(epilog=examples("meteora auth enable"))
@with_client
def enable(client: "Client") -> int:
    """Let only those in who have logged in.

    There must be a user root, with a password and the role root. Each member takes part in this from the moment at
    which it has applied it, which is usually some milliseconds later.
    """
    client.enable_users()
    write_line("Users are enabled. From now on every request needs one, as in: meteora user list --user root")
    return SUCCESS


@auth.command(epilog=examples("meteora auth disable --user root"))
@with_client
def disable(client: "Client") -> int:
    """Let everybody do everything. Users and roles are kept."""
    client.disable_users()
    write_line("OK")
    return SUCCESS


@auth.command("status", epilog=examples("meteora auth status"))
@with_client
def auth_status(client: "Client") -> int:
    """Show whether users are enabled."""
    status = client.users_status()
    write_line(f"{'enabled' if status.enabled else 'disabled'}, revision {status.revision}")
    return SUCCESS


@click.group()
def user() -> None:
    """Look at users and change them."""


@user.command("add", epilog=examples("meteora user add alice", "meteora user add alice --new-password-file FILE"))
@click.argument("name")
@_NEW_PASSWORD
@click.option("--no-password", is_flag=True, help="The user can't log in until it gets a password.")
@with_client
def user_add(client: "Client", name: str, new_password_file: Path | None, no_password: bool) -> int:
    """Add user NAME."""
    client.add_user(name, "" if no_password else _new_password(name, new_password_file))
    write_line("OK")
    return SUCCESS


@user.command("delete", epilog=examples("meteora user delete alice"))
@click.argument("name")
@with_client
def user_delete(client: "Client", name: str) -> int:
    """Remove user NAME. What it is logged in with ends at once."""
    client.delete_user(name)
    write_line("OK")
    return SUCCESS


@user.command("list", epilog=examples("meteora user list"))
@with_client
def user_list(client: "Client") -> int:
    """Print the names of all users."""
    for name in client.users():
        write_line(name)
    return SUCCESS


@user.command("get", epilog=examples("meteora user get alice"))
@click.argument("name")
@with_client
def user_get(client: "Client", name: str) -> int:
    """Print the roles of user NAME."""
    for role_name in client.roles_of(name):
        write_line(role_name)
    return SUCCESS


@user.command("passwd", epilog=examples("meteora user passwd alice"))
@click.argument("name")
@_NEW_PASSWORD
@with_client
def user_passwd(client: "Client", name: str, new_password_file: Path | None) -> int:
    """Give user NAME another password. What it is logged in with ends at once."""
    client.change_password(name, _new_password(name, new_password_file))
    write_line("OK")
    return SUCCESS


@user.command("grant-role", epilog=examples("meteora user grant-role alice reader"))
@click.argument("name")
@click.argument("role_name", metavar="ROLE")
@with_client
def user_grant_role(client: "Client", name: str, role_name: str) -> int:
    """Give user NAME a ROLE."""
    client.grant_role(name, role_name)
    write_line("OK")
    return SUCCESS


@user.command("revoke-role", epilog=examples("meteora user revoke-role alice reader"))
@click.argument("name")
@click.argument("role_name", metavar="ROLE")
@with_client
def user_revoke_role(client: "Client", name: str, role_name: str) -> int:
    """Take a ROLE from user NAME."""
    client.revoke_role(name, role_name)
    write_line("OK")
    return SUCCESS


@click.group()
def role() -> None:
    """Look at roles and change them."""


@role.command("add", epilog=examples("meteora role add reader"))
@click.argument("name")
@with_client
def role_add(client: "Client", name: str) -> int:
    """Add role NAME, which permits nothing yet."""
    client.add_role(name)
    write_line("OK")
    return SUCCESS


@role.command("delete", epilog=examples("meteora role delete reader"))
@click.argument("name")
@with_client
def role_delete(client: "Client", name: str) -> int:
    """Remove role NAME, from all users who have it, too."""
    client.delete_role(name)
    write_line("OK")
    return SUCCESS


@role.command("list", epilog=examples("meteora role list"))
@with_client
def role_list(client: "Client") -> int:
    """Print the names of all roles."""
    for name in client.roles():
        write_line(name)
    return SUCCESS


@role.command("get", epilog=examples("meteora role get reader"))
@click.argument("name")
@with_client
def role_get(client: "Client", name: str) -> int:
    """Print what role NAME permits."""
    for permission in client.permissions_of(name):
        write_line(_words_of(permission))
    return SUCCESS


@role.command(
    "grant-permission",
    epilog=examples(
        "meteora role grant-permission reader read greeting",
        "meteora role grant-permission reader read --prefix users/",
        "meteora role grant-permission reader readwrite a b",
    ),
)
@click.argument("name")
@click.argument("access", type=_ACCESS)
@click.argument("key")
@click.argument("range_end", default="")
@_PREFIX
@_FROM_KEY
@with_client
def role_grant_permission(
    client: "Client", name: str, access: str, key: str, *, range_end: str, prefix: bool, from_key: bool
) -> int:
    """Let role NAME read or write KEY, or the keys from KEY up to and without RANGE_END."""
    from meteora.client import Permission  # noqa: PLC0415  as in `with_client`

    start, end = _range(key, range_end, prefix=prefix, from_key=from_key)
    client.grant_permission(name, Permission(access, start, end))  # type: ignore[arg-type]  # one of the choices
    write_line("OK")
    return SUCCESS


@role.command(
    "revoke-permission",
    epilog=examples(
        "meteora role revoke-permission reader greeting", "meteora role revoke-permission reader --prefix users/"
    ),
)
@click.argument("name")
@click.argument("key")
@click.argument("range_end", default="")
@_PREFIX
@_FROM_KEY
@with_client
def role_revoke_permission(
    client: "Client", name: str, key: str, *, range_end: str, prefix: bool, from_key: bool
) -> int:
    """Take from role NAME what it was granted on exactly these keys."""
    client.revoke_permission(name, *_range(key, range_end, prefix=prefix, from_key=from_key))
    write_line("OK")
    return SUCCESS


def _range(key: str, range_end: str, *, prefix: bool, from_key: bool) -> tuple[bytes, bytes]:
    from meteora.client import end_of_prefix  # noqa: PLC0415  as in `with_client`

    if prefix + from_key + bool(range_end) > 1:
        raise click.UsageError("RANGE_END, --prefix and --from-key exclude one another.")
    start = os.fsencode(key)
    if prefix:
        return start or b"\x00", end_of_prefix(start)
    return start, b"\x00" if from_key else os.fsencode(range_end)


def _words_of(permission: "Permission") -> str:
    from meteora.client import end_of_prefix  # noqa: PLC0415  as in `with_client`

    key, end = permission.key, permission.range_end
    if not end:
        keys = _text(key)
    elif end == b"\x00":
        keys = f"from {_text(key)} on"
    elif end == end_of_prefix(key):
        keys = f"prefix {_text(key)}"
    else:
        keys = f"from {_text(key)} up to and without {_text(end)}"
    return f"{permission.access} {keys}"


def _text(key: bytes) -> str:
    try:
        return repr(key.decode())
    except UnicodeDecodeError:
        return repr(key)


def _new_password(name: str, file: Path | None) -> str:
    if file is not None:
        return read_password(file)
    password = asked_for(f"New password of {name}")
    if sys.stdin.isatty() and password != asked_for("Again"):
        raise click.ClickException("these are two different passwords")
    return password
