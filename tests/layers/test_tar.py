"""The tar reader: hand-made streams against Go's archive/tar, and what it refuses."""

import tarfile

import pytest

from sifmake.errors import LayerError
from sifmake.layers.sparse import ZEROS
from sifmake.layers.tar import TarReader
from sifmake.limits import DEFAULT_LIMITS, Limits
from support.tars import (
    END,
    block,
    by_go,
    by_tarfile,
    chunked,
    file,
    gnu_long,
    needs_go,
    octal,
    ours,
    padded,
    pax,
    pax_raw,
    read,
    record,
)

GNU = b"ustar  \0"
V7 = b"\0" * 8
CAPABILITY = b"\x01\0\0\x02\0\x20" + bytes(14)


def base256(value, width):
    return bytes([0x80 if value >= 0 else 0xFF]) + value.to_bytes(width - 1, "big", signed=value < 0)


def sparse_1_0(size, stored, regions, data):
    lines = b"".join(b"%d\n" % number for number in (len(regions), *(n for region in regions for n in region)))
    head = pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"real"),
        (b"GNU.sparse.realsize", b"%d" % size),
    )
    body = padded(lines) + data
    return head + block(b"GNUSparseFile.0/real", size=len(body) if stored is None else stored) + padded(body)


def sparse_0_1(size, regions, data, count=None):
    numbers = b",".join(b"%d" % n for region in regions for n in region)
    return pax(
        (b"GNU.sparse.size", b"%d" % size),
        (b"GNU.sparse.numblocks", b"%d" % (len(regions) if count is None else count)),
        (b"GNU.sparse.map", numbers),
    ) + file(b"s", data)


def sparse_0_0(*records, data=b""):
    return pax((b"GNU.sparse.size", b"10"), (b"GNU.sparse.numblocks", b"1"), *records) + file(b"s", data)


def old_sparse(size, regions, data, extension=()):
    area = b"".join(octal(o, 12) + octal(n, 12) for o, n in regions).ljust(96, b"\0")
    rest = b"\0" * 41 + area + (b"\x01" if extension else b"\0") + octal(size, 12)
    more = b"".join(octal(o, 12) + octal(n, 12) for o, n in extension).ljust(512, b"\0") if extension else b""
    return block(b"s", b"S", len(data), magic=GNU, rest=rest) + more + padded(data)


