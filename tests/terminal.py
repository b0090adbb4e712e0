"""A terminal that a program runs on, with a user before it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

# Runs the program that its arguments are on the terminal that is its stdin: one that controls it, so that keys become
# signals.
LOGIN = (sys.executable, "-c", "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])")
CTRL_C, CTRL_D, UP, ENTER = "\x03", "\x04", "\x1b[A", "\r"
# A terminal that is asked where its cursor is would have to answer.
SILENT = {"PROMPT_TOOLKIT_NO_CPR": "1"}
# Brackets around what is pasted are asked for once a line is edited.
PROMPT = "\x1b[?2004h"
ESCAPES = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


class Terminal:
    """What a user has before them: keys to press, and text that appears."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._descriptor = descriptor
        self._bytes = b""

    def see(self, text: str) -> str:
        """Wait for a text; return what came before it, since the one that was last waited for."""
        wanted = text.encode()
        while wanted not in self._bytes:
            self._bytes += self._more()
        seen, _, self._bytes = self._bytes.partition(wanted)
        return ESCAPES.sub("", seen.decode())

    def press(self, *keys: str) -> None:
        os.write(self._descriptor, "".join(keys).encode())

    def ask(self, prompt: str) -> str:
        """Enter a line at the prompt; return what came until the next one."""
        self.press(prompt, ENTER)
        return self.see(PROMPT)

    def leave(self) -> int:
        self.press(CTRL_D)
        # It waits until all that it wrote is read.
        try:
            while True:
                self._more()
        except EOFError:
            return self.process.wait()

    def _more(self) -> bytes:
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # Linux says EIO once the other end is closed
            piece = b""
        if not piece:
            raise EOFError(f"the command has ended, after {self._bytes!r}")
        return piece
