"""TIR and plan in, C sources and a Model Library Format archive out."""

from tvm_tiny.aot.c_names import c_identifiers, check_module_name
from tvm_tiny.aot.metadata import mlf_metadata, tinyml_metadata
from tvm_tiny.aot.model_library_format import check_metadata, mlf_bytes, mlf_files, module_info, read_mlf
from tvm_tiny.aot.sources import generate_sources

__all__ = [
    "c_identifiers",
    "check_metadata",
    "check_module_name",
    "generate_sources",
    "mlf_bytes",
    "mlf_files",
    "mlf_metadata",
    "module_info",
    "read_mlf",
    "tinyml_metadata",
]