STREAMS = {
    "nothing": b"",
    "one zero block": bytes(512),
    "two zero blocks": END,
    "zeros and more": END + b"anything" * 100,
    "clean end without marker": file(b"a", b"data"),
    "last padding missing": block(b"a", size=4) + b"data",
    "one zero block at the end": file(b"a", b"data") + bytes(512),
    "zero block in the middle": file(b"a") + bytes(512) + file(b"b") + END,
    "cut in header": file(b"a") + block(b"b")[:300],
    "cut in second zero block": file(b"a") + bytes(700),
    "cut in data": block(b"a", size=2000) + bytes(1500),
    "bad checksum amid": file(b"a") + block(b"b", checksum=b"000001\0 ") + END,
    "checksum no number": block(b"a", checksum=b"zzzzzz\0 ") + END,
    "no tar": b"#!/bin/sh\necho this is not a tar\n" * 40,
    "v7": block(b"a", b"\0", size=3, magic=V7) + padded(b"abc") + END,
    "v7 directory": block(b"a/", b"\0", size=3, magic=V7) + file(b"b") + END,
    "v7 has no prefix": block(b"a", b"\0", magic=V7, rest=b"prefix") + END,
    "prefix": file(b"a", b"x", rest=b"some/prefix") + END,
    "full name field": file(b"n" * 100, b"x", rest=b"p" * 155) + END,
    "regular with slash stays a file": file(b"a/", b"x") + END,
    "contiguous": block(b"a", b"7", 1) + padded(b"x") + END,
    "star": file(b"a", rest=b"p" * 131 + octal(1, 12) + octal(2, 12) + bytes(8) + b"tar\0") + END,
    "star with a bad time": file(b"a", rest=b"p" * 131 + b"zzz".ljust(24, b"\0") + bytes(8) + b"tar\0") + END,
    "GNU with times": file(b"a", magic=GNU, rest=octal(1, 12) + octal(2, 12)) + END,
    "GNU with Go's old prefix": file(b"a", magic=GNU, rest=b"some/prefix") + END,
    "GNU with binary junk as prefix": file(b"a", magic=GNU, rest=b"some/\xff") + END,
    "types with sizes": b"".join(block(b"n", kind, 5000, link=b"t") for kind in (b"1", b"2", b"3", b"4", b"5", b"6"))
    + END,
    "device numbers": block(b"null", b"3", major=octal(1, 8), minor=octal(3, 8)) + END,
    "device number no number": file(b"a", major=b"hello\0\0\0") + END,
    "setuid and file type bits": file(b"a", mode=b"0107755\0") + END,
    "blank numbers": file(b"a", mode=b"   644 \0", uid=b"        ", gid=bytes(8)) + END,
    "inner NUL ends a number": file(b"a", mode=b"644\x0011\0\0") + END,
    "eight in octal": file(b"a", mode=b"0000684\0") + END,
    "underscore in octal": file(b"a", mode=b"00_0644\0") + END,
    "sign in octal": file(b"a", mode=b"+000644\0") + END,
    "base-256 size": block(b"a", size=base256(3, 12)) + padded(b"abc") + END,
    "base-256 negative time": file(b"a", mtime=base256(-7, 12)) + END,
    "base-256 huge time": file(b"a", mtime=base256(1 << 62, 12)) + END,
    "base-256 overflow": file(b"a", mtime=base256(1 << 64, 12)) + END,
    "base-256 uid": file(b"a", uid=base256(4_000_000_000, 8)) + END,
    "negative size": block(b"a", size=base256(-1, 12)) + END,
    "negative size of a directory": block(b"a", b"5", size=base256(-1, 12)) + END,
    "GNU long name and link": gnu_long(b"L", b"n" * 300) + gnu_long(b"K", b"t" * 300) + block(b"x", b"2") + END,
    "GNU long name cut at NUL": gnu_long(b"L", b"name\0rest") + file(b"x") + END,
    "GNU long name empty": gnu_long(b"L", b"") + file(b"x") + END,
    "GNU long name twice": gnu_long(b"L", b"one") + gnu_long(b"L", b"two") + file(b"x") + END,
    "long name beats PAX": pax((b"path", b"pax")) + gnu_long(b"L", b"gnu") + file(b"x") + END,
    "PAX path": pax((b"path", b"p/" * 2000 + "né".encode())) + file(b"x") + END,
    "PAX link": pax((b"linkpath", b"t" * 300)) + block(b"x", b"2", link=b"short") + END,
    "PAX numbers": pax((b"uid", b"70000"), (b"gid", b"+5"), (b"size", b"3")) + file(b"x", b"abc") + END,
    "PAX size beats the header's": pax((b"size", b"600")) + block(b"x", size=5) + padded(b"y" * 600) + file(b"z") + END,
    "PAX size of a directory": pax((b"size", b"600")) + block(b"x", b"5") + file(b"z") + END,
    "PAX size negative": pax((b"size", b"-1")) + file(b"x") + END,
    "PAX size of an extended header": pax((b"size", b"1024")) + pax((b"path", b"q")) + file(b"x", b"abc") + END,
    "PAX number no number": pax((b"uid", b"1_0")) + file(b"x") + END,
    "PAX number beyond 64 bits": pax((b"size", b"9223372036854775808")) + file(b"x") + END,
    "PAX leading zeros": pax((b"uid", b"0" * 40 + b"7")) + file(b"x") + END,
    "PAX time": pax((b"mtime", b"1350244992.023960108")) + file(b"x") + END,
    "PAX time negative": pax((b"mtime", b"-1.5")) + file(b"x") + END,
    "PAX time just below zero": pax((b"mtime", b"-0.5")) + file(b"x") + END,
    "PAX time below nanoseconds": pax((b"mtime", b"-1.00000000001")) + file(b"x") + END,
    "PAX time whole": pax((b"mtime", b"-3.")) + file(b"x") + END,
    "PAX time no time": pax((b"mtime", b"1.x")) + file(b"x") + END,
    "PAX access time no time": pax((b"atime", b"noon")) + file(b"x") + END,
    "PAX value empty": pax((b"path", b""), (b"uid", b""), (b"SCHILY.xattr.user.a", b"")) + file(b"x") + END,
    "PAX value emptied later": pax((b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.a", b"")) + file(b"x") + END,
    "PAX value with equals": pax((b"SCHILY.xattr.user.a=b", b"c=d"), (b"comment", b"a=b=c")) + file(b"x") + END,
    "PAX unknown keys": pax((b"VENDOR.key", b"\xff\0\n"), (b"hdrcharset", b"BINARY")) + file(b"x") + END,
    "PAX binary xattr": pax((b"SCHILY.xattr.security.capability", CAPABILITY)) + file(b"x") + END,
    "PAX xattr of libarchive": pax((b"LIBARCHIVE.xattr.user.a", b"YQ==")) + file(b"x") + END,
    "PAX key of only the prefix of xattrs": pax((b"SCHILY.xattr", b"v")) + file(b"x") + END,
    "PAX NUL in path": pax((b"path", b"a\0b")) + file(b"x") + END,
    "PAX NUL in key": pax((b"SCHILY.xattr.user.\0", b"v")) + file(b"x") + END,
    "PAX twice": pax((b"path", b"one"), (b"uid", b"1")) + pax((b"path", b"two")) + file(b"x") + END,
    "PAX empty": pax_raw(b"") + file(b"x") + END,
    "PAX length wrong": pax_raw(b"99 path=a\n") + file(b"x") + END,
    "PAX length zero": pax_raw(b"0 path=a\n") + file(b"x") + END,
    "PAX length negative": pax_raw(b"-9 path=a\n") + file(b"x") + END,
    "PAX length too short": pax_raw(b"4 a=\n") + file(b"x") + END,
    "PAX shortest record": pax_raw(b"5 a=\n") + file(b"x") + END,
    "PAX length inside itself": pax_raw(b"000005 a=\n") + file(b"x") + END,
    "PAX length with zeros": pax_raw(b"010 a=123\n") + file(b"x") + END,
    "PAX without newline": pax_raw(b"8 path=ab") + file(b"x") + END,
    "PAX without equals": pax_raw(b"8 path1\n") + file(b"x") + END,
    "PAX without key": pax_raw(b"5 =a\n") + file(b"x") + END,
    "PAX without blank": pax_raw(b"path=a\n") + file(b"x") + END,
    "PAX trailing NULs": pax_raw(record(b"path", b"a") + b"\0\0") + file(b"x") + END,
    "global comment": pax((b"comment", b"c" * 3000), kind=b"g") + file(b"x") + END,
    "global owner is not kept": pax((b"uid", b"7"), (b"path", b"other"), kind=b"g") + file(b"x") + file(b"y") + END,
    "global malformed": pax_raw(b"99 a=b\n", b"g") + file(b"x") + END,
    "global at the end": file(b"x") + pax((b"comment", b"c"), kind=b"g") + END,
    "sparse 1.0": sparse_1_0(2000, None, [(5, 3), (1000, 2), (2000, 0)], b"abcde") + file(b"z") + END,
    "sparse 1.0 many regions": sparse_1_0(90000, None, [(n * 30, 1) for n in range(3000)], b"x" * 3000) + END,
    "sparse 1.0 map truncated": sparse_1_0(2000, 100, [(5, 3)], b"abc") + END,
    "sparse 1.0 map negative": sparse_1_0(2000, None, [(-5, 3)], b"abc") + END,
    "sparse 1.0 overlap": sparse_1_0(2000, None, [(5, 3), (6, 3)], b"abcdef") + END,
    "sparse 1.0 backwards": sparse_1_0(2000, None, [(50, 3), (6, 3)], b"abcdef") + END,
    "sparse 1.0 outside": sparse_1_0(2000, None, [(1999, 3)], b"abc") + END,
    "sparse 1.0 data missing": sparse_1_0(2000, None, [(5, 30)], b"abc") + file(b"z") + END,
    "sparse 1.0 data left": sparse_1_0(2000, None, [(5, 1)], b"abc") + file(b"z") + END,
    "sparse 0.1": sparse_0_1(10, [(2, 3), (8, 1)], b"abcd") + file(b"z") + END,
    "sparse 0.1 all hole": sparse_0_1(300_000, [(300_000, 0)], b"") + file(b"z") + END,
    "sparse 0.1 wrong count": sparse_0_1(10, [(2, 3)], b"abc", count=2) + END,
    "sparse 0.1 no count": pax((b"GNU.sparse.map", b"0,1")) + file(b"s", b"a") + END,
    "sparse 0.0": sparse_0_0((b"GNU.sparse.offset", b"2"), (b"GNU.sparse.numbytes", b"3"), data=b"abc") + END,
    "sparse 0.0 out of order": sparse_0_0((b"GNU.sparse.numbytes", b"3"), (b"GNU.sparse.offset", b"2")) + END,
    "sparse of a later version": pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")) + file(b"s", b"a") + END,
    "sparse directory": pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.numblocks", b"1")) + block(b"s", b"5") + END,
    "old sparse": old_sparse(1000, [(0, 2), (500, 3), (1000, 0)], b"abcde") + file(b"z") + END,
    "old sparse extended": old_sparse(
        9000, [(n * 10, 1) for n in range(4)], b"abcdefg", [(n * 1000, 1) for n in (1, 2, 3)]
    )
    + file(b"z")
    + END,
    "old sparse extension missing": old_sparse(9000, [(0, 1)] * 4, b"", [(1, 1)])[:512],
    "old sparse outside GNU": block(b"s", b"S") + END,
    "old sparse overlap": old_sparse(1000, [(0, 5), (3, 3)], b"abcdefgh") + END,
}
"""Streams for which Go's reader is right."""

STRICTER = {
    "PAX without its entry": pax((b"path", b"a")) + END,
    "long name without its entry": file(b"x") + gnu_long(b"L", b"name"),
    "extended header, then a global one": pax((b"path", b"a")) + pax((b"comment", b"c"), kind=b"g") + file(b"x") + END,
    "volume label": block(b"label", b"V") + file(b"x") + END,
    "unknown type": block(b"a", b"Z", 3) + padded(b"abc") + END,
    "uid above 32 bits": pax((b"uid", b"4294967296")) + file(b"x") + END,
    "uid of -1 in 32 bits": pax((b"uid", b"4294967295")) + file(b"x") + END,
    "gid negative": file(b"x", gid=base256(-1, 8)) + END,
    "device number negative": block(b"x", b"3", major=base256(-1, 8)) + END,
    "NUL in the name of a sparse file": pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"a\0b")
    )
    + file(b"s", padded(b"0\n"))
    + END,
}
"""Streams that Go reads to their end though something is lost, or that nobody could unpack."""


