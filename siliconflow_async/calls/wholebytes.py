"""Answers that are bytes, whole: what a file holds, or speech."""

from __future__ import annotations

from ..stream.wholefile import FilePath, written_whole
from ..wire.failures import Mask, unmasked
from ..wire.plain import Headed, Plain

__all__ = ["FileContent", "WholeBytes", "decode_content"]


class WholeBytes(Headed, Plain):
    """Bytes, under the names that the openai package has for them."""

    @property
    def content(self) -> bytes:
        """The bytes, which are `raw` too."""
        return self.raw or b""

    def read(self) -> bytes:
        """`content`, as the openai package has it too."""
        return self.content

    async def save(self, path: FilePath) -> int:
        """Write it to a file, which is there once it is whole; return how many bytes it has.

        Raises InvalidRequestError where the file can't be made, OSError where it can't be written.
        """
        async with written_whole(path) as file:
            await file.write(self.content)
            return file.size

    def write_to_file(self, path: FilePath) -> None:
        """Write it to a file at once, which blocks the loop, as the openai package has it; raise OSError."""
        with open(path, "wb") as file:
            file.write(self.content)

    async def astream_to_file(self, path: FilePath) -> None:
        """`save(path)`, as the openai package names it."""
        await self.save(path)


class FileContent(WholeBytes):
    """What a file holds, whole: `content` is bytes, `text` the same as text.

    `headers` are the answer's headers with lower-case names, `trace_id` what SiliconFlow's support asks for.
    """

    @property
    def text(self) -> str:
        """The content as text; what is no UTF-8 is replaced."""
        return self.content.decode("utf-8", "replace")


def decode_content(body: bytes, mask: Mask = unmasked) -> FileContent:
    """Take the whole content of a file as it comes."""
    content = FileContent()
    content.raw = body
    return content
