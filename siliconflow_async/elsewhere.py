"""Names that the openai package has and this one has not, and what to write here instead.

Who comes from there meets a TypeError for a keyword, an AttributeError for an attribute, and either says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

__all__ = [
    "AUDIO",
    "BATCHES",
    "CHAT",
    "CLIENT",
    "COMPLETIONS",
    "EMBEDDINGS",
    "FILES",
    "IMAGES",
    "KEYWORDS",
    "MODELS",
    "RERANK",
    "SPEECH",
    "TEXT_COMPLETIONS",
    "TRANSCRIPTIONS",
    "VIDEOS",
    "VOICES",
    "Explained",
]

_KEY_ALONE = "SiliconFlow knows an account by its API key alone"
_BODY = "SiliconFlow's page has no such parameter; extra_body sends it"
_AIOHTTP = "session= takes an aiohttp.ClientSession, proxy= and ssl= what is for a proxy and for TLS"
_NOT_THERE = "SiliconFlow has no such endpoint"
_NOTHING_KEPT = "SiliconFlow keeps no answers"
_GIVEN = "it is given to AsyncSiliconFlow(…) or client.with_options(…), and not read back"
_OTHER_REQUESTS = "for other requests use aiohttp with client.base_url and client.api_key"
_ANSWER_HAS = "answers and streams have headers and trace_id, and create(…, stream=True) streams"
_ANSWERS_TELL = "answers have headers and raw"
_ANSWER_TELLS = "the answer has headers and raw"

# Keywords of the client, and of `create` and its kin.
KEYWORDS: Mapping[str, str] = {
    **dict.fromkeys(("organization", "project", "admin_api_key", "workload_identity"), _KEY_ALONE),
    **dict.fromkeys(("provider", "data_residency"), "base_url= names the site"),
    **dict.fromkeys(("webhook_secret", "websocket_base_url"), _NOT_THERE),
    **dict.fromkeys(("_strict_response_validation", "_enforce_credentials"), "it is always so"),
    "http_client": _AIOHTTP,
    "default_query": "extra_query= of each call takes parameters for the query",
    "max_completion_tokens": "max_tokens= is its name",
    "functions": "tools= takes functions",
    "function_call": "tool_choice= says which to call",
    **dict.fromkeys(("expires_after", "output_expires_after"), "how long it keeps a file, the service decides"),
    **dict.fromkeys(
        (
            *("background", "instructions", "language", "languages", "partial_images", "quality", "style"),
            *("chunking_strategy", "include", "output_compression", "stream_format", "timestamp_granularities"),
            "audio",
            "metadata",
            "modalities",
            "moderation",
            "prediction",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "user",
            "verbosity",
            "web_search_options",
        ),
        _BODY,
    ),
}

CLIENT: Mapping[str, str] = {
    "beta": "client.chat.completions has parse(…), stream(…) and run_tools(…) itself",
    **dict.fromkeys(("responses", "conversations", "realtime", "live"), "client.chat.completions.create(…) answers"),
    "uploads": "client.files.create(…) sends files of any size, and reads them as it sends them",
    **dict.fromkeys(
        (
            "admin",
            "containers",
            "content_provenance_checks",
            "decisions",
            "evals",
            "fine_tuning",
            "moderations",
            "safety",
            "skills",
            "vector_stores",
            "webhook_secret",
            "webhooks",
            "websocket_base_url",
        ),
        _NOT_THERE,
    ),
    **dict.fromkeys(("admin_api_key", "organization", "project", "workload_identity"), _KEY_ALONE),
    **dict.fromkeys(("default_headers", "max_retries", "timeout"), _GIVEN),
    **dict.fromkeys(("default_query", "qs"), KEYWORDS["default_query"]),
    "copy": "client.with_options(…) makes a copy",
    **dict.fromkeys(("get", "post", "put", "patch", "delete", "request", "get_api_list"), _OTHER_REQUESTS),
    **dict.fromkeys(("auth_headers", "custom_auth", "platform_headers", "user_agent"), _OTHER_REQUESTS),
    "with_raw_response": "client.chat.completions.with_raw_response.create(…) has it",
    "with_streaming_response": _ANSWER_HAS,
}

CHAT: Mapping[str, str] = {
    "with_raw_response": CLIENT["with_raw_response"],
    "with_streaming_response": _ANSWER_HAS,
}

COMPLETIONS: Mapping[str, str] = {
    **dict.fromkeys(("delete", "list", "messages", "retrieve", "update"), _NOTHING_KEPT),
    "with_streaming_response": _ANSWER_HAS,
}

MODELS: Mapping[str, str] = {
    "retrieve": "client.models.list() has them all",
    "delete": _NOT_THERE,
    **dict.fromkeys(("with_raw_response", "with_streaming_response"), "the list has headers and raw"),
}

BATCHES: Mapping[str, str] = dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWERS_TELL)

FILES: Mapping[str, str] = {
    "retrieve_content": "client.files.content(…) has it",
    "wait_for_processing": "a file can be used once create(…) has returned",
    **dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWERS_TELL),
}

IMAGES: Mapping[str, str] = {
    "edit": "client.images.generate(…, image=…) changes a picture",
    "create_variation": "client.images.generate(…, image=…) makes one of another",
    **dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWER_TELLS),
}

EMBEDDINGS: Mapping[str, str] = dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWER_TELLS)

RERANK: Mapping[str, str] = dict.fromkeys(("rerank", "rank"), "create(…) ranks")

TEXT_COMPLETIONS: Mapping[str, str] = {
    "with_raw_response": _ANSWER_TELLS,
    "with_streaming_response": _ANSWER_HAS,
}

AUDIO: Mapping[str, str] = {
    "translations": _NOT_THERE,
    "voice_consents": "client.audio.voices.create(…) makes a voice of a recording",
    **dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWERS_TELL),
}

SPEECH: Mapping[str, str] = {
    "with_raw_response": "the answer has headers and content",
    "with_streaming_response": "client.audio.speech.stream(…) gives it as it comes",
}

TRANSCRIPTIONS: Mapping[str, str] = dict.fromkeys(("with_raw_response", "with_streaming_response"), _ANSWER_TELLS)

VOICES = TRANSCRIPTIONS

VIDEOS: Mapping[str, str] = {
    **dict.fromkeys(("retrieve", "poll"), "client.videos.get(id) gives the job, and await job.wait() waits for it"),
    "create_and_poll": "client.videos.create(…) gives a job, and await job.wait() waits for it",
    "download_content": "await job.save(path) saves it, and job.videos[0] reads and streams it",
    **dict.fromkeys(("create_character", "delete", "edit", "extend", "get_character", "list", "remix"), _NOT_THERE),
    **dict.fromkeys(("with_raw_response", "with_streaming_response"), "a job has its trace_id"),
}


class Explained:
    """Has an AttributeError say what to write instead of a name that is `elsewhere`."""

    __slots__ = ()
    elsewhere: ClassVar[Mapping[str, str]]

    if TYPE_CHECKING:
        pass  # any name would be one, to a type checker
    else:

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in self.elsewhere:
                message = f"{message}: {self.elsewhere[name]}"
            raise AttributeError(message, name=name, obj=self)
