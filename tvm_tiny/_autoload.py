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
    _register_farm()


def _register_farm() -> None:
    """What servers of a farm run for their clients; imported when it is called."""
    import tvm_ffi

    def run(archive: bytes, inputs: bytes) -> bytes:
        from tvm_tiny.tune.farm import run_for_client

        return run_for_client(bytes(archive), bytes(inputs))

    tvm_ffi.register_global_func("tvm_tiny.farm.run", run, override=True)
