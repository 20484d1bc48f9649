"""Model Library Format: microTVM's tar of sources and metadata, written and read."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tvm_tiny.errors import ArtifactError

MLF_VERSION = 7  # the last of microTVM's
TINYML_FORMAT = 2  # of the part of the metadata that is ours
_MAX_METADATA_BYTES = 64 << 20
# Loops and allocations go by the numbers of an archive.
_MOST = 1 << 40
_HINTS = ("make it with: tvmc compile --target tinyml MODEL -o model.tar",)
_AGAIN = ("compile the model again: tvmc compile --target tinyml MODEL -o model.tar",)
# What following damaged content ends in; TVM's errors are RuntimeErrors.
_DAMAGE = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, StopIteration,
    AssertionError,
)  # fmt: skip


def mlf_files(
    module_name: str, metadata: Mapping[str, Any], sources: Mapping[str, str], ir_text: str, ir_json: str
) -> dict[str, bytes]:
    """Path in the archive -> content.

    Parameters
    ----------
    ir_text, ir_json : the integer network as people read it, and as TVM does, constants included
    """
    files = {"metadata.json": json.dumps(metadata, indent=2, sort_keys=True).encode() + b"\n"}
    for name, text in sources.items():
        folder = "include" if name.endswith(".h") else "src"
        files[f"codegen/host/{folder}/{name}"] = text.encode()
    files[f"parameters/{module_name}.params"] = b""  # parameters are linked in, as with microTVM's link-params
    files[f"src/{module_name}.relax"] = ir_text.encode()
    files[_ir_path(module_name)] = ir_json.encode()
    return files


def mlf_bytes(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar, the same for the same files: sorted, no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def read_mlf(path: Path | str) -> dict[str, Any]:
    """``metadata.json`` of an archive that tvm-tiny wrote.

    Raises
    ------
    ArtifactError : the file is missing, no such archive, or of another format version
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"'{path}' is not a file; expected a Model Library Format archive", hints=_HINTS)
    content = _read_member(path, "metadata.json", _MAX_METADATA_BYTES)
    if content is None:
        raise ArtifactError(f"'{path}' holds no metadata.json", hints=_HINTS)
    try:
        metadata = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise ArtifactError(f"'{path}': metadata.json is damaged ({e})", hints=_HINTS) from e
    check_metadata(metadata, str(path))
    return dict(metadata)


def read_ir(path: Path | str, module_name: str) -> str:
    """The integer network in an archive that ``read_mlf`` takes, for ``tvm.ir.load_json``.

    Raises
    ------
    ArtifactError : the archive does not hold it
    """
    content = _read_member(Path(path), _ir_path(module_name), Path(path).stat().st_size)
    if content is None:
        raise ArtifactError(f"'{path}' does not hold the network itself", hints=_AGAIN)
    return content.decode("utf-8", "replace")


def _read_member(path: Path, name: str, most: int) -> bytes | None:
    """A file in an archive, None where it is not there; ``most`` bytes of it are plausible."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            member = next((m for m in tar if m.name.removeprefix("./") == name), None)
            if member is None or not member.isreg():
                return None
            if member.size > most:
                raise ArtifactError(f"'{path}': {name} has {member.size:,} bytes, which is not plausible")
            stream = tar.extractfile(member)
            return None if stream is None else stream.read()
    except (tarfile.TarError, EOFError, OSError, OverflowError, ValueError) as e:
        raise ArtifactError(f"'{path}' is no Model Library Format archive, or it is damaged ({e})", hints=_HINTS) from e


@contextlib.contextmanager
def follow_metadata(path: Path | str) -> Iterator[None]:
    """What goes wrong in here is the fault of the archive, whose content contradicts itself.

    ``check_metadata`` looks at the frame only; what stands in it has too many uses to be judged beforehand.

    Raises
    ------
    ArtifactError
    """
    try:
        yield
    except _DAMAGE as error:
        message = next(iter(str(error).splitlines()), "")[:200]
        raise ArtifactError(
            f"'{path}' is damaged, or not tvm-tiny's ({type(error).__name__}: {message})", hints=_HINTS
        ) from error


def _ir_path(module_name: str) -> str:
    return f"src/{module_name}.relax.json"


def module_info(metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and ``tinyml`` part of the one module in checked metadata."""
    ((name, module),) = metadata["modules"].items()
    return str(name), dict(module["tinyml"])


def check_metadata(metadata: Any, where: str) -> None:
    """Refuse metadata this version cannot work with.

    Raises
    ------
    ArtifactError : another format version, or no module compiled by tvm-tiny
    """
    if not isinstance(metadata, dict) or metadata.get("version") != MLF_VERSION:
        found = metadata.get("version") if isinstance(metadata, dict) else None
        raise ArtifactError(f"'{where}': Model Library Format version is {found}, expected {MLF_VERSION}")
    modules = metadata.get("modules")
    if not isinstance(modules, dict) or len(modules) != 1:
        raise ArtifactError(f"'{where}': expected exactly one module")
    (module,) = modules.values()
    info = module.get("tinyml") if isinstance(module, dict) else None
    if not isinstance(info, dict) or info.get("format") != TINYML_FORMAT:
        raise ArtifactError(f"'{where}' was not compiled by this version of tvm-tiny", hints=_AGAIN)
    if not _plausible(info):
        raise ArtifactError(f"'{where}': metadata.json holds a number that is out of all bounds", hints=_AGAIN)


def _plausible(value: Any) -> bool:
    """Whether no number is larger than any size of a microcontroller's; NaN is none either."""
    waiting = [value]
    while waiting:  # JSON may be deeper than calls may
        each = waiting.pop()
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
        elif isinstance(each, int | float) and not -_MOST < each < _MOST:
            return False
    return True
