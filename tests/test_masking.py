"""What a mask hides of a server's words, what it leaves, and which of a user's words are taken for secrets."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from siliconflow_async.headers import Secret, conceal, concealed
from siliconflow_async.transport.mask import Mask

if TYPE_CHECKING:
    from collections.abc import Callable

# With signs that each of the escapes treats in its own way; in base64 it holds both + and /.
KEY = 'sk-a/b+c"d\\e&f<g>h?~~~>>>é😀ij'
PLAIN = "sk-abcdefghijklmnop"


def all_escaped(form: str) -> Callable[[str], str]:
    return lambda key: "".join(form.format(ord(char)) for char in key)


def again(escape: Callable[[str], str], times: int) -> Callable[[str], str]:
    def escaped(key: str) -> str:
        for _ in range(times):
            key = escape(key)
        return key

    return escaped


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def in_base64(before: str, encode: Callable[[bytes], bytes] = b64encode) -> Callable[[str], str]:
    return lambda key: encode((before + key).encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in JSON": in_json,
    "in JSON, UTF-8": lambda key: json.dumps(key, ensure_ascii=False)[1:-1],
    "in JSON of PHP": lambda key: in_json(key).replace("/", "\\/"),
    "in JSON, all escaped": lambda key: "".join(
        f"\\u{unit}" for char in key for unit in char.encode("utf-16-be").hex(" ", 2).split()
    ),
    "in JSON, in capitals": lambda key: "".join(
        f"\\u{unit.upper()}" for char in key for unit in char.encode("utf-16-be").hex(" ", 2).split()
    ),
    "in JSON within JSON": again(in_json, 2),
    "in JSON three deep": again(in_json, 3),
    "in JSON of PHP, three deep": again(lambda text: in_json(text).replace("/", "\\/"), 3),
    "in a URL": lambda key: quote(key, safe=""),
    "in a URL, in small letters": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "in a URL, in capitals": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "in a URL within URLs": again(lambda text: quote(text, safe=""), 4),
    "in HTML": html.escape,
    "in HTML, by numbers": all_escaped("&#{};"),
    "in HTML, by long numbers": all_escaped("&#{:05};"),
    "in HTML, by hex": all_escaped("&#x{:x};"),
    "in HTML, by hex in capitals": all_escaped("&#X{:04X};"),
    "base64": in_base64(""),
    "base64, one byte before": in_base64(":"),
    "base64, two before": in_base64("a:"),
    "base64 in a URL": lambda key: quote(in_base64("a:")(key), safe=""),
    "base64 in JSON of PHP": lambda key: in_base64("a:")(key).replace("/", "\\/"),
    "base64 in JSON of .NET": lambda key: in_base64("a:")(key).replace("+", "\\u002B"),
    "url-safe base64": in_base64("", urlsafe_b64encode),
    "url-safe base64, one byte before": in_base64(":", urlsafe_b64encode),
    "url-safe base64, two before": in_base64("a:", urlsafe_b64encode),
}
IN_LETTERS: dict[str, Callable[[str], str]] = {
    "in capitals": str.upper,
    "in small letters": str.lower,
    "with its case turned round": str.swapcase,
}


def left_of_base64(text: str) -> int:
    """How many characters of base64 stand around a mask."""
    return sum(char.isalnum() or char in "+/-_" for char in text.replace("***", "")) if "***" in text else len(text)


@pytest.mark.parametrize("key", [KEY, PLAIN, Secret(KEY)], ids=["odd", "plain", "secret"])
@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_hidden_in_each_form(form: str, key: str) -> None:
    """Nothing else of the text goes; of base64 only what also holds bits of what is beside the key stays."""
    said = FORMS[form](key)
    masked = Mask(key)(f"No: {said}.")
    if "base64" in form:
        assert masked.startswith("No: ")
        # A byte or two before it, what is shared with them at each end, and %3D, what fills the last four.
        assert left_of_base64(masked.removeprefix("No: ").replace("%3D", "")) <= 5
    else:
        assert masked == "No: ***."
    assert Mask(key).in_headers({"a": said})["a"] == Mask(key)(said) != said


@pytest.mark.parametrize("key", [PLAIN, PLAIN + "q", PLAIN + "qr"])
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("before", range(7))
def test_of_base64_all_that_is_the_keys_own_is_hidden(before: int, after: int, key: str) -> None:
    """Each character of which all six bits are the key's, whatever stands on either side; and no other."""
    said = b64encode(b"\xff" * before + key.encode() + b"\xff" * after).decode()
    own = [at for at in range(len(said)) if 8 * before <= 6 * at and 6 * at + 6 <= 8 * (before + len(key))]
    assert Mask(key)(said) == said[: own[0]] + "***" + said[own[-1] + 1 :]


