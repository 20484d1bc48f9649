"""Entry point of ``tvm.backends``: TVM calls ``register`` at the end of its own import.

A leaf module without a top-level ``import tvm``: whichever of the two packages a program imports first, there is no
circular import.
"""

from __future__ import annotations


def register() -> None:
    """Make the target tags ``tinyml`` and ``tinyml/<board>`` and the operators ``relax.tinyml.*`` known to TVM."""
    # From the submodule: where the package `ops` is what imported TVM, it is still half initialised here.
    from tvm_tiny import targets
    from tvm_tiny.ops.registry import register_ops

    targets.register()
    register_ops()
