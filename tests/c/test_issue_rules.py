"""Which neighbours a core with two issue slots takes together: rules of the counter's plugin, pair by pair."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_tiny.measure import counter

PLUGIN = Path(counter.__file__).parent / "plugin"

TOGETHER = {
    "adds r0, r1, r2; subs r3, r4, r5": True,
    "adds r0, r1, r2; subs r3, r0, r5": False,  # the result of the first
    "adds r0, r1, r2; movs r0, #1": False,  # both write it
    "adds r0, r1, r2; cmp r0, #1": False,
    "cmp r0, #1; adds r0, r1, r2": True,
    "ldr r0, [r1]; ldr r2, [r3]": True,
    "ldr r0, [r1]; ldr r2, [r0]": False,
    "ldr r0, [r1]; str r0, [r2]": False,
    "str r0, [r1]; str r2, [r3]": False,
    "ldr.w r0, [r1], #4; ldr r2, [r1]": False,  # written back
    "ldr.w r8, [r1, #400]; add.w r9, r8, r2": False,
    "ldr.w r8, [r1, r2]; add.w r9, r10, r2": True,
    "strb.w r8, [r1, #1]; mov r8, r2": True,
    "mla r0, r1, r2, r3; add.w r4, r5, r6": True,
    "mla r0, r1, r2, r3; mla r4, r5, r6, r7": False,  # one multiplier
    "smlad r0, r1, r2, r3; ldr r4, [r5]": True,
    "smlad r0, r1, r2, r3; ldr r4, [r0]": False,
    "smull r8, r9, r2, r3; add.w r4, r8, r6": False,
    "smull r8, r9, r2, r3; add.w r4, r9, r6": False,
    "sxtb16 r0, r1; smlad r2, r3, r4, r2": True,
    "smlad r2, r3, r4, r2; sxtb16 r0, r1": False,  # parallel arithmetic only first
    "add.w r0, r1, r2, lsl #2; add.w r3, r4, r5, lsl #1": False,  # one shifter
    "add.w r0, r1, r2, lsl #2; add.w r3, r4, r5": True,
    "sxtb r0, r1; lsls r2, r3, #1": False,
    "ssat r0, #8, r1; strb r2, [r3]": True,
    "ssat r0, #8, r1; strb r0, [r3]": False,
    "movw r0, #1; movt r0, #1": False,
    "bfi r0, r1, #2, #3; adds r2, r0, r3": False,
    "adds r1, r2, r3; bfi r1, r0, #2, #3": False,
    "subs r0, #1; bne .+8": True,
    "bne .+8; subs r0, #1": False,
    "ldrd r0, r1, [r2]; adds r3, r4, r5": False,
    "sdiv r0, r1, r2; adds r3, r4, r5": False,
    "push {r4}; adds r3, r4, r5": False,
    "add sp, #8; ldr r0, [sp, #4]": False,
    "mov r8, r1; add r1, r8": False,
    "vadd.f32 s0, s1, s2; adds r3, r4, r5": False,
    "bl .+8; bx lr": False,
}


@pytest.fixture(scope="module")
def together(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    folder = tmp_path_factory.mktemp("issue")
    lines = [".syntax unified", ".thumb"]
    for pair in TOGETHER:
        for instruction in pair.split(";"):
            lines += [".balign 4", instruction]
    (folder / "pairs.s").write_text("\n".join(lines) + "\n")
    flags = ["-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", "-mthumb"]
    subprocess.run([tool("arm-none-eabi-gcc"), *flags, "-c", "pairs.s", "-o", "pairs.o"], cwd=folder, check=True)
    objcopy = [tool("arm-none-eabi-objcopy"), "-O", "binary", "-j", ".text", "pairs.o", "pairs.bin"]
    subprocess.run(objcopy, cwd=folder, check=True)
    code = (folder / "pairs.bin").read_bytes() + bytes(8)
    (folder / "issue.c").write_text(f"""#include "{PLUGIN / "issue.h"}"
int together(const uint8_t* a, const uint8_t* b) {{
  const struct operands x = operands_of(a), y = operands_of(b);
  return issue_together(thumb_decode(a).class, &x, thumb_decode(b).class, &y);
}}
""")
    command = [tool("gcc"), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "issue.c", "-o", "issue.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "issue.so"))
    return {
        pair: bool(library.together(code[8 * i : 8 * i + 4], code[8 * i + 4 : 8 * i + 8]))
        for i, pair in enumerate(TOGETHER)
    }


@pytest.mark.parametrize("pair", TOGETHER)
def test_pair(pair: str, together: dict[str, bool]) -> None:
    assert together[pair] == TOGETHER[pair]