@pytest.mark.parametrize("form", IN_LETTERS)
def test_a_key_is_hidden_in_capitals_or_not(form: str) -> None:
    """Also in headers, of which aiohttp tells the names, too."""
    key = "sK-aBcDefgh"
    said = IN_LETTERS[form](key)
    assert Mask(key)(f"No: {said}.") == "No: ***."
    assert Mask(key).in_headers({"a": said}) == {"a": "***"}
    assert Mask(key).in_header(f"ti_{said}") == "ti_***"


def test_names_of_headers_are_masked_too() -> None:
    """They are the server's as much as the values."""
    assert Mask(PLAIN).in_headers({f"x-{PLAIN}": "1", "b": "2"}) == {"x-***": "1", "b": "2"}


def test_headers_without_a_secret_are_left_as_they_are() -> None:
    """The same mapping is given back."""
    headers = {"a": "b", "content-type": "text/plain"}
    assert Mask(PLAIN).in_headers(headers) is headers
    assert Mask(PLAIN).in_header("ti_1") == "ti_1"


def test_every_place_is_masked() -> None:
    """Not the first alone."""
    assert Mask(PLAIN)(f"{PLAIN}{PLAIN} {PLAIN}") == "****** ***"


@pytest.mark.parametrize("unit", ["\\", "%25", "&#0000", "s", PLAIN[:-1], "\\u0073", "%73", "&#115;"])
def test_a_text_that_nearly_tells_is_read_quickly(unit: str) -> None:
    """What begins like a secret again and again is read once, or this would never end."""
    text = unit * 20_000
    assert Mask(PLAIN)(text) == text


SHORT = ["hush", "a-b.c", "seven77"]


@pytest.mark.parametrize("key", SHORT)
def test_a_short_key_is_hidden_as_a_word_alone(key: str) -> None:
    """Not within others, nor in base64, of which a few letters may be anything."""
    mask = Mask(key)
    assert mask(f"No {key}: '{key}' \\u{ord(key[0]):04X}{key[1:]}") == "No ***: '***' ***"
    for other in (f"x{key}", f"{key}x", f"-{key}", f"{key}-", f"_{key}", f"{key}_", b64encode(key.encode()).decode()):
        assert mask(other) == other
    # In other letters it is another word.
    assert mask(key.upper()) == key.upper()


def test_eight_characters_are_long() -> None:
    """They are hidden wherever they are, seven are not."""
    assert Mask("abcdefgh")("xabcdefghx") == "x***x"
    assert Mask("abcdefg")("xabcdefgx abcdefg") == "xabcdefgx ***"


def test_four_characters_are_the_least() -> None:
    """Fewer are no secret, and hidden nowhere."""
    assert Mask("abcd")("abcd") == "***"
    assert Mask("abc")("abc") == Mask("")("abc") == "abc"


@pytest.mark.parametrize("key", ["1234", "1234567", "-123", "12.5", "1e10", "1.5E-7", "null", "true", "false"])
def test_a_key_that_is_a_word_of_json_changes_no_json(key: str) -> None:
    """A number of a few digits may stand for anything."""
    text = f'{{"n": {key}, "s": "{key}"}}'
    assert Mask(key)(text) == text


