"""Answers in a schema, by each of the methods."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

from siliconflow_async import InvalidRequestError, ParseError, TruncatedStreamError
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

from ...asking import chunk

pytestmark = pytest.mark.anyio

METHODS = ["json_schema", "function_calling", "json_mode"]


class Color(BaseModel):
    """A color."""

    name: str
    wavelength: int


class ColorDict(TypedDict):
    """A color."""

    name: str
    wavelength: int


BLUE = '{"name": "blue", "wavelength": 450}'
CUT = '{"name": "blue", "wavelength": 4'


def reply(server: FakeSiliconFlow, method: str, text: str, **options: Any) -> None:
    if method == "function_calling":
        server.reply(tool_calls=[{"name": "Color", "arguments": text}], **options)
    else:
        server.reply(text, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("schema", "parsed"),
    [
        (Color, Color(name="blue", wavelength=450)),
        (ColorDict, {"name": "blue", "wavelength": 450}),
        (Color.model_json_schema(), {"name": "blue", "wavelength": 450}),
    ],
    ids=["pydantic", "TypedDict", "JSON Schema"],
)
async def test_an_answer_is_read_into_the_schema(
    server: FakeSiliconFlow, model: ChatSiliconFlow, schema: Any, parsed: Any, method: Any
) -> None:
    name = "ColorDict" if schema is ColorDict else "Color"
    structured = model.with_structured_output(schema, method=method)
    for _ in range(2):
        if method == "function_calling":
            server.reply(tool_calls=[{"name": name, "arguments": BLUE}])
        else:
            server.reply(BLUE)
    assert await structured.ainvoke("Which color is the sky? JSON.") == parsed
    *_, last = [value async for value in structured.astream("Which color is the sky? JSON.")]
    assert last == parsed
    asked = server.requests[0].json
    if method == "function_calling":
        assert asked["tool_choice"] == "required"
        assert asked["tools"][0]["function"]["name"] == name
        assert "response_format" not in asked
    elif method == "json_mode":
        assert asked["response_format"] == {"type": "json_object"}
    else:
        holder = asked["response_format"]["json_schema"]
        assert (holder["name"], holder["description"]) == (name, "A color.")
        assert holder["schema"]["required"] == ["name", "wavelength"]
        assert "strict" not in holder


async def test_the_schema_is_what_is_asked_for_by_default(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    """Which the stand-in answers by itself, as a service would."""
    found = await model.with_structured_output(Color, strict=True).ainvoke("Which color is the sky?")
    assert isinstance(found, Color)
    holder = server.requests[0].json["response_format"]["json_schema"]
    assert (holder["strict"], holder["schema"]["additionalProperties"]) == (True, False)


async def test_json_of_no_schema_is_a_dict(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    server.reply('{"a": 1}')
    assert await model.with_structured_output(method="json_mode").ainvoke("JSON") == {"a": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {"name": "Color", "schema": Color.model_json_schema()},
        {"type": "json_schema", "json_schema": {"name": "Color", "schema": Color.model_json_schema()}},
    ],
)
async def test_a_schema_in_the_services_own_form_is_sent_as_it_is(
    server: FakeSiliconFlow, model: ChatSiliconFlow, schema: dict[str, Any]
) -> None:
    server.reply(BLUE)
    assert (await model.with_structured_output(schema).ainvoke("a"))["name"] == "blue"
    sent = server.requests[0].json["response_format"]["json_schema"]
    assert sent == {"name": "Color", "schema": Color.model_json_schema()}


@pytest.mark.parametrize("method", METHODS)
async def test_the_message_comes_with_it_where_it_is_asked_for(
    server: FakeSiliconFlow, model: ChatSiliconFlow, method: Any
) -> None:
    structured = model.with_structured_output(Color, method=method, include_raw=True)
    reply(server, method, BLUE)
    found = await structured.ainvoke("a")
    assert found["parsed"] == Color(name="blue", wavelength=450)
    assert found["parsing_error"] is None
    assert found["raw"].usage_metadata


@pytest.mark.parametrize("method", METHODS)
async def test_what_does_not_fit_raises_or_is_told(
    server: FakeSiliconFlow, model: ChatSiliconFlow, method: Any
) -> None:
    wrong = '{"name": "blue", "wavelength": "short"}'
    reply(server, method, wrong, times=2)
    with pytest.raises((OutputParserException, ValueError), match="wavelength"):
        await model.with_structured_output(Color, method=method).ainvoke("a")
    found = await model.with_structured_output(Color, method=method, include_raw=True).ainvoke("a")
    assert found["parsed"] is None
    assert "wavelength" in str(found["parsing_error"])
    assert found["raw"].response_metadata["trace_id"]


@pytest.mark.parametrize("schema", [Color, Color.model_json_schema()], ids=["pydantic", "JSON Schema"])
@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_that_was_cut_off_is_none(
    server: FakeSiliconFlow, model: ChatSiliconFlow, schema: Any, method: Any
) -> None:
    """Though its JSON could be completed, and would fit."""
    structured = model.with_structured_output(schema, method=method)
    reply(server, method, CUT, finish_reason="length", times=4)
    with pytest.raises(ParseError, match="cut off"):
        await structured.ainvoke("a")
    with pytest.raises(ParseError, match="cut off"):
        structured.invoke("a")
    with pytest.raises(ParseError, match="cut off"):
        async for _ in structured.astream("a"):
            pass
    with pytest.raises(ParseError, match="cut off"):
        list(structured.stream("a"))
    reply(server, method, CUT, finish_reason="length")
    found = await model.with_structured_output(schema, method=method, include_raw=True).ainvoke("a")
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], ParseError)


async def test_a_stream_that_breaks_off_is_none(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    server.raw([chunk(CUT)])
    with pytest.raises(TruncatedStreamError):
        async for _ in model.with_structured_output(Color.model_json_schema()).astream("a"):
            pass


async def test_a_stream_gives_what_there_is_so_far(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    server.reply(['{"name": "bl', 'ue", "wave', 'length": 450}'])
    found = [value async for value in model.with_structured_output(ColorDict).astream("a")]
    assert found == [{"name": "bl"}, {"name": "blue"}, {"name": "blue", "wavelength": 450}]


def test_what_makes_no_sense_is_refused_by_name(model: ChatSiliconFlow) -> None:
    with pytest.raises(InvalidRequestError, match="schema: json_schema needs one"):
        model.with_structured_output()
    with pytest.raises(InvalidRequestError, match=r"method must be json_schema, .* not 'xml'"):
        model.with_structured_output(Color, method="xml")  # type: ignore[arg-type]
