import pytest

from siliconflow_async.testing.serving.refusals import error_body


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (400, b"20015"),
        (401, b'"Invalid token"'),
        (402, b"30001"),
        (403, b'"Forbidden"'),
        (404, b'"404 page not found"'),
        (413, b"20043"),
        (429, b'{"message":"Request was rejected due to rate limiting. Details: TPM limit reached."}'),
        (451, b"20021"),
        (500, b"50507"),
        (502, b"<html>"),
        (503, b"50505"),
        (504, b'"'),
    ],
)
def test_a_failure_without_a_body_gets_the_one_of_its_status(status: int, part: bytes) -> None:
    assert part in error_body(status)