@needs_go
def test_hand_made_streams_read_as_in_go():
    differences = {}
    for (name, raw), (members, error) in zip(STREAMS.items(), by_go(*STREAMS.values()), strict=True):
        seen, message = ours(raw)
        if seen != members or bool(message) != bool(error):
            differences[name] = (message, error, seen, members)
    assert not differences


@needs_go
def test_streams_that_go_passes_and_we_refuse():
    answers = by_go(*STRICTER.values())
    assert [name for name, (_, error) in zip(STRICTER, answers, strict=True) if error] == []
    assert [name for name, raw in STRICTER.items() if not ours(raw)[1]] == []


def test_signed_checksums_of_old_tars_count():
    raw = block("né".encode())
    rest = raw[:148] + b" " * 8 + raw[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    assert signed != sum(rest)
    assert [seen.name for seen in read(raw[:148] + b"%06o\0 " % signed + raw[156:])] == ["né".encode()]


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1000])
def test_chunks_may_be_cut_anywhere(size):
    raw = file(b"a", b"one" * 700) + pax((b"path", b"p" * 700)) + file(b"x") + sparse_0_1(10, [(2, 3)], b"abc") + END
    assert read(chunked(raw, size)) == read(raw)


def test_content_can_be_read_in_part_or_not_at_all():
    raw = (
        file(b"a", b"one" * 700) + file(b"b", b"two" * 700) + sparse_0_1(10, [(2, 3)], b"abc") + file(b"c", b"3") + END
    )
    reader = TarReader(chunked(raw, 300), DEFAULT_LIMITS)
    content = {}
    for member in reader:
        if member.name == b"a":
            content[member.name] = bytes(next(reader.data()))
        elif member.name == b"c":
            content[member.name] = reader.take_all()
    assert content[b"a"]
    assert (b"one" * 700).startswith(content[b"a"])
    assert content[b"c"] == b"3"


