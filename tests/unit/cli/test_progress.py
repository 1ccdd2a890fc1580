import io

import pytest

from meteora.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_quiet", [True, False])
def test_it_is_shown_on_a_terminal_unless_it_is_to_be_quiet(is_quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("backing up", is_quiet=is_quiet) as show:
        show(1, 4)
        show(8, 6)
    assert ("backing up" in terminal.getvalue() and "100%" in terminal.getvalue()) is not is_quiet


@pytest.mark.parametrize("name", ["sys.stdout", "sys.stderr"])
def test_nothing_is_shown_where_nobody_looks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, file = Terminal(), io.StringIO()
    for each in ("sys.stdout", "sys.stderr"):
        monkeypatch.setattr(each, file if each == name else terminal)
    with progress("backing up", is_quiet=False) as show:
        show(1, 0)
    assert terminal.getvalue() + file.getvalue() == ""
