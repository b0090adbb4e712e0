"""Packets that a socket's own kernel drops: silence without a network, and without the rights to make one.

A classic BPF filter on a socket of the service's sees each packet before TCP does. One that it refuses was never there:
nothing is acknowledged, answered or reset. Only Linux has them.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

__all__ = ["THERE", "fall_silent", "lose"]

THERE = sys.platform == "linux"

_SO_ATTACH_FILTER = 26
_RETURN = 0x06
_LOAD = 0x20
_JUMP_IF_AT_LEAST = 0x35
# SKF_AD_OFF + SKF_AD_RANDOM: a random number of 32 bits, instead of bytes of the packet.
_RANDOM = 0x1_0000_0000 - 0x1000 + 56
_ALL = 0xFFFF_FFFF
_NOTHING = 0


def _attach(sock: socket.socket, *instructions: tuple[int, int, int, int]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def fall_silent(sock: socket.socket) -> None:
    """Drop all that comes from now on."""
    _attach(sock, (_RETURN, 0, 0, _NOTHING))


def lose(sock: socket.socket, share: float) -> None:
    """Drop this share of what comes; what a listener accepts does so too."""
    _attach(
        sock,
        (_LOAD, 0, 0, _RANDOM),
        (_JUMP_IF_AT_LEAST, 0, 1, int(share * 2**32)),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, _NOTHING),
    )
