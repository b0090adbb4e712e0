"""A stand-in for SiliconFlow on loopback, for tests and demos."""

from .server import FakeSiliconFlow
from .serving.answers import UsageOn, sse, stream_events
from .serving.limits import Meter
from .serving.record import Connections, RecordedRequest
from .serving.scripted import Failure, Raw, Reply
from .serving.steps import Fin, Framing, Headers, Pause, Rst, Scripted, Stall, Step, Trickle, Until, Wait
from .serving.waiting import Gate

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
