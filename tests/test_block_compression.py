"""How compressions are written: names, levels, and what they mean."""

from __future__ import annotations

import pytest

from sifmake.block_compression import block_format, full_compression, is_compression, split_compression
from sifmake.errors import UsageError


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("gzip", "gzip:6"),  # also what locks of before 0.3 mean
        ("zstd", "zstd:6"),
        ("fast", "fast:3"),
        ("gzip:12", "gzip:12"),
        ("gzip:09", "gzip:9"),
        ("fast:1", "fast:1"),
        ("zstd:22", "zstd:22"),
    ],
)
def test_a_compression_has_one_full_name(text, full):
    assert full_compression(text) == full_compression(full) == full


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lzma", "use one of: gzip, fast, zstd"),
        ("", "use one of"),
        (":6", "use one of"),
        ("gzip:", "from gzip:1 to gzip:12"),
        ("gzip:0", "from gzip:1 to gzip:12"),
        ("gzip:13", "from gzip:1 to gzip:12"),
        ("fast:4", "from fast:1 to fast:3"),
        ("zstd:-1", "from zstd:1 to zstd:22"),
        ("zstd:6:6", "from zstd"),
        ("gzip:\u0666", "from gzip"),
        ("gzip:" + "9" * 5000, "from gzip"),
    ],
)
def test_another_text_names_none(text, hint):
    assert not is_compression(text)
    with pytest.raises(UsageError) as error:
        split_compression(text)
    assert hint in str(error.value.hint)


def test_every_kernel_reads_fast_as_gzip():
    assert [block_format(name) for name in ("gzip:6", "fast", "fast:2", "zstd:3")] == ["gzip", "gzip", "gzip", "zstd"]
