"""Every name that is told to OpenTelemetry, in one table.

`GenAI` are names of OpenTelemetry's semantic conventions: those for generative AI (status Development) as of v1.41.0,
the last release of https://github.com/open-telemetry/semantic-conventions that has them (docs/gen-ai: gen-ai-spans.md,
gen-ai-agent-spans.md, gen-ai-metrics.md, gen-ai-events.md), and `server.*`, `error.type` and `http.*` (stable) of the
same; looked up on 2026-11-30. They moved to https://github.com/open-telemetry/semantic-conventions-genai, whose v0.1.0
calls the three metrics of calls `gen_ai.client.inference.*` and splits the one of tokens; what reads them in the field
still has these. `Ours` are this library's own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["LIMITS", "OPERATIONS", "PROVIDER", "REQUEST", "SCHEMA", "SCOPE", "GenAI", "Metric", "Ours"]

SCHEMA: Final = "https://opentelemetry.io/schemas/1.41.0"

SCOPE: Final = "siliconflow_async"
# What `gen_ai.provider.name` says: the conventions know no value for it, and take one of our own.
PROVIDER: Final = "siliconflow"


class Metric(NamedTuple):
    """An instrument; `buckets` are the boundaries of a histogram."""

    name: str
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None


# Of all durations: 10 ms doubled, up to 81.92 s. Of tokens: powers of four, up to 4 ** 13.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


class GenAI:
    """Names of the conventions."""

    # Attributes of spans, some of metrics too
    OPERATION: Final = "gen_ai.operation.name"
    PROVIDER: Final = "gen_ai.provider.name"
    SERVER_ADDRESS: Final = "server.address"
    SERVER_PORT: Final = "server.port"
    ERROR_TYPE: Final = "error.type"
    STATUS: Final = "http.response.status_code"

    REQUEST_MODEL: Final = "gen_ai.request.model"
    STREAM: Final = "gen_ai.request.stream"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    CHOICES: Final = "gen_ai.request.choice.count"
    STOP: Final = "gen_ai.request.stop_sequences"
    TEMPERATURE: Final = "gen_ai.request.temperature"
    TOP_P: Final = "gen_ai.request.top_p"
    TOP_K: Final = "gen_ai.request.top_k"
    FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
    PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
    SEED: Final = "gen_ai.request.seed"

    RESPONSE_ID: Final = "gen_ai.response.id"
    RESPONSE_MODEL: Final = "gen_ai.response.model"
    FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
    FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
    CACHE_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
    TOKEN_TYPE: Final = "gen_ai.token.type"

    TOOL_NAME: Final = "gen_ai.tool.name"
    TOOL_TYPE: Final = "gen_ai.tool.type"
    TOOL_CALL_ID: Final = "gen_ai.tool.call.id"

    # The event of a call's content, and its attributes
    DETAILS: Final = "gen_ai.client.inference.operation.details"
    INPUT_MESSAGES: Final = "gen_ai.input.messages"
    OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

    # Metrics
    DURATION: Final = Metric(
        "gen_ai.client.operation.duration", "s", "From the call to its end, waits and retries included.", _SECONDS
    )
    TOKENS: Final = Metric("gen_ai.client.token.usage", "{token}", "Tokens that a call took.", _TOKENS)
    TIME_TO_FIRST_CHUNK: Final = Metric(
        "gen_ai.client.operation.time_to_first_chunk", "s", "From the call to a stream's first token.", _SECONDS
    )
    TIME_PER_OUTPUT_CHUNK: Final = Metric(
        "gen_ai.client.operation.time_per_output_chunk", "s", "Between the chunks of a stream.", _SECONDS
    )


class Ours:
    """Names of this library."""

    # Attributes of a call's span
    TRACE_ID: Final = "siliconflow.trace_id"
    ENDED: Final = "siliconflow.ended"
    ATTEMPTS: Final = "siliconflow.attempts"
    WAITED: Final = "siliconflow.waited"
    ERROR_CODE: Final = "siliconflow.error.code"
    MIN_P: Final = "siliconflow.request.min_p"
    REPETITION_PENALTY: Final = "siliconflow.request.repetition_penalty"
    ENABLE_THINKING: Final = "siliconflow.request.enable_thinking"
    THINKING_BUDGET: Final = "siliconflow.request.thinking_budget"
    REASONING_EFFORT: Final = "siliconflow.request.reasoning_effort"
    DIMENSIONS: Final = "siliconflow.request.dimensions"

    # Of a run's span
    RUN: Final = "siliconflow.run"
    CALLS: Final = "siliconflow.run.calls"
    FAILED: Final = "siliconflow.run.failed"

    # Events of a call's span, and their attributes: which attempt follows, and the seconds of the wait for it
    RETRY: Final = "siliconflow.retry"
    RESUME: Final = "siliconflow.resume"
    WAIT: Final = "siliconflow.wait"
    ATTEMPT: Final = "siliconflow.attempt"
    SECONDS: Final = "siliconflow.seconds"

    # Metrics, and an attribute of theirs: whether a limit was found out, not given
    RETRIES: Final = Metric("siliconflow.client.retries", "{request}", "Requests sent again, or continued.")
    WAITS: Final = Metric("siliconflow.client.wait.duration", "s", "Waits at the gate of a model.", _SECONDS)
    STREAMS: Final = Metric("siliconflow.client.open_streams", "{stream}", "Streams that are being answered.")
    LEARNED: Final = "siliconflow.limit.learned"


# endpoint: its operation; of any other it is the first part of its path
OPERATIONS: Final = {"/chat/completions": "chat", "/completions": "text_completion", "/embeddings": "embeddings"}

# parameter: the attribute that tells it
REQUEST: Final = {
    "max_tokens": GenAI.MAX_TOKENS,
    "n": GenAI.CHOICES,
    "stop": GenAI.STOP,
    "temperature": GenAI.TEMPERATURE,
    "top_p": GenAI.TOP_P,
    "top_k": GenAI.TOP_K,
    "frequency_penalty": GenAI.FREQUENCY_PENALTY,
    "presence_penalty": GenAI.PRESENCE_PENALTY,
    "seed": GenAI.SEED,
    "min_p": Ours.MIN_P,
    "repetition_penalty": Ours.REPETITION_PENALTY,
    "enable_thinking": Ours.ENABLE_THINKING,
    "thinking_budget": Ours.THINKING_BUDGET,
    "reasoning_effort": Ours.REASONING_EFFORT,
    "dimensions": Ours.DIMENSIONS,
}

# field of `client.limits[model]`: its gauge
LIMITS: Final = {
    "rpm": Metric("siliconflow.client.limit.requests", "{request}", "Requests that a model takes in its window."),
    "tpm": Metric("siliconflow.client.limit.tokens", "{token}", "Tokens that a model takes in its window."),
    "concurrency": Metric("siliconflow.client.limit.concurrency", "{call}", "Calls that a model is given at a time."),
    "waiting": Metric("siliconflow.client.waiting", "{call}", "Calls that wait at the gate of a model."),
}
