"""A network of a thousand operators, within memory and time that leave room for slow machines."""

from __future__ import annotations

from functools import partial

import pytest

from tests.fuzz.isolated import run_jobs
from tests.large_models import network
from tests.native import limits_address_space
from tvm_tiny.compiler import CompiledModel, compile_model

MEMORY_BYTES = 2 << 30
"""Address space; TVM's and OR-tools' libraries have half a GB of it."""
TIME_S = 600.0


def described(operators: int, **options: object) -> tuple[int, int, int]:
    """Layers, arena bytes and bytes of the archive's files."""
    model: CompiledModel = compile_model(network("residual", operators), "qemu-m4", **options)  # type: ignore[arg-type]
    layers = model.metadata["modules"]["default"]["tinyml"]["layers"]
    return len(layers), model.plan.arena_bytes, sum(map(len, model.files.values()))


@pytest.mark.slow
@limits_address_space
def test_a_thousand_operators() -> None:
    """Without interleaving: `python -m tests.large_models` has the figures with it."""
    jobs = [partial(described, n, fusion="off", effort="fast") for n in (9, 999)]
    small, large = run_jobs(jobs, TIME_S, memory_bytes=MEMORY_BYTES)
    assert isinstance(large, tuple), large
    assert (small[0], large[0]) == (9, 999)
    # The same arena, and an archive that grows with the operators.
    assert large[1] == small[1]
    assert large[2] < 150 * small[2]
