from meteora.observability.events import MAX_EVENTS, RecentEvents


def test_the_newest_comes_first() -> None:
    events = RecentEvents()
    events.note("one")
    events.note("two")
    assert [each.text for each in events.newest_first()] == ["two", "one"]


def test_no_more_than_so_many_are_kept() -> None:
    events = RecentEvents()
    for number in range(MAX_EVENTS + 5):
        events.note(str(number))
    texts = [each.text for each in events.newest_first()]
    assert (len(texts), texts[0], texts[-1]) == (MAX_EVENTS, str(MAX_EVENTS + 4), "5")
