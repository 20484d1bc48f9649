"""The bound of the stack on functions whose frames are known; what has no bound is said to have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel_library import run_tool
from tvm_tiny.errors import ArtifactError
from tvm_tiny.measure.stack_bound import stack_bound

SOURCE = """
typedef void (*function)(void);
__attribute__((noipa)) void use(volatile char* p) { *p = 1; }
__attribute__((naked)) void pushes(void) {
  __asm("push {r4-r11, lr}\\n vpush {d8-d15}\\n sub sp, #40\\n bl use\\n"
        "add sp, #40\\n vpop {d8-d15}\\n pop {r4-r11, pc}");
}
__attribute__((naked)) void outer(void) {
  __asm("str lr, [sp, #-8]!\\n 1: subs r0, #1\\n blt 1b\\n bl pushes\\n bl pair\\n ldr pc, [sp], #8");
}
__attribute__((naked)) void pair(void) { __asm("strd r0, r1, [sp, #-16]!\\n add sp, #16\\n b falls"); }
__attribute__((naked)) void falls(void) { __asm("sub sp, sp, #512\\n add sp, sp, #512\\n bx lr"); }
__attribute__((naked)) void large(void) { __asm("sub.w sp, sp, #1000\\n add.w sp, sp, #1000\\n bx lr"); }
__attribute__((naked)) void literal(void) {
  __asm("ldr r3, =-2000\\n add sp, r3\\n movs r3, #250\\n lsls r3, r3, #3\\n add sp, r3\\n bx lr\\n .ltorg");
}
__attribute__((naked)) void added(void) { __asm("add sp, r3\\n bx lr"); }
__attribute__((noipa)) int again(int n) { return n ? again(n - 1) + n : 0; }
__attribute__((noipa)) void sized(int n) { char bytes[n]; use(bytes); }
const function table[1] __attribute__((section(".model_constants"))) = {large};
__attribute__((noipa)) int pointer(int i) { table[i](); return again(0) & 0; }
__attribute__((naked)) void through(void) { __asm("push {r3, lr}\\n blx r0\\n pop {r3, pc}"); }
"""


@pytest.fixture(scope="module")
def elf(arm_gcc: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "s.c").write_text(SOURCE)
    core = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
    # Naked functions jump into one another here, so that gcc must not drop or reorder any.
    options = ["-O1", "-fno-toplevel-reorder", "-nostdlib", "-Wl,-Ttext=0x8000", "-Wl,-e,use"]
    run_tool([*arm_gcc, *core, *options, str(folder / "s.c"), "-o", str(folder / "s.elf")])
    return folder / "s.elf"


@pytest.mark.parametrize(
    ("function", "expected", "path"),
    [
        ("use", 0, ("use",)),
        ("pushes", 9 * 4 + 8 * 8 + 40, ("pushes", "use")),
        ("pair", 16 + 512, ("pair", "falls")),
        ("outer", 8 + 16 + 512, ("outer", "pair", "falls")),
        ("literal", 2000, ("literal",)),
        ("through", 8 + 1000, ("through", "large")),
    ],
)
def test_known_frames(function: str, expected: int, path: tuple[str, ...], elf: Path) -> None:
    bound = stack_bound(elf, function)
    assert (bound.bytes, bound.path) == (expected, path)


def test_what_has_no_bound(elf: Path) -> None:
    with pytest.raises(ArtifactError, match="recursion, again -> again"):
        stack_bound(elf, "pointer")
    with pytest.raises(ArtifactError, match=r"no bound of the stack: sized has 'sub.* sp, .*r\d"):
        stack_bound(elf, "sized")
    with pytest.raises(ArtifactError, match="no bound of the stack: added has 'add sp, r3'"):
        stack_bound(elf, "added")
    with pytest.raises(ArtifactError, match="has no function 'nobody'"):
        stack_bound(elf, "nobody")
