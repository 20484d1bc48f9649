"""Mutations of .tar and .npz files: members that lead elsewhere, sizes that are not true, damaged content."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
from pathlib import PurePosixPath
from random import Random

from tests.fuzz.damage.raw import EXTREMES, extreme_bytes
from tests.fuzz.damage.texts import mutate_json

_BLOCK = tarfile.BLOCKSIZE
_TYPES = (
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
    tarfile.CONTTYPE,
    tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z",
)  # fmt: skip


def mutate_tar(data: bytes, rng: Random, outside: str) -> bytes:
    """A sound tar with hostile members, or a changed header or ``metadata.json``.

    Parameters
    ----------
    outside : absolute path of a file that must not come to be
    """
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(m.name, b"" if (f := tar.extractfile(m)) is None else f.read()) for m in tar]
    kind = rng.random()
    if kind < 0.45:
        members = [(n, mutate_json(c, rng) if n.endswith("metadata.json") else c) for n, c in members]
        return _tar([_member(n, c) for n, c in members])
    if kind < 0.55:
        members = [(n, mutate_json(c, rng) if n.endswith(".relax.json") else c) for n, c in members]
        return _tar([_member(n, c) for n, c in members])
    if kind < 0.85:
        made = [_member(n, c) for n, c in members]
        for _ in range(rng.choice((1, 1, 2))):
            made.insert(rng.randrange(len(made) + 1), _hostile(members, outside, rng))
        return _tar(made)
    return _with_changed_header(data, rng)


def _member(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def _hostile(members: list[tuple[str, bytes]], outside: str, rng: Random) -> tuple[tarfile.TarInfo, bytes]:
    own, content = rng.choice(members)
    up = "../" * rng.randrange(1, 5)
    codegen = "codegen/host/src/../../../../../escaped"
    odd = ("", ".", "..", "x" * 300, "a/" * 90, "\u0000x", "nul\udcff", f"{own}\n", "metadata.json", "model")
    name = rng.choice(
        (outside, f"{up}{PurePosixPath(outside).name}", f"./x/{up}escaped", own, f"{own}/x", codegen, *odd)
    )
    info, content = _member(name, content)
    if rng.random() < 0.5:
        info.type = rng.choice(_TYPES)
        info.linkname = rng.choice((outside, f"{up}escaped", "/etc/passwd", own, "metadata.json", name, ""))
        if rng.random() < 0.7:
            info.size = 0
            content = b""
    return info, content


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _with_changed_header(data: bytes, rng: Random) -> bytes:
    """One field of one header is another one; the checksum holds."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        start = rng.choice(tar.getmembers()).offset
    header = bytearray(data[start : start + _BLOCK])
    at, width = rng.choice(((0, 100), (124, 12), (124, 12), (156, 1), (257, 8), (345, 155), (108, 16)))
    if at == 124 and rng.random() < 0.7:
        size = rng.choice(EXTREMES)
        header[at : at + width] = (
            b"%011o\0" % size if 0 <= size < 8**11 else b"\x80" + (size & (1 << 88) - 1).to_bytes(11, "big")
        )
    else:
        place = at + rng.randrange(width)
        header[place] = rng.choice((0, 0xFF, 0x80, 0x20, 0x2F, 0x2E, *b"0123457gxKLS"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:start] + bytes(header) + data[start + _BLOCK :]


def mutate_npz(data: bytes, rng: Random) -> bytes:
    """A sound .npz with changed headers of arrays, hostile members, or sizes that are not true."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    kind = rng.random()
    if kind < 0.6:
        at = rng.randrange(len(members))
        members[at] = (members[at][0], _changed_array(members[at][1], rng))
    elif kind < 0.75:
        name, content = rng.choice(members)
        strange = (("../x.npy", content), ("/x.npy", content), ("x", content), ("", b""), ("\u00e9.npy", b"\x93NUMPY"))
        members.append(rng.choice(((name, content), *strange)))
    packed = bytearray(_zip(members, zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED))
    if kind >= 0.75:
        places = [(i, f) for i in range(len(packed)) for s, f in _ZIP_FIELDS.items() if packed.startswith(s, i)]
        at, fields = rng.choice(places)
        offset, width = rng.choice(fields)
        packed[at + offset : at + offset + width] = extreme_bytes(rng, width)
    return bytes(packed)


# Signature of a local header, of a directory entry, of the end -> position and width of its numbers.
_ZIP_FIELDS = {
    b"PK\3\4": ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)),
    b"PK\5\6": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}


_SHAPES = (
    "()", "(1,)", "(-1,)", "(1000000000000,)", "(100000, 100000)", "(2**62,)", "(9223372036854775807, 4)", "(0,)",
    "(True,)", "(1.5,)", "'x'", "(" * 3000, "(1,) * 3", "None",
)  # fmt: skip
_TYPE_TEXTS = (
    "'|i1'", "'|i1'", "'<f4'", "'|O'", "'|V1000000000'", "'<U500000000'", "[('a', '|O')]", "'x'", "3",
    "__import__('os')", "'>i8'", "'<c16'", "'<M8[s]'", "'|S0'", "None",
)  # fmt: skip


def _changed_array(content: bytes, rng: Random) -> bytes:
    """An .npy file whose header says something else."""
    (length,) = struct.unpack_from("<H", content, 8)
    body = content[10 + length :]
    shape, descr = rng.choice(_SHAPES), rng.choice(_TYPE_TEXTS)
    order = rng.choice(("False", "True", "0", "'x'"))
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    version = rng.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\x09\0"))
    size = len(header) if rng.random() < 0.9 else rng.choice((0, 1, 60000, 2**31))
    packed = struct.pack("<H", min(size, 65535)) if version == b"\1\0" else struct.pack("<I", size)
    if rng.random() < 0.1:
        # Much in little: 16 MB of zeros, which a zip holds in 16 KB.
        header, body = b"{'descr': '|i1', 'fortran_order': False, 'shape': (16777216,), }\n", bytes(1 << 24)
        packed, version = struct.pack("<H", len(header)), b"\1\0"
    return b"\x93NUMPY" + version + packed + header + body


def _zip(members: list[tuple[str, bytes]], how: int) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", how) as archive:
        warnings.simplefilter("ignore")  # names that are there already
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = how
            archive.writestr(entry, content)
    return out.getvalue()
