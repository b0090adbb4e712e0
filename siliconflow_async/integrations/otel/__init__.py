"""OpenTelemetry for a client: spans, metrics and, if asked for, content. Needs the extra `otel`.

from siliconflow_async.integrations.otel import OpenTelemetry

client = AsyncSiliconFlow(observers=[OpenTelemetry()])
"""

from .observer import OpenTelemetry

__all__ = ["OpenTelemetry"]
