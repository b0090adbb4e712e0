"""What a Broadcast no longer keeps event by event can be had from any number to any other, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async import ContentDelta, Finished, ReasoningDelta, Started, ToolCallDelta
from siliconflow_async.relay.history import History

INDEXES = st.integers(0, 1)
EVENTS = st.one_of(
    st.builds(ContentDelta, INDEXES, st.text(min_size=1, max_size=3)),
    st.builds(ReasoningDelta, INDEXES, st.text(min_size=1, max_size=3)),
    st.builds(ToolCallDelta, INDEXES, INDEXES, st.sampled_from(["", "a"]), st.just("f"), st.text(max_size=3)),
    st.builds(Started, INDEXES, st.just("id"), st.just("m")),
    st.builds(Finished, INDEXES, st.just("stop")),
)


def letters(event: object) -> list[object]:
    """An event taken apart, so that joined deltas are the same as those that they are made of."""
    match event:
        case ToolCallDelta(index, call, identity, name, arguments):
            return [("call", index, call, identity, name), *((index, call, letter) for letter in arguments)]
        case ContentDelta(index, text) | ReasoningDelta(index, text):
            return [(type(event), index, letter) for letter in text]
        case _:
            return [event]


def apart(events: list[object]) -> list[object]:
    """The letters of events in order, with what is known of a call told but once until something else comes."""
    found: list[object] = []
    known: object = None
    for event in events:
        for item in letters(event):
            if isinstance(item, tuple) and item[0] == "call":
                if item == known:
                    continue
                known = item
            elif not (isinstance(item, tuple) and len(item) == 3 and isinstance(event, ToolCallDelta)):
                known = None
            found.append(item)
    return found


@given(st.lists(EVENTS, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_any_part_of_it_is_what_was_put(events: list[object], after: int, until: int) -> None:
    history = History()
    for number, event in enumerate(events, 1):
        history.add(event, number)  # type: ignore[arg-type]
    assert apart(list(history.between(after, until))) == apart(events[after:until])


def test_deltas_that_follow_each_other_become_few_events() -> None:
    """Of no more than 64 Ki characters each, which no client refuses."""
    history = History()
    for number in range(100):
        history.add(ContentDelta(0, "x" * 2000), number + 1)
    texts = [event.text for event in history.between(0, 100) if isinstance(event, ContentDelta)]
    assert "".join(texts) == "x" * 200_000
    assert len(texts) == 4
    assert max(map(len, texts)) <= 65_536
