"""Ways to look at an exception, for tests of what it must not tell."""

from __future__ import annotations

import html
import pickle
import re
import traceback
from base64 import b64encode
from urllib.parse import unquote


def all_that_tells(error: BaseException) -> str:
    """An exception as every way of looking shows it, locals of its frames and of its causes included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = "".join(told.format(chain=True))
    return "\n".join([frames, repr(error), str(error), repr(vars(error)), repr(pickle.dumps(error))])


def told_by_libraries(error: BaseException, but_for: str) -> str:
    """All that an exception and its causes tell, but for the locals of frames in the file that holds the secrets."""
    lines: list[str] = []
    left: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while left:
        link = left.pop()
        if link is None or link in seen:
            continue
        seen.append(link)
        left += [link.__cause__, link.__context__]
        lines += [repr(link), str(link), repr(vars(link)), repr(getattr(link, "__notes__", None)), repr(link.args)]
        told = traceback.TracebackException.from_exception(link, capture_locals=True)
        frames = [frame for frame in told.stack if frame.filename != but_for]
        lines += [
            f"{frame.filename} {frame.name} {name} {value}"
            for frame in frames
            for name, value in (frame.locals or {}).items()
        ]
    lines.append(repr(pickle.dumps(error)))
    return "\n".join(lines)


def lines_with(secret: str, told: str) -> list[str]:
    """The lines from which a secret can be read, also out of capitals, escapes of JSON, URLs and HTML, and base64."""
    # Of base64 what does not depend on the bytes beside it.
    forms = {secret.lower()} | {b64encode(bytes(before) + secret.encode()).decode()[4:-4] for before in range(3)}
    found = []
    for line in told.splitlines():
        plain = re.sub(r"\\+u00([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), line)
        texts = [line, plain, unquote(unquote(line)), html.unescape(line)]
        if any(form in text for form in forms for text in (*texts, *map(str.lower, texts))):
            found.append(line)
    return found
