import pytest

from siliconflow_async.testing import Trickle


def test_a_trickle_of_empty_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 1"):
        Trickle(b"abc", size=0)
