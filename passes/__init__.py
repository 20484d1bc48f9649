"""Relax and TIR passes. Each works alone on any module; ``tvm_tiny.pipeline`` knows the order."""

from tvm_tiny.passes._dataflow import DataflowWriter, array_of, bindings_of, is_const, map_functions, rewrite_bindings
from tvm_tiny.passes._evaluate import evaluate_function
from tvm_tiny.passes._relax_pass import relax_pass
from tvm_tiny.passes.build_main import build_main
from tvm_tiny.passes.cancel_transposes import CancelTransposes
from tvm_tiny.passes.extract_program import extract_program
from tvm_tiny.passes.fold_constants import FoldConstants
from tvm_tiny.passes.fold_pad import FoldPad
from tvm_tiny.passes.fuse_lookup import FuseLookup
from tvm_tiny.passes.hoist_transposes import HoistTransposes
from tvm_tiny.passes.lower_qdq import LowerQdq
from tvm_tiny.passes.lower_tir import lower_tir
from tvm_tiny.passes.place_views import place_views
from tvm_tiny.passes.plain_abi import UsePlainPointers
from tvm_tiny.passes.quantized_io import QuantizedIo
from tvm_tiny.passes.remove_dead_channels import RemoveDeadChannels
from tvm_tiny.passes.remove_identities import RemoveIdentities
from tvm_tiny.passes.reorder_program import reorder_program
from tvm_tiny.passes.split_to_slices import SplitToSlices
from tvm_tiny.passes.stream_input import stream_input
from tvm_tiny.passes.tile_channels import ChannelTiles, TileChannels, find_tiles, parse_tiles

__all__ = [
    "CancelTransposes",
    "ChannelTiles",
    "DataflowWriter",
    "FoldConstants",
    "FoldPad",
    "FuseLookup",
    "HoistTransposes",
    "LowerQdq",
    "QuantizedIo",
    "RemoveDeadChannels",
    "RemoveIdentities",
    "SplitToSlices",
    "TileChannels",
    "UsePlainPointers",
    "array_of",
    "bindings_of",
    "build_main",
    "evaluate_function",
    "extract_program",
    "find_tiles",
    "is_const",
    "lower_tir",
    "map_functions",
    "parse_tiles",
    "place_views",
    "relax_pass",
    "reorder_program",
    "rewrite_bindings",
    "stream_input",
]
