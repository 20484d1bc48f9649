"""The model inside a project: safe extraction of the archive, and the C file that ties it to the link."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project.server import ModelArchiveError
else:
    from server import ModelArchiveError

# Where a project has the C of its archive, which is unpacked in "model".
SOURCE_DIR, INCLUDE_DIR = "model/codegen/host/src", "model/codegen/host/include"
_MLF_VERSION = 7
_MAX_BYTES = 1 << 30
_MAX_NAME = 63
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTION = re.compile(r"[A-Za-z0-9_.]+")


@dataclass(frozen=True)
class Model:
    """A model as a project holds it.

    module : name of the module, the ``default`` in ``tvmgen_default_run``
    tinyml : the archive's own part of metadata.json
    sources : its C files
    """

    module: str
    tinyml: dict[str, Any]
    sources: tuple[Path, ...]
    include_dir: Path


def extract(archive: Path, target: Path) -> None:
    """Unpack files and folders of an uncompressed tar; links, devices and paths out of ``target`` are refused."""
    try:
        most = min(_MAX_BYTES, archive.stat().st_size)
        with tarfile.open(archive, "r:") as tar:
            total, seen = 0, set()
            for member in tar:
                path = PurePosixPath(member.name)
                plain = (member.isfile() and not member.issparse()) or member.isdir()
                if path.is_absolute() or ".." in path.parts or not plain:
                    raise ModelArchiveError(f"'{archive.name}' holds {member.name!r}, which may not be unpacked")
                # Who reads the archive itself takes the first of two.
                if path in seen and not member.isdir():
                    raise ModelArchiveError(f"'{archive.name}' holds {member.name!r} twice")
                seen.add(path)
                # Nothing is packed, so no file is larger than the archive.
                total += member.size
                if total > most:
                    raise ModelArchiveError(f"'{archive.name}' unpacks to more than {most:,} bytes")
                place = target.joinpath(*path.parts)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                place.write_bytes(content.read() if content else b"")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ModelArchiveError(f"'{archive.name}' is not a Model Library Format archive: {error}") from error
    except OSError as error:
        raise ModelArchiveError(f"cannot unpack '{archive.name}': {error}") from error


def move_files(project: Path, source_dir: str, include_dir: str) -> None:
    """Move the sources and headers of a project's unpacked archive to the given folders."""
    for unpacked, place in ((SOURCE_DIR, source_dir), (INCLUDE_DIR, include_dir)):
        if place != unpacked and (project / unpacked).is_dir():
            (project / place).mkdir(parents=True, exist_ok=True)
            for file in (project / unpacked).iterdir():
                file.rename(project / place / file.name)
            (project / unpacked).rmdir()


def load_model(model_dir: Path, source_dir: Path | None = None, include_dir: Path | None = None) -> Model:
    """The unpacked archive's model; every name that will get into C or onto a command line is checked."""
    try:
        metadata = json.loads((model_dir / "metadata.json").read_text(encoding="utf-8"))
        version, modules = metadata["version"], metadata["modules"]
        if version != _MLF_VERSION:
            raise ModelArchiveError(f"archive has Model Library Format version {version}, expected {_MLF_VERSION}")
        ((module, content),) = modules.items()
        tinyml = content["tinyml"]
        tensors = (*tinyml["inputs"], *tinyml["outputs"])
        names = [module, *(t[key] for t in tensors for key in ("c_name", "dtype"))]
        homes = [*tinyml.get("memories", ()), *tinyml.get("weights", ())]
        names += [m["name"] for m in homes]
        sections = [m["section"] for m in homes if m["section"] is not None]
        sizes = [size for t in tensors for size in (t["size_bytes"], *t["shape"])]
        if tinyml.get("stream") is not None:
            sizes.append(tinyml["stream"]["row_bytes"])
        numbers = [t[key] for t in tensors for key in ("scale", "zero_point") if t["scale"] is not None]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelArchiveError(
            f"the archive's metadata.json is damaged or not tvm-tiny's: {type(error).__name__}: {error}",
            hints=["make the archive with: tvmc compile --target tinyml MODEL -o model.tar"],
        ) from error
    if not all(isinstance(n, str) and _IDENTIFIER.fullmatch(n) for n in names):
        raise ModelArchiveError(f"archive holds a name that is not a C identifier: {names}")
    if not all(isinstance(s, str) and _SECTION.fullmatch(s) for s in sections):
        raise ModelArchiveError(f"archive holds a name that is not a section: {sections}")
    if not all(isinstance(s, int) and s > 0 for s in sizes):
        raise ModelArchiveError(f"archive holds a tensor without size: {sizes}")
    if not all(isinstance(n, (int, float)) for n in numbers):
        raise ModelArchiveError(f"archive holds quantization that is not numbers: {numbers}")
    sources = tuple(sorted((source_dir or model_dir / "codegen" / "host" / "src").glob("*.c")))
    include_dir = include_dir or model_dir / "codegen" / "host" / "include"
    if not sources or not (include_dir / f"tvmgen_{module}.h").is_file():
        raise ModelArchiveError("archive holds no C sources or no header")
    return Model(module, tinyml, sources, include_dir)


