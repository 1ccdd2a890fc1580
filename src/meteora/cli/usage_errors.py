"""How a value that can't be is spoken of: by the name of the option or variable that it came from."""

import click
from click.core import ParameterSource


def words_of(error: click.UsageError) -> str:
    """What click says of a usage error, but a value from the environment is called by the name of its variable."""
    option = error.param if isinstance(error, click.BadParameter) else None
    if option is not None and error.ctx is not None:
        source = error.ctx.get_parameter_source(option.name or "")
        if source is ParameterSource.ENVIRONMENT:
            return f"Invalid value for {option.envvar}: {error.message}"
    return error.format_message()
