"""The decorator all Relax passes here share."""

from __future__ import annotations

from typing import Any, TypeVar

import tvm
import tvm_ffi

from tvm_tiny.errors import ModelError, OptionError, TvmTinyError, UnsupportedOperatorError

T = TypeVar("T")

# Behind TVM's own Sequential an error is made anew from class name and text; its hints are lost on the way.
for _error in (ModelError, OptionError, UnsupportedOperatorError):
    tvm_ffi.register_error(_error)


def relax_pass(rewriter: type[T]) -> type[T]:
    """Make a class with ``transform_module(mod, context)`` a TVM pass that is called with a module.

    Like ``tvm.transform.module_pass``, but errors of ours that cross TVM's C++ come out as they were raised.
    """

    class _Recording(rewriter):  # type: ignore[valid-type,misc]
        error: TvmTinyError | None = None

        def transform_module(self, mod: tvm.IRModule, context: Any) -> tvm.IRModule:
            self.error = None
            try:
                return super().transform_module(mod, context)
            except TvmTinyError as error:
                self.error = error
                raise

    wrapped = tvm.transform.module_pass(_Recording, opt_level=0, name=rewriter.__name__)

    class RelaxPass(wrapped):  # type: ignore[valid-type,misc]
        def __call__(self, mod: tvm.IRModule) -> tvm.IRModule:
            try:
                return super().__call__(mod)
            except Exception:
                if self._inst.error is None:
                    raise
            raise self._inst.error

    RelaxPass.__name__ = RelaxPass.__qualname__ = rewriter.__name__
    RelaxPass.__doc__ = rewriter.__doc__
    RelaxPass.__module__ = rewriter.__module__
    return RelaxPass
