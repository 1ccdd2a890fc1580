"""How help texts are laid out: click wraps every paragraph that it is not told to leave alone."""


def listing(title: str, *lines: str) -> str:
    """A titled paragraph whose lines stay as they are."""
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


def examples(*lines: str) -> str:
    """Command lines to try."""
    return listing("Examples", *lines)
