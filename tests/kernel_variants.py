"""What a tuner may decide for a layer."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

from tvm import relax

from tvm_tiny.schedules import ChoiceError, Chooser, select
from tvm_tiny.schedules.choices import KERNEL, Value
from tvm_tiny.schedules.cortex_m.dsp import cost
from tvm_tiny.targets import CPUS


def variants(call: relax.Call, cpu: str) -> Iterator[dict[str, Value]]:
    """Decisions on the kernel, and for every kernel on each of its choices alone; only what is possible."""
    choose = Chooser()
    with mock.patch.multiple(cost, worth=mock.DEFAULT, worth_dense=mock.DEFAULT):
        select(call, CPUS[cpu], choose)
    for kernel in choose.asked[0].values if choose.asked else ():
        of_kernel = Chooser(decisions={KERNEL: kernel})
        try:
            select(call, CPUS[cpu], of_kernel)
        except ChoiceError:
            continue
        yield {KERNEL: kernel}
        for choice in of_kernel.asked[1:]:
            for value in choice.values:
                decisions = {KERNEL: kernel, choice.name: value}
                try:
                    select(call, CPUS[cpu], Chooser(decisions=decisions))
                except ChoiceError:
                    continue
                if value != choice.default:
                    yield decisions
