"""A chat request, made ready once for all attempts of its call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import msgspec

from ..request.body import build_body
from ..request.continuing import continued_body, resume_attempts
from ..request.schema import Form, form_of, is_type
from ..request.tools import choice_param, tool_params
from ..stream.resume import Break
from ..transport.attempt import Request
from .service import Service

__all__ = ["ChatRequest"]

_PATH = "/chat/completions"


class ChatRequest(NamedTuple):
    """What is sent, and what becomes of the answer.

    `params` are what the gate weighs, `form` what the content is parsed into, `resume` how often the answer may be
    continued where it breaks off; with `split_think` its `<think>` block becomes reasoning.
    """

    sent: Request
    params: Mapping[str, Any]
    form: Form[Any] | None
    resume: int
    split_think: bool

    @classmethod
    def of(cls, service: Service, params: Mapping[str, Any], *, streaming: bool, response_format: Any) -> Self:
        """Make a request ready; raise InvalidRequestError that names what can't be sent."""
        form: Form[Any] | None = None
        if response_format is not None and is_type(response_format):
            form = form_of(response_format)
            response_format = form.response_format
        # A generator is read once, and a retry sends the same body, so tools are described here.
        if params.get("tools") is not None:
            params = {**params, "tools": tool_params(params["tools"])}
        if params.get("tool_choice") is not None:
            params = {**params, "tool_choice": choice_param(params["tool_choice"])}
        split_think = bool(params.get("split_think"))
        body = build_body(params, stream=streaming, response_format=response_format)
        resume = resume_attempts(params.get("resume"), body, streaming=streaming, split_think=split_think)
        sent = service.request("POST", _PATH, params, body=body, streaming=streaming)
        return cls(sent, params, form, resume, split_think)

    def continued(self, broken: Break) -> Self | None:
        """Return the request that asks for what comes after a break; None if the answer had all its tokens."""
        assert self.sent.body is not None
        body = continued_body(self.sent.body, broken.text, broken.tokens)
        if body is None:
            return None
        # What its prompt weighs at the gate.
        params = {**self.params, "prefix": f"{self.params.get('prefix') or ''}{broken.text}"}
        return self._replace(sent=msgspec.structs.replace(self.sent, body=body), params=params)
