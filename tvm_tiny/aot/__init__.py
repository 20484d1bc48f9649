"""TIR and plan in, C sources and a Model Library Format archive out.

This module is light, for tools that only read archives; ``aot.sources`` and ``aot.metadata`` import TVM.
"""

from tvm_tiny.aot.model_library_format import (
    check_metadata,
    follow_metadata,
    mlf_bytes,
    mlf_files,
    module_info,
    read_ir,
    read_mlf,
)

__all__ = ["check_metadata", "follow_metadata", "mlf_bytes", "mlf_files", "module_info", "read_ir", "read_mlf"]
