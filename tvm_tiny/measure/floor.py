"""The least instructions with which a core's instruction set could do a layer: what a count is held against.

    floor = MACs / p  +  words read * (1 + unpacking)  +  outputs * q  +  words written

========== =======================================================================================================
p          MACs per instruction: 1 scalar (MLA; Armv6-M: MULS and ADDS for two), 2 DSP (SMLAD), 16 MVE (VMLADAVA.S8)
words read every byte of input and constants once, 4 bytes a word (16 on MVE); an instruction that loads several
           words counts once per word
unpacking  DSP needs one SXTB16 per word of weights at least: a product takes halfwords
q          requantization of one output: Armv6-M 6 (no long multiply: two halves, their sum, shift, two limits),
           scalar 2 (SMULL, SSAT with its shift), DSP 2 (SMMLA, SSAT), MVE 3/4 (VQRDMULH, VRSHL, VQMOVN, four lanes)
========== =======================================================================================================

It leaves out what depends on the number of registers (operands that are loaded again), loops, addresses and padding, so
no kernel gets down to it. Layers without multiply-accumulates have the words read and written alone.
Instructions: Armv6-M, Armv7-M and Armv8-M Architecture Reference Manuals, chapter "Instruction details".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tvm_tiny.targets import Cpu

_BYTES_PER_LOAD = {"scalar": 4, "dsp": 4, "mve": 16}
_MACS_PER_INSTRUCTION = {"scalar": 1.0, "dsp": 2.0, "mve": 16.0}
_REQUANTIZATION = {"scalar": 2.0, "dsp": 2.0, "mve": 0.75}


def floor_instructions(layer: Mapping[str, Any], cpu: Cpu) -> int:
    """The floor of one layer, rounded up.

    Parameters
    ----------
    layer : an entry of ``layers`` in the archive's ``tinyml`` metadata
    """
    width = _BYTES_PER_LOAD[cpu.isa]
    macs_per_instruction, requantization = _MACS_PER_INSTRUCTION[cpu.isa], _REQUANTIZATION[cpu.isa]
    if cpu.is_armv6m:
        requantization = 6.0
    # Neither those of dead channels nor those that a plan repeats have to be done.
    macs, constants = min(int(layer["macs"]), int(layer["executed_macs"])), int(layer["constants_bytes"])
    read, written = int(layer["input_bytes"]) + constants, int(layer["output_bytes"])
    moved = -(-read // width) + -(-written // width)
    if not macs:
        return moved
    unpacking = constants / width if cpu.isa == "dsp" else 0.0
    outputs = math.prod(map(int, layer["output_shape"]))
    return math.ceil(macs / macs_per_instruction + unpacking + outputs * requantization + moved)