@pytest.mark.parametrize("size", [64, 1 << 20])
def test_take_all_fills_holes(size):
    raw = file(b"a", b"one" * 300) + sparse_0_1(10, [(2, 3)], b"abc") + END
    reader = TarReader(chunked(raw, size), DEFAULT_LIMITS)
    assert [reader.take_all() for _ in reader] == [b"one" * 300, b"\0\0abc" + bytes(5)]


def test_holes_come_in_bounded_pieces():
    raw = sparse_0_1(10 << 20, [(5, 1)], b"x") + END
    reader = TarReader(chunked(raw), DEFAULT_LIMITS)
    for _ in reader:
        assert max(len(piece) for piece in reader.data()) <= len(ZEROS)


def test_the_stream_is_read_to_its_end():
    left = chunked(file(b"a") + END + b"beyond" * 1000, 512)
    assert [seen.name for seen in read(left)] == [b"a"]
    assert next(left, None) is None


LIMITED = {
    "entries": (Limits(layer_entries=2), file(b"a") * 3, "more than 2 entries"),
    "file": (Limits(file_bytes=10), file(b"a", b"x" * 11), "a file has 11 bytes; 10 are allowed"),
    "sparse file": (Limits(file_bytes=10), sparse_0_1(11, [(0, 1)], b"x"), "a sparse file has 11 bytes"),
    "sparse regions": (Limits(sparse_regions=2), sparse_0_1(9, [(1, 1), (3, 1), (5, 1)], b"xyz"), "map has 3 regions"),
    "sparse regions 1.0": (
        Limits(sparse_regions=2),
        sparse_1_0(9, None, [(1, 1), (3, 1), (5, 1)], b"xyz"),
        "3 regions",
    ),
    "old sparse regions": (Limits(sparse_regions=2), old_sparse(9, [(1, 1), (3, 1), (5, 1)], b"xyz"), "3 regions"),
    "old sparse without end": (
        Limits(sparse_regions=100),
        old_sparse(9, [(0, 1)] * 4, b"", [(0, 1)])[:512] + (octal(0, 12) * 42 + b"\x01" * 8) * 10,
        "map has 101 regions",
    ),
    "pax": (Limits(pax_bytes=600), pax((b"comment", b"c" * 600)), "an extended header has 613 bytes"),
    "pax records": (
        Limits(pax_records=2),
        pax(*[(b"%d" % n, b"") for n in range(3)]) + file(b"x"),
        "more records than",
    ),
    "global pax records": (Limits(pax_records=2), pax((b"a", b"1"), kind=b"g") * 3 + file(b"x"), "more records than"),
    "long name": (Limits(pax_bytes=600), gnu_long(b"L", b"n" * 600), "an extended header has 601 bytes"),
    "name": (Limits(name_bytes=300), pax((b"path", b"n" * 301)) + file(b"x"), "more than 300 bytes"),
    "link": (Limits(name_bytes=300), pax((b"linkpath", b"n" * 301)) + block(b"x", b"2"), "more than 300 bytes"),
    "xattrs": (
        Limits(xattr_bytes=9),
        pax((b"SCHILY.xattr.user.a", b"1234")) + file(b"x"),
        "attributes are larger than 9",
    ),
}


