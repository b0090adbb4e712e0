"""Runs the command again and again, each time in a process of its own that has the packages of others imported.

Python takes half a second for those, and the tests run the command some hundred times. The library itself is imported
by each process, as ever. `python fork_server.py FD`: for each byte that comes through the socket FD with four file
descriptors, a process starts. Three are its stdin, stdout and stderr. The fourth is a socket that says in JSON what to
run, and is told its process id and, on another line, how it ended, as in `Popen.returncode`.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys

import aiohttp.web
import anyio._backends._asyncio  # what anyio imports when it first runs
import click
import msgspec

__all__ = ["aiohttp", "anyio", "click", "msgspec"]


def become_one(server: socket.socket) -> None:
    """Return in a new process for each that is asked for, made ready; ends when nobody is left to ask."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(server, 1, 4)
        if not data:
            sys.exit()
        if os.fork() == 0:
            server.close()
            with socket.socket(fileno=descriptors.pop()) as told:
                if (process := os.fork()) == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    make_ready(descriptors, **json.loads(told.makefile().read()))
                    return
                for descriptor in descriptors:
                    os.close(descriptor)
                told.sendall(b"%d\n" % process)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _, status = os.waitpid(process, 0)
                told.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def make_ready(descriptors: list[int], args: list[str], env: dict[str, str], folder: str, logs_in: bool) -> None:
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    if logs_in:
        os.login_tty(0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = folder
    sys.argv[1:] = args
    # As Python has them at its start, but for what it looked up of the server's own.
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        stream = open(  # noqa: SIM115  # it is open as long as the process
            descriptor,
            "r" if name == "stdin" else "w",
            encoding=old.encoding,
            errors=old.errors,
            newline=None if name == "stdin" else "\n",
            closefd=False,
        )
        stream.reconfigure(line_buffering=name == "stderr" or stream.isatty())
        stream.buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]  # a file's, which can be told its name
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    # Looked through at the end of each process, what is there would be copied into it.
    gc.freeze()
    # Nobody waits for those who wait.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(fileno=int(sys.argv.pop())) as server:
        become_one(server)
    runpy.run_module("siliconflow_async", run_name="__main__", alter_sys=True)