@pytest.mark.parametrize("key", ["12345678", "1234a", "a1234", "nulls", "1.2.3", "12-34"])
def test_a_key_that_is_nearly_one_is_hidden(key: str) -> None:
    """So is one of many digits, which is no accident."""
    assert Mask(key)(f"No: {key}.") == "No: ***."


def test_of_two_secrets_the_longer_is_looked_for_first() -> None:
    """One that begins as another does leaves no tail."""
    mask = Mask("abcdefgh", {"X-Api-Key": Secret("abcdefgh-ijkl"), "X-Key": Secret("abcdefgh-ij")})
    assert mask("abcdefgh-ijkl abcdefgh-ij abcdefgh") == "*** *** ***"


HEADERS: dict[str, tuple[dict[str, str], str, str]] = {
    "a scheme": ({"Authorization": Secret("Bearer abc-def-ghi")}, "Bearer abc-def-ghi", "Bearer ***"),
    "spaces about it": ({"Authorization": Secret(" Bearer  abc-def-ghi ")}, "abc-def-ghi", "***"),
    "no scheme": ({"Authorization": Secret("abc-def-ghi")}, "abc-def-ghi", "***"),
    "several words": ({"X-Password": Secret("hunter and more")}, "hunter and more", "***"),
    "a scheme in another header": ({"X-Auth": Secret("Token abc-def-ghi")}, "got abc-def-ghi", "got ***"),
    "Basic": (
        {"Proxy-Authorization": Secret("basic " + b64encode(b"me:abc:def-ghi").decode())},
        "abc:def-ghi for me",
        "*** for me",
    ),
    "Basic, as it is": ({"authorization": Secret("Basic bWU6YWJjLWRlZi1naGk=")}, "bWU6YWJjLWRlZi1naGk=", "***"),
    "Basic of no base64": ({"Authorization": Secret("Basic é-abcdefgh")}, "é-abcdefgh", "***"),
    "Basic of no UTF-8": (
        {"Authorization": Secret("Basic " + b64encode(b"m\xff:abcdefgh").decode())},
        "abcdefgh",
        "***",
    ),
    "cookies": ({"Cookie": Secret("a=hunter-2 ; b=abc-def=ghi")}, "hunter-2, abc-def=ghi, a, b", "***, ***, a, b"),
    "no secret": ({"X-Team": "the-others"}, "the-others", "the-others"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_what_is_secret_in_headers_is_hidden(case: str) -> None:
    """Those whose values are Secrets, in any of several mappings."""
    headers, said, shown = HEADERS[case]
    assert Mask("", None, headers)(said) == shown
    assert Mask("", {"X-Token": Secret("another-one")}, headers)(said) == shown


SECRET_NAMES = [
    "Authorization", "Proxy-Authorization", "X-Auth", "X-Api-Key", "ApiKey", "X-Token", "Cookie", "Client-Secret",
    "My-Password", "passwd", "X-Passphrase", "Passcode", "DB-PWD", "X-Credentials", "X-Session", "X-Signature",
    "X-Bearer", "X-JWT", "My-Pass", "pass", "X-Sig", "sig_2",
]  # fmt: skip
PLAIN_NAMES = ["X-Team", "Accept", "X-Compass", "X-Passenger", "X-Design", "X-Signal", "Content-Type", "User-Agent"]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_tells_of_a_secret_conceals_the_value(name: str) -> None:
    """In capitals or not."""
    for spelt in (name, name.lower(), name.upper()):
        assert "abc" not in repr(concealed(spelt, "abc"))
        assert concealed(spelt, "abc") == "abc"


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_do_not(name: str) -> None:
    """A repr shows them."""
    assert type(concealed(name, "abc")) is str


def test_what_is_no_header_is_concealed_as_far_as_it_is_text() -> None:
    """A name of bytes can't be sent, but the error that says so is not to tell; None leaves a header out."""
    assert repr(concealed(b"Authorization", "abc")) == "'***'"
    assert concealed("Authorization", None) is None


@pytest.mark.parametrize("name", ["headers", "default_headers", "extra_headers"])
def test_keywords_that_hold_headers_are_concealed(name: str) -> None:
    """In place, the user's own mapping left as it was."""
    given = {"X-Api-Key": "abc", "X-Team": "us"}
    keywords: dict[str, Any] = {name: given, "model": "m"}
    conceal(keywords)
    assert repr(keywords) == repr({name: {"X-Api-Key": Secret(), "X-Team": "us"}, "model": "m"})
    assert keywords[name] == given
    assert type(given["X-Api-Key"]) is str


@pytest.mark.parametrize("name", ["base_url", "proxy"])
def test_urls_are_concealed(name: str) -> None:
    """A user's password, or what a query holds, is in no local of a frame."""
    for url in ("http://me:abc@x.test", "https://x.test/?key=abc"):
        keywords: dict[str, Any] = {name: url}
        conceal(keywords)
        assert "abc" not in repr(keywords)
        assert keywords[name] == url


def test_what_is_of_no_use_is_left() -> None:
    """It is for those who check to refuse it by name."""
    keywords: dict[str, Any] = {"headers": 3, "proxy": None}
    conceal(keywords)
    assert keywords == {"headers": 3, "proxy": None}


class Foreign(Exception):
    """Another library's."""


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_another_librarys_exceptions_are_masked_in_place() -> None:
    """Whatever of their arguments and attributes shows it, in all that they came of; and tracebacks go with it."""
    first = raised(Foreign(f"a {PLAIN}", PLAIN.encode(), [1, (PLAIN, 2)], {PLAIN: 1}))
    first.add_note(f"note {PLAIN}")
    first.line = f"line {PLAIN}"  # type: ignore[attr-defined]  # as aiohttp's have
    first.count = 3  # type: ignore[attr-defined]
    second = raised(Foreign(f"b {PLAIN}"), first)
    second.__context__ = third = raised(Foreign(PLAIN))
    third.__context__ = second
    last = raised(Foreign("c"), second)
    assert Mask(PLAIN).clean(last) is last
    assert first.args == ("a ***", "b'***'", [1, ("***", 2)], "{'***': 1}")
    assert vars(first) == {"__notes__": ["note ***"], "line": "line ***", "count": 3}
    assert (second.args, third.args, last.args) == (("b ***",), ("***",), ("c",))
    assert all(link.__traceback__ is None for link in (first, second, third, last))


class Quiet:
    """Tells by its repr alone."""

    def __repr__(self) -> str:
        return PLAIN

    def __str__(self) -> str:
        return "quiet"


@pytest.mark.parametrize("said", [PLAIN, Quiet(), [Quiet()]], ids=["text", "repr", "reprs"])
@pytest.mark.parametrize("where", ["args", "attribute"])
def test_one_place_that_tells_is_enough(where: str, said: Any) -> None:
    """For the traceback, of which frames hold the same words, to go."""
    error = raised(Foreign(said) if where == "args" else Foreign("a"))
    if where == "attribute":
        error.line = said  # type: ignore[attr-defined]  # as aiohttp's have
    cause = raised(Foreign("b"), error)
    Mask(PLAIN).clean(cause)
    assert PLAIN not in f"{error.args} {vars(error)}"
    assert error.__traceback__ is cause.__traceback__ is None


def test_an_exception_that_does_not_tell_is_left_whole() -> None:
    """With its traceback, and with its arguments themselves."""
    item, several = object(), [1, "x"]
    error = raised(Foreign("a", item, several))
    Mask(PLAIN).clean(error)
    assert error.args[1] is item
    assert error.args[2] is several
    assert error.__traceback__ is not None