@pytest.mark.parametrize("case", LIMITED)
def test_limits_hold(case):
    limits, raw, message = LIMITED[case]
    with pytest.raises(LayerError) as caught:
        read(raw + END, limits)
    assert message in caught.value.what


def test_an_endless_chain_of_headers_does_not_recurse():
    chain = gnu_long(b"L", b"n") * 20_000
    assert [seen.name for seen in read(chain + file(b"x") + END)] == [b"n"]


WHERE = {
    "in an entry": (block(b"etc/pass\xffwd\n", size=2000) + bytes(600), r"etc/pass\udcffwd\n (tar byte 1112)"),
    "behind an entry": (file(b"etc/passwd") + b"x" * 512, "after etc/passwd (tar byte 1024)"),
    "at the start": (b"x" * 512, "tar byte 512"),
    "long name": (pax((b"path", b"some/name"), (b"uid", b"-1")) + file(b"x"), "some/name (tar byte 1536)"),
}


@pytest.mark.parametrize("case", WHERE)
def test_errors_name_the_place(case):
    raw, where = WHERE[case]
    with pytest.raises(LayerError) as caught:
        read(raw)
    assert caught.value.where == where


def info(name, **fields):
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def test_file_capability_survives_byte_for_byte():
    """b33: the value begins with a NUL-ridden header and was read as text."""
    value = CAPABILITY.decode("latin-1")
    raw = by_tarfile((info("ping", pax_headers={"SCHILY.xattr.security.capability": value}), b""))
    assert read(raw)[0].xattrs == ((b"security.capability", CAPABILITY),)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_are_bytes(form):
    """b35: a Latin-1 name."""
    assert read(by_tarfile((info("caf\udce9"), b""), form=form))[0].name == b"caf\xe9"


