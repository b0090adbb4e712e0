"""A client of pyright's language server: what an editor shows where the cursor stands."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CURSOR", "Editor", "opened"]

# Where the cursor stands in a text.
CURSOR = "⌶"


class Editor:
    """One language server, over its stdin and stdout, with `root` as its workspace."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path) -> None:
        self._process = process
        self._root = root
        self._ids = itertools.count(1)
        self._settings = {"python": {"pythonPath": sys.executable}}

    def start(self) -> None:
        """Shake hands, as the protocol wants it."""
        folder = {"uri": self._root.as_uri(), "name": "workspace"}
        text_document = {
            "hover": {"contentFormat": ["markdown"]},
            "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": False}},
            "signatureHelp": {"signatureInformation": {"documentationFormat": ["markdown"]}},
        }
        self._ask(
            "initialize",
            processId=None,
            rootUri=folder["uri"],
            workspaceFolders=[folder],
            capabilities={"workspace": {"configuration": True}, "textDocument": text_document},
        )
        self._tell("initialized")

    def completions(self, text: str) -> set[str]:
        """Return what the editor offers where the cursor stands, without quotes."""
        found = self._ask("textDocument/completion", **self._place(text)) or {}
        items = found["items"] if isinstance(found, dict) else found
        return {item["label"].strip("\"'") for item in items}

    def hover(self, text: str) -> str:
        """Return what the editor shows of the name under the cursor."""
        found = self._ask("textDocument/hover", **self._place(text))
        text: str = found["contents"]["value"] if found else ""
        return text

    def signature(self, text: str) -> str:
        """Return what the editor shows of the parameter that is being written at the cursor."""
        found = self._ask("textDocument/signatureHelp", **self._place(text))
        signature = found["signatures"][found["activeSignature"]]
        text: str = signature["parameters"][found["activeParameter"]]["documentation"]["value"]
        return text.strip()

    def _place(self, text: str) -> dict[str, Any]:
        before, cursor, after = text.partition(CURSOR)
        assert cursor
        uri = (self._root / f"place{next(self._ids)}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + after}
        self._tell("textDocument/didOpen", textDocument=document)
        line = before.count("\n")
        return {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": len(before) - before.rfind("\n") - 1},
        }

    def _ask(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._read()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message["error"]
                return message["result"]
            if "method" in message and "id" in message:  # the server asks
                result = None
                if message["method"] == "workspace/configuration":
                    result = [self._settings.get(item.get("section"), {}) for item in message["params"]["items"]]
                self._send({"id": message["id"], "result": result})

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while header := self._process.stdout.readline().strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server has ended"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


@contextmanager
def opened(root: Path) -> Iterator[Editor]:
    """Run a language server whose workspace is `root`."""
    command = [sys.executable, "-m", "pyright.langserver", "--stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            editor = Editor(process, root)
            editor.start()
            yield editor
        finally:
            process.kill()
