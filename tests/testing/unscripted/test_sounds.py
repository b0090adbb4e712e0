"""What the stand-in says are real files."""

from __future__ import annotations

import wave
from io import BytesIO

import pytest

from siliconflow_async.request.media import media_type
from siliconflow_async.testing.unscripted.sounds import SECONDS, TYPES, sound


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_a_wav_has_a_tone_for_each_letter(rate: int) -> None:
    """Its head tells of what follows, and pcm is the same without the head."""
    data = b"".join(sound("hi 你", "wav", rate))
    with wave.open(BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.getnframes() == 4 * int(SECONDS * rate)
        samples = file.readframes(file.getnframes())
    assert samples == b"".join(sound("hi 你", "pcm", rate))
    each = len(samples) // 4
    tones = [samples[at : at + each] for at in range(0, len(samples), each)]
    assert tones[2] == bytes(each)  # the space
    assert len(set(tones)) == 4


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_an_mp3_is_whole_frames_that_last_as_long_as_the_text(rate: int) -> None:
    """Each begins where the one before ends."""
    data = b"".join(sound("hello" * 10, "mp3", rate))
    size = 144 * 128_000 // rate
    frames = [data[at : at + size] for at in range(0, len(data), size)]
    assert {frame[:2] for frame in frames} == {b"\xff\xfb"}
    assert {len(frame) for frame in frames} == {size}
    assert 0 <= len(frames) * 1152 / rate - 50 * SECONDS < 0.05


def test_an_opus_file_is_pages_that_fit_together() -> None:
    """Numbered, the last one marked; its end tells how long it lasts."""
    data = b"".join(sound("hello" * 10, "opus", 48_000))
    pages = [b"OggS" + page for page in data.split(b"OggS")[1:]]
    assert [int.from_bytes(page[18:22], "little") for page in pages] == list(range(len(pages)))
    assert [page[5] for page in pages] == [2, *[0] * (len(pages) - 2), 4]
    assert int.from_bytes(pages[-1][6:14], "little") == round(50 * SECONDS * 48_000)
    # As ffmpeg, which checks them, took them.
    assert pages[0][22:26].hex() == "846cd924"


@pytest.mark.parametrize("kind", ["mp3", "opus", "wav"])
def test_its_first_bytes_say_what_it_is(kind: str) -> None:
    """As for any sound that is sent."""
    assert media_type(b"".join(sound("a", kind, 48_000 if kind == "opus" else 44_100))[:64], "audio") == TYPES[kind]


def test_a_long_text_has_an_end() -> None:
    """A book would take hours."""
    assert len(b"".join(sound("a" * 100_000, "pcm", 8000))) == 2 * 500 * int(SECONDS * 8000)