def test_utf8_names_of_pax():
    """b35: a name in a PAX record."""
    assert read(by_tarfile((info("żółw"), b"")))[0].name == "żółw".encode()


def test_binary_pax_values():
    """b36: bytes above 0x7f in values, hdrcharset=BINARY."""
    raw = pax((b"hdrcharset", b"BINARY"), (b"path", b"\xe9"), (b"SCHILY.xattr.user.x", bytes(range(256)))) + file(b"x")
    (seen,) = read(raw + END)
    assert (seen.name, seen.xattrs) == (b"\xe9", ((b"user.x", bytes(range(256))),))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [99, 100, 101, 255, 256, 257, 4000])
def test_long_names_and_targets(form, length):
    """b38: extended headers of more than two blocks."""
    name, target = "n" * length, "t/" * (length // 2)
    link = info(name, type=tarfile.SYMTYPE, linkname=target)
    (seen,) = read(by_tarfile((link, b""), form=form))
    assert (seen.name, seen.linkname) == (name.encode(), target.encode())


def test_long_comments_are_passed_over():
    """b38: a 3 KiB comment, global and local."""
    comment = (b"comment", b"c" * 3072)
    assert [seen.name for seen in read(pax(comment, kind=b"g") + pax(comment) + file(b"x") + END)] == [b"x"]


def test_odd_pax_records():
    """b44: "=" in a value, an empty value, an unknown key."""
    raw = (
        pax((b"SCHILY.xattr.user.a", b"x=y"), (b"SCHILY.xattr.user.b", b""), (b"NOBODY.knows", b"1")) + file(b"x") + END
    )
    assert read(raw)[0].xattrs == ((b"user.a", b"x=y"),)


def test_negative_and_late_times():
    raw = by_tarfile((info("x", mtime=-1.5), b""), (info("y", mtime=2**33), b""))
    assert [seen.mtime for seen in read(raw)] == [-2, 2**33]
