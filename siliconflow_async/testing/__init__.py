"""A stand-in for SiliconFlow on loopback, for tests and demos."""

from siliconflow_async.testing.answers import UsageOn, sse, stream_events
from siliconflow_async.testing.limits import Meter
from siliconflow_async.testing.record import Connections, RecordedRequest
from siliconflow_async.testing.scripted import Failure, Framing, Headers, Raw, Reply, Scripted
from siliconflow_async.testing.server import FakeSiliconFlow
from siliconflow_async.testing.steps import Fin, Pause, Rst, Stall, Step, Trickle, Until, Wait
from siliconflow_async.testing.waiting import Gate

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
