"""Builds ``build/firmware.elf`` for a bare-metal Cortex-M: model and harness, within the board's memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .archive import Model
from .compiler import compile_all, find_program, run_tool
from .handler import BUILD_OPTIONS, WARNINGS
from .memory_map import MemoryMap, memory_map
from .options import definitions, optimization

if TYPE_CHECKING or __package__.startswith("tvm_tiny."):
    from tvm_tiny.project import server
else:
    import server

_STACK_BYTES, _LEAST_STACK_BYTES = 4096, 1024
TOOLCHAIN = "arm-none-eabi-"
GCC_PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi"
_COMMON = ("cortex_m.c", "link.c")


@dataclass(frozen=True)
class Harness:
    """What a platform has around the model.

    Parameters
    ----------
    home : the project's folder, with ``firmware.ld``
    sources : C files of the platform, relative to ``home``
    defines : macros of the harness
    profile : whether the model marks its layers
    io_source : what stands between model and link
    """

    home: Path
    sources: Sequence[str]
    defines: Mapping[str, int | str] = field(default_factory=dict)
    profile: bool = False
    io_source: str = "model_io.c"


def build_options() -> list[server.ProjectOption]:
    """Options of platforms that build this way."""
    option = server.ProjectOption
    return [
        option(
            "board",
            type="str",
            optional=["generate_project"],
            default="",
            help="Board to build for, or a board file (.toml); the model's own when not given.",
        ),
        option("toolchain", type="str", optional=BUILD_OPTIONS, default=TOOLCHAIN, help="Prefix of the compiler."),
        option(
            "stack_bytes",
            type="int",
            optional=BUILD_OPTIONS,
            default=0,
            help=f"Stack of the model, in the board's RAM; 0: {_STACK_BYTES}, less where RAM is full.",
        ),
    ]


def build_firmware(
    build_dir: Path, model: Model, board: Mapping[str, Any], values: Mapping[str, Any], harness: Harness
) -> None:
    """Compile and link.

    Parameters
    ----------
    board : as in ``board.json``
    values : options of the project

    Raises
    ------
    MemoryOverflowError : the model is larger than the board
    """
    cc = find_program([values["toolchain"] + "gcc"], GCC_PACKAGES)
    core = [*board["gcc_flags"], *libc_flags(cc, build_dir)]
    warnings = [*WARNINGS, *(["-Werror"] if values["warning_as_error"] else [])]
    command = [cc, *core, "-g", "-ffunction-sections", "-fdata-sections", *warnings]
    command += [*(["-DTINYML_PROFILE=1"] if harness.profile else []), f"-I{model.include_dir}"]
    level = optimization(values["optimization"], model.tinyml)
    defined = definitions(values["compile_definitions"])
    sources = {f"model_{s.stem}.o": s for s in model.sources}
    objects = compile_all([*command, level, *defined], sources, build_dir)
    # The harness must not pull in library code: what is linked from libraries is the model's.
    own = ["-O2", "-masm-syntax-unified", "-ffreestanding", "-fno-tree-loop-distribute-patterns"]
    own += [f"-D{name}={value}" for name, value in harness.defines.items()]
    own += [f"-I{folder}" for folder in (harness.home / "common", harness.home, build_dir)]
    files = [harness.home / name for name in (*harness.sources, harness.io_source)]
    files += [harness.home / "common" / name for name in _COMMON]
    objects += compile_all([*command, *own], {f"harness_{f.stem}.o": f for f in files}, build_dir)
    memories = memory_map(board, model.tinyml)
    for name, text in memories.files().items():
        (build_dir / name).write_text(text, encoding="utf-8")
    link = [cc, *core, "-nostartfiles", "-Wl,--gc-sections", "-Wl,--build-id=none"]
    end = [f"-T{harness.home / 'firmware.ld'}", *objects, "-lm", "-Wl,-Map=firmware.map", "-o", "firmware.elf"]
    regions = {**board["regions"], "ram_origin": memories.ram_origin, "ram_bytes": memories.ram_bytes}
    asked = max(0, values["stack_bytes"]) + 7 & ~7

    def link_with(stack_bytes: int) -> None:
        symbols = {**regions, "stack_bytes": stack_bytes}
        run_tool([*link, *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()), *end], cwd=build_dir)

    try:
        link_with(asked or _STACK_BYTES)
    except server.MemoryOverflowError as error:
        overflows = error.details["overflows"]
        left = _STACK_BYTES - (overflows.get("RAM", 0) + 7 & ~7)
        if asked or overflows.keys() != {"RAM"} or left < _LEAST_STACK_BYTES:
            raise _too_large(overflows, board["name"], regions, memories) from error
        link_with(left)
    objcopy = find_program([values["toolchain"] + "objcopy"], GCC_PACKAGES)
    run_tool([objcopy, "-O", "ihex", "firmware.elf", "firmware.hex"], cwd=build_dir)


def libc_flags(cc: str, build_dir: Path) -> list[str]:
    """Flags of the C library that is there: the model's C includes <string.h> and may call memcpy.

    Newlib first: its memcpy moves words, Debian's picolibc is built for size and moves bytes.
    """
    probe = build_dir / "probe.c"
    probe.write_text("#include <string.h>\n", encoding="utf-8")
    for flags in (["--specs=nano.specs"], ["--specs=picolibc.specs"], []):
        try:
            run_tool([cc, *flags, "-fsyntax-only", str(probe)], cwd=build_dir)
            return flags
        except server.BuildFailedError:
            continue
    raise server.ToolMissingError(
        f"{cc} has no C library", hints=["install one: sudo apt-get install libnewlib-arm-none-eabi"]
    )


def _too_large(
    overflows: dict[str, int], board: str, regions: dict[str, Any], memories: MemoryMap
) -> server.MemoryOverflowError:
    known = {"FLASH": ("flash", regions["flash_bytes"]), "RAM": ("RAM", regions["ram_bytes"])}
    known.update({r.name: (r.memory, r.size_bytes) for r in memories.regions})
    parts = []
    for name, extra in sorted(overflows.items()):
        word, size = known.get(name, (name, 0))
        parts.append(f"{size + extra:,} bytes of {word}, board '{board}' has {size:,}")
    return server.MemoryOverflowError(
        f"the model needs {'; '.join(parts)}",
        hints=["a board with more memory: tvmc targets", "less stack: --project-option stack_bytes=N"],
        overflows=overflows,
    )
