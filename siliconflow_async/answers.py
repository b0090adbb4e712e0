"""What the endpoints beside chat answer with, for annotations: `from siliconflow_async.answers import Ranking`."""

from .calls.remote import ImagesResponse, RemoteFile
from .calls.speech import Speech, SpeechStreamManager
from .calls.wholebytes import FileContent
from .runs.embeddingrun import EmbeddingResults
from .runs.videojob import VideoJob
from .stream.bytestream import ByteStream
from .stream.completions import CompletionStream, CompletionStreamManager, CompletionTextIterator
from .stream.messages import MessageStream, MessageStreamManager
from .wire.endpoints.audio import Transcription, Voice, VoiceDeleted, VoiceList
from .wire.endpoints.batches import Batch, BatchCounts, BatchList, BatchResponse, BatchResult
from .wire.endpoints.completions import Completion, CompletionChoice
from .wire.endpoints.embeddings import Embedding, EmbeddingArray, EmbeddingArrays, EmbeddingList
from .wire.endpoints.files import FileDeleted, FileList, FileObject
from .wire.endpoints.images import Timings
from .wire.endpoints.messages import (
    BlockDelta,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Message,
    MessageDelta,
    MessageEvent,
    MessageStart,
    MessageStop,
    MessageUsage,
    Ping,
    StopDelta,
)
from .wire.endpoints.rerank import Ranked, RankedDocument, Ranking, RankingTokens
from .wire.endpoints.user import UserInfo

__all__ = [
    "Batch",
    "BatchCounts",
    "BatchList",
    "BatchResponse",
    "BatchResult",
    "BlockDelta",
    "ByteStream",
    "Completion",
    "CompletionChoice",
    "CompletionStream",
    "CompletionStreamManager",
    "CompletionTextIterator",
    "ContentBlock",
    "ContentBlockDelta",
    "ContentBlockStart",
    "ContentBlockStop",
    "Embedding",
    "EmbeddingArray",
    "EmbeddingArrays",
    "EmbeddingList",
    "EmbeddingResults",
    "FileContent",
    "FileDeleted",
    "FileList",
    "FileObject",
    "ImagesResponse",
    "Message",
    "MessageDelta",
    "MessageEvent",
    "MessageStart",
    "MessageStop",
    "MessageStream",
    "MessageStreamManager",
    "MessageUsage",
    "Ping",
    "Ranked",
    "RankedDocument",
    "Ranking",
    "RankingTokens",
    "RemoteFile",
    "Speech",
    "SpeechStreamManager",
    "StopDelta",
    "Timings",
    "Transcription",
    "UserInfo",
    "VideoJob",
    "Voice",
    "VoiceDeleted",
    "VoiceList",
]
