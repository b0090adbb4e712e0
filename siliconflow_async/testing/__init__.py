"""A stand-in for SiliconFlow on loopback, for tests and demos."""

from .answers import UsageOn, sse, stream_events
from .limits import Meter
from .record import Connections, RecordedRequest
from .scripted import Failure, Raw, Reply
from .server import FakeSiliconFlow
from .steps import Fin, Framing, Headers, Pause, Rst, Scripted, Stall, Step, Trickle, Until, Wait
from .waiting import Gate

__all__ = [
    "Connections",
    "Failure",
    "FakeSiliconFlow",
    "Fin",
    "Framing",
    "Gate",
    "Headers",
    "Meter",
    "Pause",
    "Raw",
    "RecordedRequest",
    "Reply",
    "Rst",
    "Scripted",
    "Stall",
    "Step",
    "Trickle",
    "Until",
    "UsageOn",
    "Wait",
    "sse",
    "stream_events",
]
