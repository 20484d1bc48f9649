"""Options of microTVM's tvmc that have one meaningful value here, or none.

Users' scripts carry them. One that asks for what is the case anyway is accepted; one that asks for something else is
refused with the reason, so that no script believes it got what it did not get.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm_tiny.errors import OptionError


@dataclass(frozen=True)
class Fixed:
    """An option with one possible value."""

    flag: str
    accepted: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Refused:
    """An option that cannot be honoured; ``flag`` may end in "*" for a family of options."""

    flag: str
    reason: str
    hint: str = ""


FIXED = (
    Fixed("--executor", ("aot",), "models are compiled ahead of time; there is no graph executor"),
    Fixed("--runtime", ("crt",), "generated code is plain C"),
    Fixed("--executor-aot-interface-api", ("c",), "the interface is the C structs in tvmgen_<module>.h"),
    Fixed("--executor-aot-unpacked-api", ("1", "true", "True"), "functions take plain pointers"),
    Fixed("--executor-aot-link-params", ("1", "true", "True"), "weights are const arrays in the C sources"),
    Fixed("--runtime-crt-system-lib", ("0", "1", "true", "false", "True", "False"), "there is no function registry"),
    Fixed("--executor-aot-workspace-byte-alignment", ("1", "2", "4", "8"), "the arena is aligned to 8 bytes"),
    Fixed("--executor-aot-constant-byte-alignment", ("1", "2", "4", "8"), "constants are aligned to 8 bytes"),
    Fixed("--desired-layout", ("NHWC",), "kernels work on NHWC"),
    Fixed("--opt-level", ("3",), "there is one set of passes"),
)

_BOARD_HINT = "choose the board instead: --target tinyml/BOARD (tvmc targets lists them)"
_DUMP_HINT = "--dump-ir DIR writes the IR after every phase"
_POOL_HINT = "--weights ram copies them to RAM, --allow external puts them outside the chip"

COMPILE_REFUSED = (
    Refused("--cross-compiler", "the archive holds C sources", "compile them with: tvmc micro build"),
    Refused("--cross-compiler-options", "the archive holds C sources", "compile them with: tvmc micro build"),
    Refused("--desired-layout-ops", "kernels work on NHWC"),
    Refused("--mixed-precision", "arithmetic is that of the quantized model, to the bit"),
    Refused("--mixed-precision-ops", "arithmetic is that of the quantized model, to the bit"),
    Refused("--mixed-precision-calculation-type", "arithmetic is that of the quantized model, to the bit"),
    Refused("--mixed-precision-acc-type", "arithmetic is that of the quantized model, to the bit"),
    Refused("--dump-code", "the archive holds the C sources and the IR", _DUMP_HINT),
    Refused("--dump-offloads", "nothing is offloaded to other compilers"),
    Refused("--executor-graph-link-params", "there is no graph executor", "--executor aot"),
    Refused("--runtime-cpp-system-lib", "generated code is plain C", "--runtime crt"),
    Refused("--input-shapes", "shapes are those of the model file", "fix the shapes where the model is exported"),
    Refused("--disabled-pass", "every pass is needed"),
    Refused("--print-pass-times", "passes are not timed"),
    Refused("--print-ir-before", "IR is not printed", _DUMP_HINT),
    Refused("--print-ir-after", "IR is not printed", _DUMP_HINT),
    Refused("--constant-pools*", "weights are const arrays in the C sources", _POOL_HINT),
    Refused("--target-*", "options of the target come from the board", _BOARD_HINT),
)
RUN_REFUSED = (
    Refused("--rpc-*", "models run on this machine: natively, emulated, or on a board that is attached to it"),
    Refused("--repeat", "instruction counts are exact: one run is enough"),
    Refused("--number", "instruction counts are exact: one run is enough"),
    Refused("--end-to-end", "instruction counts leave out what a user's firmware would not have"),
)
_REPEATED = "an emulator's counts are exact, and a board's kernels run alone: one run is enough"
_TEMPLATES = "layers are searched as they stand in tvm_tiny/schedules, for a core's own kernels"
TUNE_REFUSED = (
    Refused("--number", _REPEATED),
    Refused("--repeat", _REPEATED),
    Refused("--min-repeat-ms", _REPEATED),
    Refused("--parallel", "up to 24 candidates are one image", "--rpc-tracker: any number of devices (docs/tuning.md)"),
    Refused("--timeout", "a candidate that hangs is stopped by itself"),
    Refused("--early-stopping", "a space that is through ends its search", "--trials N or --time TIME"),
    Refused("--tuning-records", "a session goes on where the one in its folder ended", "-o with the same folder"),
    Refused("--desired-layout", "kernels work on NHWC"),
    Refused("--input-shapes", "shapes are those of the model file", "fix the shapes where the model is exported"),
    Refused("--enable-autoscheduler", _TEMPLATES),
    Refused("--include-simple-tasks", _TEMPLATES),
    Refused("--log-estimated-latency", _TEMPLATES, "records/progress.svg shows how far it has come"),
    Refused("--target-*", "options of the target come from the board", _BOARD_HINT),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the fixed options; the refused ones stay out of the help and are caught by ``check_unknown``."""
    group = parser.add_argument_group("options of microTVM's tvmc", "accepted with the one value that holds here")
    for option in FIXED:
        flags = ("-O", option.flag) if option.flag == "--opt-level" else (option.flag,)
        group.add_argument(*flags, metavar=option.accepted[0], help=option.reason)


def check(args: argparse.Namespace) -> None:
    """Refuse values that do not hold.

    Raises
    ------
    OptionError : with the reason and the value that would be accepted
    """
    given: Mapping[str, Any] = vars(args)
    for option in FIXED:
        value = given[option.flag.lstrip("-").replace("-", "_")]
        if value is not None and value not in option.accepted:
            raise OptionError(
                f"{option.flag} {value}: {option.reason}",
                hints=[f"{option.flag} {option.accepted[0]}, or leave it out"],
            )


def check_unknown(arguments: Sequence[str], refused: Sequence[Refused]) -> None:
    """Explain the first of the unparsed ``arguments`` that is one of ``refused``.

    Raises
    ------
    OptionError : with the reason and what to use instead
    """
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        for option in refused:
            family = option.flag.removesuffix("*")
            if flag == option.flag or (family != option.flag and flag.startswith(family)):
                raise OptionError(f"{flag}: {option.reason}", hints=[option.hint or f"leave {flag} out"])
