from __future__ import annotations

import pytest

from siliconflow_async.testing import RecordedRequest


def record(body: bytes = b"") -> RecordedRequest:
    return RecordedRequest("POST", "/v1/x", {}, {}, connection=3, peer_port=1, trace_id="t", body=body)


def test_a_request_shows_how_it_ended() -> None:
    request = record()
    assert repr(request) == "<RecordedRequest POST /v1/x connection=3 status=None open>"
    request.status, request.left_early = 200, True
    assert repr(request) == "<RecordedRequest POST /v1/x connection=3 status=200 left_early>"


def test_a_body_is_decoded_on_demand() -> None:
    assert record(b'{"a":1}').json == {"a": 1}
    with pytest.raises(ValueError, match="truncated"):
        _ = record(b"{").json
