"""The wire format, without I/O: no await, no aiohttp, no clock.

bytes ─sse→ SSEEvent ─protocol→ ChatCompletionChunk ─accumulate→ ChatCompletion
                                                    ─events→ Event
"""
