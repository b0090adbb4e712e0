"""What a keyword means stands in the TypedDict, and in the `Args:` of the methods that take it, in the same words."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from siliconflow_async.endpoints.audio import (
    Speeches,
    SpeechParams,
    TranscriptionParams,
    Transcriptions,
    VoiceCreateParams,
    Voices,
)
from siliconflow_async.endpoints.batches import BatchCreateParams, Batches, BatchListParams
from siliconflow_async.endpoints.completions import CompletionParams, TextCompletions
from siliconflow_async.endpoints.embeddings import EmbeddingOptions, EmbeddingParams, Embeddings
from siliconflow_async.endpoints.files import FileCreateParams, FileListParams, Files
from siliconflow_async.endpoints.images import ImageParams, Images
from siliconflow_async.endpoints.messages import MessageParams, Messages
from siliconflow_async.endpoints.rerank import Rerank, RerankParams
from siliconflow_async.endpoints.user import User
from siliconflow_async.endpoints.videos import VideoParams, Videos
from siliconflow_async.request import fields
from siliconflow_async.request.fields import PlainCallOptions

TAKING: list[tuple[Callable[..., Any], type]] = [
    (Batches.create, BatchCreateParams),
    (Batches.list, BatchListParams),
    (Batches.retrieve, PlainCallOptions),
    (Batches.cancel, PlainCallOptions),
    (Embeddings.create, EmbeddingParams),
    (Embeddings.map, EmbeddingOptions),
    (Files.create, FileCreateParams),
    (Files.list, FileListParams),
    (Files.retrieve, PlainCallOptions),
    (Files.delete, PlainCallOptions),
    (Files.content, PlainCallOptions),
    (Images.generate, ImageParams),
    (Messages.create, MessageParams),
    (Messages.stream, MessageParams),
    (Rerank.create, RerankParams),
    (Speeches.create, SpeechParams),
    (Speeches.stream, SpeechParams),
    (Transcriptions.create, TranscriptionParams),
    (Voices.create, VoiceCreateParams),
    (User.info, PlainCallOptions),
    (Voices.list, PlainCallOptions),
    (Voices.delete, PlainCallOptions),
    (Videos.create, VideoParams),
    (TextCompletions.create, CompletionParams),
    (TextCompletions.stream, CompletionParams),
]


def told(params: type) -> dict[str, str]:
    """What a TypedDict, and those that it extends, say of each keyword."""
    classes = {
        node.name: node
        for module in (fields, sys.modules[params.__module__])
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ClassDef)
    }

    def of(name: str) -> dict[str, str]:
        if name not in classes:
            return {}
        found: dict[str, str] = {}
        for base in classes[name].bases:
            found |= of(ast.unparse(base))
        for keyword, text in pairwise(classes[name].body):
            if isinstance(keyword, ast.AnnAssign):
                assert isinstance(text, ast.Expr), ast.unparse(keyword)
                found[ast.unparse(keyword.target)] = ast.literal_eval(text.value)
        return found

    return of(params.__name__)


@pytest.mark.parametrize(("method", "params"), TAKING, ids=lambda value: getattr(value, "__qualname__", None))
def test_the_args_of_a_method_are_its_keywords_in_their_words(method: Callable[..., Any], params: type) -> None:
    """An entry is a line, since editors show the first line alone; the method's own parameters are there too."""
    _, _, section = inspect.cleandoc(method.__doc__ or "").partition("\nArgs:\n")
    entries = dict(re.findall(r"^    (\w+): (.+)$", section.partition("\n\n")[0], re.MULTILINE))
    said = told(params)
    assert said.keys() == params.__annotations__.keys()
    own = set(inspect.signature(method).parameters) - {"self", "params"}
    assert entries.keys() == own | said.keys()
    assert {name: entries[name] for name in said} == said
