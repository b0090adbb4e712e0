"""What hides the secrets that were sent from what a server says.

A server, or a gateway before it, may quote the key that it was sent, in words, bodies, headers, frames. What errors and
headers take from there passes the `Mask` of the request; what the model wrote does not, and is as it came.
"""

from __future__ import annotations

import html
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ..headers import Secret

__all__ = ["Mask"]

E = TypeVar("E", bound=BaseException)

_MASKED = "***"
# Below it a key is hidden only where it stands alone, as a word: one of a few letters is part of many others.
_LONG = 8
# And below this nowhere. Such a key is no secret but a placeholder, "x" or "0", for a server that wants none.
_SHORTEST = 4
_JSON_WORD = re.compile(r"null|true|false|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Mask:
    """Hides from a text the secrets that were sent: `key`, and the Secrets among the values of `headers`.

    They are found as they are, in capitals or not, in the escapes of JSON (also of JSON within JSON), URLs and HTML,
    and in base64.
    """

    __slots__ = ("_forms", "_found", "_headers", "_key")

    def __init__(self, key: str, *headers: Mapping[str, str] | None) -> None:
        self._key = key
        self._headers = headers
        # Made when they are first needed, which for most calls is never.
        self._forms: tuple[str, ...] | None = None
        self._found: re.Pattern[str] | None = None

    def __call__(self, text: str) -> str:
        """Return the text with `***` in the place of each secret."""
        if self._found is None:
            secrets = set(self._secrets())
            patterns = [_escapable(secret) for secret in sorted(secrets, key=len, reverse=True)]
            patterns += map(_escapable_base64, _in_base64(secrets))
            self._found = re.compile("|".join(patterns) or r"(?!)")
        return self._found.sub(_MASKED, text)

    def in_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """Return headers masked; the same ones if there is nothing to mask."""
        if not self._may_be_in("\n".join([*headers, *headers.values()])):
            return headers
        return {self(name): self(value) for name, value in headers.items()}

    def in_header(self, value: str) -> str:
        """Return a header's value masked."""
        return self(value) if self._may_be_in(value) else value

    def _may_be_in(self, text: str) -> bool:
        # Every answer has headers, and next to none tells: to look for plain text costs a fraction of the pattern.
        if self._forms is None:
            secrets = set(self._secrets())
            self._forms = ("%", "\\", "&", *map(str.lower, secrets), *map(str.lower, _in_base64(secrets)))
        lowered = text.lower()
        for form in self._forms:  # noqa: SIM110  # a generator for any() would cost as much again
            if form in lowered:
                return True
        return False

    def clean(self, error: E) -> E:
        """Mask in place what another library's exception, and those that it came of, tell of a server's words.

        Where one tells, its traceback goes too: its frames hold the same words.
        """
        links: list[BaseException] = []
        left: list[BaseException | None] = [error]
        while left:
            link = left.pop()
            if link is not None and link not in links:
                links.append(link)
                left += [link.__cause__, link.__context__]
        if sum(map(self._clean, links)):
            for link in links:
                link.__traceback__ = None
        return error

    def _clean(self, error: BaseException) -> bool:
        told = False
        args = self._hidden(error.args)
        if args is not error.args:
            error.args = args
            told = True
        for name, value in list(vars(error).items()):
            hidden = self._hidden(value)
            if hidden is not value:
                setattr(error, name, hidden)
                told = True
        return told

    def _hidden(self, value: Any) -> Any:
        """Return a value that tells nothing: itself, if it doesn't, or else what its repr would show."""
        if type(value) in (list, tuple):
            hidden = [self._hidden(item) for item in value]
            return value if all(map(_is, hidden, value)) else type(value)(hidden)
        shown = value if isinstance(value, str) else repr(value)
        masked = self(shown)
        return value if masked == shown else masked

    def _secrets(self) -> Iterator[str]:
        for secret in (self._key, *_credentials(self._headers)):
            # Hidden where it is JSON's own, a number or null, a short one would break the JSON around it.
            if len(secret) >= _LONG or (len(secret) >= _SHORTEST and not _JSON_WORD.fullmatch(secret)):
                yield secret


def _is(one: object, other: object) -> bool:
    return one is other


def _credentials(several: Iterable[Mapping[str, str] | None]) -> Iterator[str]:
    """Yield what is secret in headers: without the scheme that may stand before it, and of Basic the password too."""
    for headers in several:
        for name, value in (headers or {}).items():
            if not isinstance(value, Secret):
                continue
            if name.lower() == "cookie":
                yield from (pair.partition("=")[2].strip() for pair in value.split(";"))
                continue
            value = value.strip()
            scheme, _, rest = value.partition(" ")
            # Elsewhere the first word need not be a scheme.
            if not rest or not name.lower().endswith("authorization"):
                yield value
            yield rest.strip()
            if scheme.lower() == "basic":
                try:
                    yield b64decode(rest).decode("utf-8", "replace").partition(":")[2]
                except ValueError:
                    continue


def _escapable(secret: str) -> str:
    """Return a pattern for a secret, each of its characters as it is or escaped; a long one in capitals or not."""
    pattern = "".join(map(_character, secret))
    return f"(?i:{pattern})" if len(secret) >= _LONG else rf"(?<![\w-]){pattern}(?![\w-])"


def _escapable_base64(form: str) -> str:
    return "".join(char if char.isalnum() else _character(char) for char in form)


def _character(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    # One backslash more for each JSON text that holds the other as a text. Bounded, as all here, or a server's endless
    # backslashes would be looked through from each of them.
    in_json = "".join(rf"\\\\{{0,7}}u{units[at : at + 4]}" for at in range(0, len(units), 4))
    in_url = "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in char.encode())
    in_html = f"&#0{{0,4}}{ord(char)};|&#x0{{0,4}}{ord(char):x};"
    pattern = f"{re.escape(char)}|(?i:{in_json}|{in_url}|{in_html})"
    # No way twice, or each character of a text that only begins like a secret would double the work.
    if (named := html.escape(char)) != char:
        pattern += f"|{named}"
    if char in '"\\/':
        pattern += rf"|\\\\{{0,7}}{re.escape(char)}"
    return f"(?:{pattern})"


def _in_base64(secrets: Iterable[str]) -> set[str]:
    """Return how long secrets show in base64, whatever stands before them, as `user:` does for Basic."""
    forms = set()
    for secret in secrets:
        data = secret.encode()
        for before in range(3) if len(secret) >= _LONG else ():
            # Only the characters that are its own: those at the ends may hold bits of what is beside it.
            start = (before * 4 + 2) // 3
            end = (before + len(data)) * 8 // 6
            for encode in (b64encode, urlsafe_b64encode):
                forms.add(encode(bytes(before) + data).decode()[start:end])
    return forms
