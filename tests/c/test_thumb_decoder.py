"""The counter's decoder against the assembler: class, size and stack effect of instructions of every kind."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tvm_tiny.measure import counter
from tvm_tiny.measure.counter import INSTRUCTION_CLASSES

PLUGIN = Path(counter.__file__).parent / "plugin"


class Expected(NamedTuple):
    """``sp_at``: offset of the accessed address from the stack pointer after the instruction."""

    kind: str
    words: int = 0
    sp_change: int = 0
    sp_at: int | None = None
    sp_lost: bool = False


class Decoded(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("size", ctypes.c_uint),
        ("words", ctypes.c_uint),
        ("sp_change", ctypes.c_int),
        ("sp_lost", ctypes.c_bool),
        ("sp_access", ctypes.c_bool),
        ("sp_offset", ctypes.c_int),
    )


ALU, MULTIPLY, LOAD, STORE, BRANCH = map(Expected, ("alu", "multiply", "load", "store", "branch"))
ACCUMULATE, LONG, LOOP = map(Expected, ("multiply_accumulate", "long_multiply", "loop"))
DIVIDE, FLOAT, VECTOR, OTHER = map(Expected, ("divide", "float", "vector", "other"))
FLOAT_ACCUMULATE, FLOAT_DIVIDE = map(Expected, ("float_accumulate", "float_divide"))
VECTOR_MULTIPLY, VECTOR_MEMORY = map(Expected, ("vector_multiply", "vector_memory"))

CASES = {
    # 16 bits
    "movs r0, #1": ALU, "lsls r1, r2, #3": ALU, "adds r0, r1, r2": ALU, "cmp r0, #1": ALU, "mvns r0, r1": ALU,
    "sxtb r0, r1": ALU, "uxth r0, r1": ALU, "rev r0, r1": ALU, "add r0, sp, #16": ALU, "mov r8, r1": ALU,
    "add r9, r1": ALU, "cmp r9, r1": ALU,
    "muls r0, r1, r0": MULTIPLY,
    "ldr r0, [pc, #8]": LOAD, "ldr r0, [r1, r2]": LOAD, "ldrsh r0, [r1, r2]": LOAD, "ldrb r0, [r1, #3]": LOAD,
    "ldrh r0, [r1, #2]": LOAD, "ldr r0, [r1, #4]": LOAD,
    "str r0, [r1, r2]": STORE, "strb r0, [r1, r2]": STORE, "str r0, [r1, #4]": STORE, "strh r0, [r1, #2]": STORE,
    "ldr r0, [sp, #8]": Expected("load", sp_at=8), "str r0, [sp, #1020]": Expected("store", sp_at=1020),
    "bx lr": BRANCH, "blx r3": BRANCH, "b .+8": BRANCH, "beq .+8": BRANCH, "cbz r0, .+8": BRANCH,
    "cbnz r0, .+8": BRANCH, "mov pc, r1": BRANCH,
    "nop": OTHER, "it eq\nmoveq r0, r1": OTHER, "cpsid i": OTHER, "bkpt 1": OTHER, "svc 1": OTHER, "udf #1": OTHER,
    "push {r4, r5, lr}": Expected("store_multiple", 3, -12, 0), "pop {r4, pc}": Expected("load_multiple", 2, 8),
    "ldmia r0!, {r1, r2, r3}": Expected("load_multiple", 3), "stmia r0!, {r1, r2}": Expected("store_multiple", 2),
    "sub sp, #32": Expected("alu", sp_change=-32), "add sp, #508": Expected("alu", sp_change=508),
    "mov sp, r7": Expected("alu", sp_lost=True), "add sp, r7": Expected("alu", sp_lost=True),
    # 32 bits
    "add.w r0, r1, r2, lsl #2": ALU, "sub.w r0, r1, #100": ALU, "movw r0, #0x1234": ALU, "ubfx r0, r1, #2, #3": ALU,
    "ssat r0, #8, r1": ALU, "cmp.w r0, #100": ALU, "sxtb16 r0, r1, ror #8": ALU, "pkhbt r0, r1, r2, lsl #16": ALU,
    "qadd r0, r1, r2": ALU, "clz r0, r1": ALU, "usada8 r0, r1, r2, r3": ACCUMULATE,
    "mul r8, r1, r2": MULTIPLY, "mla r0, r1, r2, r3": ACCUMULATE, "smlad r0, r1, r2, r3": ACCUMULATE,
    "mls r0, r1, r2, r3": ACCUMULATE, "smuad r0, r1, r2": MULTIPLY, "smlabb r0, r1, r2, r3": ACCUMULATE,
    "smull r0, r1, r2, r3": LONG, "umaal r0, r1, r2, r3": LONG, "smlald r0, r1, r2, r3": LONG,
    "smlal r0, r1, r2, r3": LONG, "smmulr r0, r1, r2": MULTIPLY, "smmla r0, r1, r2, r3": ACCUMULATE,
    "sdiv r0, r1, r2": DIVIDE, "udiv r0, r1, r2": DIVIDE,
    "ldr.w r0, [r1, #100]": LOAD, "ldrsb.w r0, [r1], #1": LOAD, "ldrh.w r0, [r1, r2, lsl #1]": LOAD,
    "ldrex r0, [r1]": LOAD, "strb.w r0, [r1, #1]!": STORE, "str.w r8, [r1, #100]": STORE, "strex r0, r1, [r2]": STORE,
    "ldr.w r0, [sp, #4000]": Expected("load", sp_at=4000), "strb.w r0, [sp, #1001]": Expected("store", sp_at=1001),
    "str r0, [sp, #-4]!": Expected("store", 0, -4, 0), "ldr r8, [sp], #4": Expected("load", 0, 4),
    "ldr.w r0, [sp, #-8]": Expected("load", sp_at=-8),
    "ldrd r0, r1, [r2, #8]": Expected("load_multiple", 2), "strd r0, r1, [r2], #8": Expected("store_multiple", 2),
    "strd r0, r1, [sp, #8]": Expected("store_multiple", 2, 0, 8),
    "strd r0, r1, [sp, #-16]!": Expected("store_multiple", 2, -16, 0),
    "ldrd r4, r5, [sp], #8": Expected("load_multiple", 2, 8),
    "ldmia.w r8!, {r0-r5}": Expected("load_multiple", 6), "stmdb r8!, {r0-r5}": Expected("store_multiple", 6),
    "push.w {r4-r11, lr}": Expected("store_multiple", 9, -36, 0),
    "pop.w {r4-r11, pc}": Expected("load_multiple", 9, 36),
    "sub.w sp, sp, #4096": Expected("alu", sp_change=-4096), "add.w sp, sp, #1040": Expected("alu", sp_change=1040),
    "subw sp, sp, #1300": Expected("alu", sp_change=-1300), "addw sp, sp, #1300": Expected("alu", sp_change=1300),
    "sub.w sp, sp, r3": Expected("alu", sp_lost=True),
    "cmp.w sp, #4096": ALU,
    "bl .+1000": BRANCH, "b.w .+70000": BRANCH, "beq.w .+70000": BRANCH, "tbb [pc, r0]": BRANCH,
    "tbh [pc, r0, lsl #1]": BRANCH, "ldr.w pc, [r0, #4]": BRANCH,
    "dmb": OTHER, "isb": OTHER, "mrs r0, apsr": OTHER, "msr apsr_nzcvq, r0": OTHER, "pld [r0, #4]": OTHER,
    # FPU
    "vadd.f32 s0, s1, s2": FLOAT, "vfma.f32 s0, s1, s2": FLOAT_ACCUMULATE,
    "vmla.f32 s0, s1, s2": FLOAT_ACCUMULATE, "vnmls.f32 s0, s1, s2": FLOAT_ACCUMULATE, "vmul.f32 s0, s1, s2": FLOAT,
    "vdiv.f32 s0, s1, s2": FLOAT_DIVIDE, "vsqrt.f32 s0, s1": FLOAT_DIVIDE, "vneg.f32 s0, s1": FLOAT,
    "vcvt.s32.f32 s0, s1": FLOAT, "vmov r0, s1": FLOAT,
    "vmov r0, r1, d3": FLOAT, "vmrs apsr_nzcv, fpscr": FLOAT, "vseleq.f32 s0, s1, s2": FLOAT,
    "vldr s0, [r1, #8]": LOAD, "vstr d1, [r1]": STORE, "vldr s3, [sp, #12]": Expected("load", sp_at=12),
    "vstr s3, [sp, #-12]": Expected("store", sp_at=-12),
    "vldmia r0!, {s0-s3}": Expected("load_multiple", 4), "vpush {d8-d10}": Expected("store_multiple", 6, -24, 0),
    "vpop {d8-d10}": Expected("load_multiple", 6, 24),
    # MVE and low-overhead loops
    "vldrb.8 q0, [r1], #16": VECTOR_MEMORY, "vstrw.32 q0, [r1]": VECTOR_MEMORY,
    "vldrb.s32 q0, [r1, q2]": VECTOR_MEMORY, "vld20.8 {q0, q1}, [r0]": VECTOR_MEMORY,
    "vmladava.s8 r0, q1, q2": VECTOR_MULTIPLY, "vmla.s32 q0, q1, r2": VECTOR_MULTIPLY,
    "vadd.i32 q0, q1, q2": VECTOR, "vqrdmulh.s32 q0, q1, r2": VECTOR_MULTIPLY, "vrshl.s32 q0, q1, q2": VECTOR,
    "vdup.8 q0, r1": FLOAT, "vctp.8 r0": VECTOR,
    "dls lr, r0": BRANCH, "csel r0, r1, r2, eq": ALU, "le lr, .-8": LOOP,
}  # fmt: skip


@pytest.fixture(scope="module")
def decoded(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoded]:
    folder = tmp_path_factory.mktemp("thumb")
    lines = [".syntax unified", ".thumb"]
    for asm in CASES:
        # Each at an address of its own; instructions that branch get room.
        lines += [".balign 8", asm]
    (folder / "cases.s").write_text("\n".join(lines) + "\n")
    flags = ["-march=armv8.1-m.main+mve.fp+fp.dp", "-mfloat-abi=hard", "-mthumb", "-Wa,-mimplicit-it=always"]
    gcc = tool("arm-none-eabi-gcc")
    subprocess.run([gcc, *flags, "-c", "cases.s", "-o", "cases.o"], cwd=folder, check=True)
    objcopy = tool("arm-none-eabi-objcopy")
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", "cases.o", "cases.bin"], cwd=folder, check=True)
    code = (folder / "cases.bin").read_bytes() + bytes(8)
    (folder / "decoder.c").write_text(
        f'#include "{PLUGIN / "thumb.h"}"\nvoid decode(const uint8_t* b, struct thumb* t) {{ *t = thumb_decode(b); }}\n'
    )
    command = [tool("gcc"), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "decoder.c", "-o", "decoder.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "decoder.so"))
    results = {}
    for i, asm in enumerate(CASES):
        results[asm] = Decoded()
        library.decode(code[8 * i : 8 * i + 8], ctypes.byref(results[asm]))
    return results


@pytest.mark.parametrize("asm", CASES)
def test_decoder(asm: str, decoded: dict[str, Decoded]) -> None:
    found = decoded[asm]
    sp_at = found.sp_offset if found.sp_access else None
    got = Expected(INSTRUCTION_CLASSES[found.kind], found.words, found.sp_change, sp_at, found.sp_lost)
    assert got == CASES[asm]


def test_the_plugin_compiles_without_a_warning(tool: Callable[[str], str], tmp_path: Path) -> None:
    command = [tool("gcc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, str(PLUGIN / "counter.c"), "-o", str(tmp_path / "counter.so")], check=True)
