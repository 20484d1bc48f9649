"""Model Library Format: microTVM's tar of sources and metadata, written and read."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_tiny.errors import ArtifactError

MLF_VERSION = 7  # the last of microTVM's
TINYML_FORMAT = 2  # of the part of the metadata that is ours
_MAX_METADATA_BYTES = 64 << 20


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
    hints = ["make it with: tvmc compile --target tinyml MODEL -o model.tar"]
    if not path.is_file():
        raise ArtifactError(f"'{path}' is not a file; expected a Model Library Format archive", hints=hints)
    try:
        with tarfile.open(path, mode="r:") as tar:
            member = next((m for m in tar if m.name.removeprefix("./") == "metadata.json"), None)
            stream = tar.extractfile(member) if member is not None and member.isreg() else None
            if stream is None or member is None:
                raise ArtifactError(f"'{path}' holds no metadata.json", hints=hints)
            if member.size > _MAX_METADATA_BYTES:
                raise ArtifactError(f"'{path}': metadata.json has {member.size:,} bytes, which is not plausible")
            metadata = json.loads(stream.read())
    except (tarfile.TarError, EOFError, UnicodeDecodeError, json.JSONDecodeError, OSError, OverflowError) as e:
        raise ArtifactError(f"'{path}' is no Model Library Format archive, or it is damaged ({e})", hints=hints) from e
    check_metadata(metadata, str(path))
    return dict(metadata)


def read_ir(path: Path | str, module_name: str) -> str:
    """The integer network in an archive that ``read_mlf`` takes, for ``tvm.ir.load_json``.

    Raises
    ------
    ArtifactError : the archive does not hold it
    """
    with tarfile.open(path, mode="r:") as tar:
        member = next((m for m in tar if m.name.removeprefix("./") == _ir_path(module_name)), None)
        stream = None if member is None else tar.extractfile(member)
        if stream is None:
            raise ArtifactError(
                f"'{path}' does not hold the network itself",
                hints=["compile the model again: tvmc compile --target tinyml MODEL -o model.tar"],
            )
        return stream.read().decode()


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
        raise ArtifactError(
            f"'{where}' was not compiled by this version of tvm-tiny",
            hints=["compile the model again: tvmc compile --target tinyml MODEL -o model.tar"],
        )
