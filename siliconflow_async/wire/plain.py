"""What every struct of an answer can do, and what it carries beside its fields.

Whatever encodes an answer sees what `to_dict` gives: its fields, but for those that are None. So every field holds what
any encoder can write, and what the library adds to an answer is no field, but a slot beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

import msgspec
from msgspec import Struct, field

__all__ = ["Beside", "Headed", "Plain", "Timing", "nothing", "told"]

T = TypeVar("T")


def told(value: T) -> T:
    """Return a default that is encoded too: msgspec leaves out a default itself, but not what a factory returned."""
    default: T = field(default_factory=lambda: value)
    return default


def nothing() -> list[Any]:
    # `list` itself would be left out as a default.
    return []


class Plain(Struct, gc=False, omit_defaults=True):
    """A struct of an answer: every encoder writes what `to_dict` gives."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists under the wire's names; None and `raw` are left out."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_json(self) -> str:
        """Return `to_dict()` as JSON text."""
        return msgspec.json.encode(self).decode()

    def model_dump(self, **_: Any) -> dict[str, Any]:
        """`to_dict()`, as the openai package names it; whatever the keywords, None is left out."""
        return self.to_dict()

    def model_dump_json(self, *, indent: int | None = None, **_: Any) -> str:
        """`to_json()`, as the openai package names it."""
        return self.to_json() if indent is None else msgspec.json.format(self.to_json(), indent=indent)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"


class Beside:
    """What a struct carries beside its fields: in its copies and pickles, but neither encoded nor compared."""

    __slots__ = ("_raw",)
    _names: ClassVar[tuple[str, ...]] = ("raw",)

    @property
    def raw(self) -> bytes | None:
        """The bytes that it was decoded from; None if it was made otherwise."""
        return getattr(self, "_raw", None)

    @raw.setter
    def raw(self, value: bytes | None) -> None:
        self._raw = value

    def __copy__(self) -> Self:
        twin: Self = super().__copy__()  # type: ignore[misc]  # the struct's
        twin.__setstate__(self._state())
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        made: Any = super().__reduce__()
        return (*made, self._state())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}


class Timing(Plain):
    """Seconds from the call: to the first token (None for whole answers), and to the end.

    `attempts` is how many requests were made for the answer, retries and continuations included.
    """

    first_token: float | None = None
    total: float | None = None
    attempts: int | None = None


class Headed(Beside):
    """What a whole answer carries beside its fields.

    `trace_id` and `headers` may be set to a function, which is called when they are first asked for.
    """

    __slots__ = ("_headers", "_timing", "_trace_id")
    _names: ClassVar[tuple[str, ...]] = ("raw", "trace_id", "headers", "timing")
    _headers: Any
    _trace_id: Any

    @property
    def trace_id(self) -> str | None:
        """What SiliconFlow's support asks for."""
        given: Any = getattr(self, "_trace_id", None)
        if callable(given):
            self._trace_id = given()
        found: str | None = getattr(self, "_trace_id", None)
        return found

    @trace_id.setter
    def trace_id(self, value: str | Callable[[], str | None] | None) -> None:
        self._trace_id = value

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers with lower-case names."""
        given: Any = getattr(self, "_headers", dict)
        if callable(given):
            self._headers = given()
        found: Mapping[str, str] = self._headers
        return found

    @headers.setter
    def headers(self, value: Mapping[str, str] | Callable[[], Mapping[str, str]]) -> None:
        self._headers = value

    @property
    def timing(self) -> Timing:
        """How long it took, in seconds."""
        if not hasattr(self, "_timing"):
            self._timing = Timing()
        return self._timing

    @timing.setter
    def timing(self, value: Timing) -> None:
        self._timing = value
