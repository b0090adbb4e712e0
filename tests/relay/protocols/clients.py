"""What a strict client makes of each protocol. It refuses whatever breaks a rule, and gives what it was told.

Texts and calls as `told` has them, call by call in the order in which they began.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from siliconflow_async.relay.protocols import DONE, Part


def objects(parts: Iterable[Part]) -> list[Any]:
    """The JSON objects of parts, each of which is one line."""
    found = []
    for part in parts:
        assert b"\n" not in part.json
        if part is not DONE:
            found.append(json.loads(part.json))
    return found


class UIMessage:
    """The AI SDK's: what is in the message, and how it ended."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.found: dict[int, list[tuple[Any, ...]]] = {}
        self.ended: Any = None
        self.begun = False
        self._open: dict[str, list[Any]] = {}
        self._calls: dict[str, list[Any]] = {}
        self._step = -1
        self._in_step = False
        items: list[tuple[int, list[Any]]] = []
        for item in objects(parts):
            assert self.ended is None, item
            kind = item["type"]
            assert self.begun == (kind != "start")
            match kind.split("-") if not kind.startswith("tool") else [kind]:
                case ["start"]:
                    self.begun = True
                case ["start", "step"]:
                    assert not self._in_step
                    self._in_step = True
                    self._step += 1
                case ["finish", "step"]:
                    assert self._in_step
                    assert not self._open
                    self._in_step = False
                case ["text" | "reasoning" as what, "start"]:
                    assert item["id"] not in self._open
                    self._open[item["id"]] = [self._step, what, ""]
                    items.append((_choice(item), self._open[item["id"]]))
                case ["text" | "reasoning" as what, "delta"]:
                    assert self._open[item["id"]][1] == what
                    self._open[item["id"]][2] += item["delta"]
                case ["text" | "reasoning" as what, "end"]:
                    assert self._open.pop(item["id"])[1] == what
                case ["tool-input-start"]:
                    assert item["toolCallId"] not in self._calls
                    self._calls[item["toolCallId"]] = [self._step, "call", "", None, None]
                    items.append((_choice(item), self._calls[item["toolCallId"]]))
                case ["tool-input-delta"]:
                    self._calls[item["toolCallId"]][2] += item["inputTextDelta"]
                case ["tool-input-available" | "tool-input-error"]:
                    whole = self._calls[item["toolCallId"]][2]
                    given = item["input"]
                    assert given == (json.loads(whole or "{}") if kind.endswith("available") else whole)
                case ["tool-output-available" | "tool-output-error"]:
                    failed = kind.endswith("error")
                    self._calls[item["toolCallId"]][3:] = [item["errorText" if failed else "output"], failed]
                case ["data", "seam"]:
                    assert item["transient"]
                case ["finish"]:
                    assert not self._in_step
                    self.ended = item
                case ["error"] | ["abort"]:
                    self.ended = item
                case _:
                    raise AssertionError(item)
        assert not self._open
        for index, found in items:
            self.found.setdefault(index, []).append(tuple(found))


def _choice(item: Any) -> int:
    return int(item.get("providerMetadata", {}).get("siliconflow", {}).get("index", 0))


class Run:
    """AG-UI's: the messages of a run, and how it ended."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.found: dict[int, list[tuple[Any, ...]]] = {}
        self.ended: Any = None
        self.began: Any = None
        self.open_calls: set[str] = set()
        spans: set[str] = set()
        open_: dict[str, list[Any]] = {}
        calls: dict[str, list[Any]] = {}
        items: list[tuple[int, list[Any]]] = []
        for item in objects(parts):
            assert self.ended is None, item
            kind = item["type"]
            assert (self.began is not None) == (kind != "RUN_STARTED") or kind == "RUN_ERROR"
            match kind:
                case "RUN_STARTED":
                    self.began = item
                case "REASONING_START":
                    assert item["messageId"] not in spans
                    spans.add(item["messageId"])
                case "REASONING_END":
                    spans.remove(item["messageId"])
                    assert item["messageId"] not in open_
                case "TEXT_MESSAGE_START" | "REASONING_MESSAGE_START":
                    assert item["messageId"] not in open_
                    what = kind.partition("_")[0].lower()
                    assert item["role"] == ("assistant" if what == "text" else "reasoning")
                    open_[item["messageId"]] = [_round(item["messageId"]), what, ""]
                    items.append((_index(item["messageId"]), open_[item["messageId"]]))
                case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                    assert item["delta"]
                    open_[item["messageId"]][2] += item["delta"]
                case "TEXT_MESSAGE_END" | "REASONING_MESSAGE_END":
                    del open_[item["messageId"]]
                case "TOOL_CALL_START":
                    assert item["toolCallId"] not in self.open_calls
                    self.open_calls.add(item["toolCallId"])
                    if item["toolCallId"] not in calls:
                        parent = item["parentMessageId"]
                        calls[item["toolCallId"]] = [_round(parent), "call", "", None, None]
                        items.append((_index(parent), calls[item["toolCallId"]]))
                case "TOOL_CALL_ARGS":
                    assert item["toolCallId"] in self.open_calls
                    calls[item["toolCallId"]][2] += item["delta"]
                case "TOOL_CALL_END":
                    self.open_calls.remove(item["toolCallId"])
                case "TOOL_CALL_RESULT":
                    calls[item["toolCallId"]][3:] = [item["content"], "metadata" in item]
                case "CUSTOM":
                    assert item["name"] == "seam"
                case "RUN_FINISHED":
                    assert not self.open_calls
                    assert (item["threadId"], item["runId"]) == (self.began["threadId"], self.began["runId"])
                    self.ended = item
                case "RUN_ERROR":
                    self.ended = item
                case _:
                    raise AssertionError(item)
        assert not spans
        assert not open_
        for index, found in items:
            self.found.setdefault(index, []).append(tuple(found))


def _round(identity: str) -> int:
    return int(identity.split("-")[1])


def _index(identity: str) -> int:
    parts = identity.partition("-reasoning")[0].split("-")
    return int(parts[2]) if len(parts) > 2 else 0


class Completion:
    """OpenAI's: each choice's texts and calls in their order, and how it ended."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self.found: dict[int, list[tuple[Any, ...]]] = {}
        self.reasons: dict[int, str | None] = {}
        self.usage: Any = None
        self.error: Any = None
        parts = list(parts)
        self.is_done = bool(parts) and parts[-1] is DONE
        found: dict[int, list[list[Any]]] = {}
        calls: dict[tuple[int, int], list[Any]] = {}
        for chunk in objects(parts):
            if "error" in chunk:
                self.error = chunk["error"]
                continue
            assert chunk["object"] == "chat.completion.chunk"
            self.usage = chunk.get("usage", self.usage)
            for choice in chunk["choices"]:
                index, delta = choice["index"], choice["delta"]
                items = found.setdefault(index, [])
                if choice["finish_reason"] is not None:
                    self.reasons[index] = choice["finish_reason"]
                for name, kind in (("content", "text"), ("reasoning_content", "reasoning")):
                    if delta.get(name):
                        if not items or items[-1][0] != kind:
                            items.append([kind, ""])
                        items[-1][1] += delta[name]
                for fragment in delta.get("tool_calls", ()):
                    place = (index, fragment["index"])
                    if place not in calls:
                        assert fragment["id"]
                        assert fragment["type"] == "function"
                        assert fragment["index"] == len([key for key in calls if key[0] == index])
                        calls[place] = ["call", ""]
                        items.append(calls[place])
                    calls[place][1] += fragment["function"]["arguments"]
        self.found = {index: [tuple(item) for item in items] for index, items in found.items()}
