"""A Redis of one's own: Debian's `redis-server`, on loopback, with a folder to itself, that a test may hurt."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import redis

__all__ = ["PROGRAM", "RedisServer", "cluster"]

PROGRAM = shutil.which("redis-server")
# A start takes 10 ms, and much longer where the machine is busy.
_SECONDS = 30.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """A server in `folder`, at the same `url` through all its restarts; `options` are those of its command line.

    password: what clients have to know.
    """

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.port = _free_port()
        self.password = password
        self._folder = folder
        self._options = [*options, *(() if password is None else ("--requirepass", password))]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens, with its password."""
        return f"redis://{'' if self.password is None else f':{self.password}@'}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, with the data that a `stop` has saved, and wait until it answers."""
        assert PROGRAM is not None
        command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        deadline = time.monotonic() + _SECONDS
        while True:
            with suppress(redis.ConnectionError):
                self.ask("PING")
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis has not started: {(self._folder / 'log').read_text()}")
            time.sleep(0.005)  # another program's start can't be waited for in any other way

    def stop(self, *, save: bool) -> None:
        """End it as its administrator would, or a crash, which loses all it knew."""
        assert self._process is not None
        if save:
            with redis.Redis.from_url(self.url) as client:
                client.shutdown(save=True)
            self._process.wait(_SECONDS)
        else:
            self.kill()
            (self._folder / "dump.rdb").unlink(missing_ok=True)

    def restart(self, *, with_data: bool) -> None:
        """Stop and start, with what it knew or without."""
        self.stop(save=with_data)
        self.start()

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_SECONDS)

    def pause(self) -> None:
        """Stop it by SIGSTOP: it accepts connections, as the kernel does that for it, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str | int) -> Any:
        """Return the answer to a command."""
        with redis.Redis.from_url(self.url, socket_timeout=_SECONDS) as client:
            return client.execute_command(*command)

    @contextmanager
    def overheard(self) -> Iterator[Path]:
        """A file of all that clients say to it meanwhile, as MONITOR tells, and then of all that it holds."""
        path = self._folder / "overheard"
        secret = [] if self.password is None else ["--no-auth-warning", "-a", self.password]
        command = ["redis-cli", "-p", str(self.port), *secret, "MONITOR"]
        with path.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
            try:
                while not path.stat().st_size:  # "OK"
                    assert process.poll() is None
                    time.sleep(0.005)
                yield path
                self.ask("ECHO", "the end of it")
                deadline = time.monotonic() + _SECONDS
                while b"the end of it" not in path.read_bytes():
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
            finally:
                process.terminate()
        with path.open("ab") as file, redis.Redis.from_url(self.url) as client:
            for key in client.scan_iter(count=1000):
                file.write(key + b" " + (client.dump(key) or b"") + b"\n")
                kind = client.type(key).decode()
                read = {"hash": client.hgetall, "string": client.get, "set": client.smembers, "list": _all_of(client)}
                if kind in read:
                    file.write(repr(read[kind](key)).encode() + b"\n")
                elif kind == "zset":
                    file.write(repr(client.zrange(key, 0, -1)).encode() + b"\n")


def _all_of(client: redis.Redis) -> Any:
    return lambda key: client.lrange(key, 0, -1)


@contextmanager
def cluster(folder: Path) -> Iterator[list[RedisServer]]:
    """Three masters that share the keys among them."""
    servers: list[RedisServer] = []
    try:
        for number in range(3):
            # The default is the port and 10,000, which may be none.
            options = ("--cluster-enabled", "yes", "--cluster-port", str(_free_port()))
            servers.append(RedisServer(folder / str(number), *options))
            servers[-1].start()
        nodes = [f"127.0.0.1:{server.port}" for server in servers]
        create = ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "0", "--cluster-yes"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, timeout=_SECONDS)
        deadline = time.monotonic() + _SECONDS
        while any(b"cluster_state:ok" not in _text(server.ask("CLUSTER", "INFO")) for server in servers):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield servers
    finally:
        for server in servers:
            server.kill()


def _text(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else str(answer).encode()
