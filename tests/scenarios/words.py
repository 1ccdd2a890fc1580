"""How a command is written: words, and options of the form name=value."""

from meteora.raft import Change, ChangeKind, ConfChange, Entry, EntryKind, Transition

_SIGNS = {"+n": ChangeKind.ADD_VOTER, "-n": ChangeKind.REMOVE, "learner+n": ChangeKind.ADD_LEARNER}


class Words:
    """The words of one command after its name, taken one by one; `done` makes sure that none was overlooked."""

    def __init__(self, words: list[str]) -> None:
        self._options = dict(word.split("=", 1) for word in words if "=" in word)
        self._words = [word for word in words if "=" not in word]

    def word(self) -> str:
        """The next word."""
        return self._words.pop(0)

    def rest(self) -> list[str]:
        """All the words that are left."""
        words, self._words = self._words, []
        return words

    def number(self, default: int | None = None) -> int:
        """The next word, a number; `default` if there are no more words and there is a default."""
        return default if default is not None and not self._words else int(self.word())

    def numbers(self) -> list[int]:
        """All the words that are left, numbers."""
        return [int(word) for word in self.rest()]

    def option(self, name: str, default: str = "") -> str:
        """The value of an option."""
        return self._options.pop(name, default)

    def numeric_option(self, name: str, default: int = 0) -> int:
        """The value of an option, a number."""
        return int(self.option(name, str(default)))

    def options(self) -> dict[str, int]:
        """All the options that are left, numbers."""
        options, self._options = self._options, {}
        return {name: int(value) for name, value in options.items()}

    def done(self) -> None:
        """Raises `ValueError` if a word is left that nobody asked for."""
        left = [*self._words, *self._options]
        if left:
            raise ValueError(f"nobody knows what to do with {' '.join(left)}")


def listed_numbers(text: str) -> list[int]:
    """`1,2,3`; an empty list if there is nothing."""
    return [int(number) for number in text.split(",") if number]


def listed_entries(text: str) -> list[Entry]:
    """`1@1,2@1:x,3@1!+n4&-n1`: index, term and, after a colon, data, or, after `!`, a change of the members."""
    return [_entry(word) for word in text.split(",") if word]


def _entry(text: str) -> Entry:
    place, has_change, change = text.partition("!")
    place, _, data = place.partition(":")
    index, term = place.split("@")
    if has_change:
        return Entry(int(term), int(index), conf_change(change.split("&"), "").encode(), EntryKind.CONF_CHANGE)
    return Entry(int(term), int(index), data.encode())


def conf_change(words: list[str], joint: str) -> ConfChange:
    """`+n4`, `-n1 learner+n5`, with `joint` implicit, explicit or nothing; `leave` alone."""
    if words == ["leave"]:
        return ConfChange()
    transition = Transition[f"JOINT_{joint.upper()}"] if joint else Transition.AUTO
    return ConfChange(tuple(_change(word) for word in words), transition)


def _change(word: str) -> Change:
    sign = word.rstrip("0123456789")
    return Change(_SIGNS[sign], int(word.removeprefix(sign)))