def io_source(model: Model, *, in_sections: bool = True) -> str:
    """The C file that ties the model to the link.

    It owns inputs and outputs where the model does not keep them in its arena, and the arena where the caller has to
    bring it: in sections of their own, or in .bss where the linker script is not ours.
    """
    if model.tinyml.get("stream") is not None:
        return _stream_source(model)
    prefix = f"tvmgen_{model.module}"
    edges = {kind: model.tinyml[f"{kind}s"] for kind in ("input", "output")}
    tensors = [t for edge in edges.values() for t in edge]
    mapped = all(isinstance(t.get("arena_offset"), int) for t in tensors)
    lines = ['#include "link.h"', f'#include "{prefix}.h"', "", *([] if mapped else _buffers(edges, in_sections))]
    arguments = [] if mapped else ["&inputs", "&outputs"]
    if not mapped and _takes_workspace(model, prefix):
        size = f"{prefix.upper()}_WORKSPACE_SIZE"
        lines.append(f"static uint8_t {prefix}_workspace[{size}] {_attributes('.tinyml_workspace', in_sections)};")
        arguments.append(f"{prefix}_workspace")
    if not mapped:
        for kind, edge in edges.items():
            members = ", ".join(f".{t['c_name']} = model_{kind}_{i}" for i, t in enumerate(edge))
            lines.append(f"static struct {prefix}_{kind}s {kind}s = {{{members}}};")
    lines.append("")
    for kind, edge in edges.items():
        data = [0 if mapped else f"model_{kind}_{i}" for i in range(len(edge))]
        entries = ", ".join(f"{{{place}, {t['size_bytes']}}}" for place, t in zip(data, edge, strict=True))
        lines.append(f"struct link_buffer model_{kind}s[] = {{{entries}}};")
    lines += [
        *_info(model, [t["size_bytes"] for t in edges["input"]], [t["size_bytes"] for t in edges["output"]]),
        f"struct model_call model_call = {{(void (*)(void)){prefix}_run, {{{', '.join(arguments) or '0'}}}}};",
        f"int32_t model_run(void) {{ return {prefix}_run({', '.join(arguments)}); }}",
        *_map_function(prefix, edges if mapped else {}),
        "void model_begin(void) { model_map(); }",
        "",
    ]
    return "\n".join(lines)


def _stream_source(model: Model) -> str:
    """The same for a model that takes its input row by row: the link's one input is where the next row goes."""
    prefix = f"tvmgen_{model.module}"
    outputs = model.tinyml["outputs"]
    sizes = [t["size_bytes"] for t in outputs]
    row_bytes = model.tinyml["stream"]["row_bytes"]
    return f"""#include "link.h"
#include "{prefix}.h"

struct link_buffer model_inputs[] = {{{{0, {row_bytes}}}}};
struct link_buffer model_outputs[] = {{{", ".join(f"{{0, {size}}}" for size in sizes)}}};
{chr(10).join(_info(model, [row_bytes], sizes))}
struct model_call model_call = {{(void (*)(void)){prefix}_push_row, {{0}}}};
int32_t model_run(void) {{ return {prefix}_push_row(model_call.arguments[0]); }}
void model_map(void) {{
  const struct {prefix}_outputs outputs = {prefix}_map_outputs();
{chr(10).join(f"  model_outputs[{i}].data = outputs.{t['c_name']};" for i, t in enumerate(outputs))}
  if (!{prefix}_row_buffer()) {prefix}_reset(); /* the image is complete */
  model_inputs[0].data = model_call.arguments[0] = {prefix}_row_buffer();
}}
void model_begin(void) {{
  {prefix}_reset();
  model_map();
}}
"""


def model_hash(model: Model) -> int:
    """Tells models apart: CRC-32 of the C sources, in order."""
    crc = 0
    for source in model.sources:
        crc = zlib.crc32(source.read_bytes(), crc)
    return crc


def _info(model: Model, input_sizes: Sequence[int], output_sizes: Sequence[int]) -> list[str]:
    """The model's part of what the link's INFO tells."""
    words = (f"{model_hash(model):#x}u", len(input_sizes), len(output_sizes), *input_sizes, *output_sizes)
    name = re.sub(r"[^A-Za-z0-9_. +-]", "_", str(model.tinyml.get("model", model.module)))[:_MAX_NAME]
    return [
        f"const uint32_t model_info[] = {{{', '.join(map(str, words))}}};",
        "const uint32_t model_info_bytes = sizeof model_info;",
        f'const char model_name[] = "{name}";',
        f"const uint32_t model_name_bytes = {len(name)};",
    ]


def _attributes(section: str, in_sections: bool) -> str:
    return f'__attribute__((aligned(8), section("{section}")))' if in_sections else "__attribute__((aligned(8)))"


def _buffers(edges: dict[str, Any], in_sections: bool) -> list[str]:
    """Inputs and outputs as arrays."""
    attributes = _attributes(".tinyml_io", in_sections)
    return [
        f"static uint8_t model_{kind}_{i}[{t['size_bytes']}] {attributes};"
        for kind, edge in edges.items()
        for i, t in enumerate(edge)
    ]


def _map_function(prefix: str, edges: dict[str, Any]) -> list[str]:
    """``model_map``, which asks the model where its inputs and outputs are."""
    lines = ["void model_map(void) {"]
    for kind, edge in edges.items():
        lines.append(f"  const struct {prefix}_{kind}s {kind}s = {prefix}_map_{kind}s();")
        lines += [f"  model_{kind}s[{i}].data = {kind}s.{t['c_name']};" for i, t in enumerate(edge)]
    return [*lines, "}"]


def _takes_workspace(model: Model, prefix: str) -> bool:
    """Whether the header's ``tvmgen_<module>_run`` has a third parameter, the arena."""
    header = (model.include_dir / f"{prefix}.h").read_text(encoding="utf-8")
    match = re.search(rf"\b{prefix}_run\s*\(([^)]*)\)\s*;", header)
    if not match:
        raise ModelArchiveError(f"archive's header declares no {prefix}_run")
    return match[1].count(",") == 2
