"""What a plan is to reach: the objective and the bounds that a user sets, and how long to search for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from tvm_tiny.errors import OptionError

Objective: TypeAlias = Literal["ram", "time", "balanced"]
EffortName: TypeAlias = Literal["fast", "default", "max"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
EFFORTS: tuple[EffortName, ...] = get_args(EffortName)
MILD = 0.05  # overhead that a plan may have without being asked for
MOST = 1.0  # overhead beyond which no plan is looked for
_UNITS: Mapping[str, int] = {"": 1, "B": 1, "K": 1 << 10, "KB": 1 << 10, "M": 1 << 20, "MB": 1 << 20}


@dataclass(frozen=True)
class Goal:
    """What to look for.

    Parameters
    ----------
    objective : "ram": the smallest RAM; "time": the least overhead among the plans that fit; "balanced": the smallest
        RAM without recomputation and with at most 5 % of overhead. None: "time" where ``ram_bytes`` is given, else
        "balanced"
    ram_bytes : bound on arena, inputs and outputs together; None: what the board has
    max_overhead : bound on the work beyond the network's own, as a fraction of its MACs; both on what is computed twice
        and on that plus the estimated extra instructions. None: as the objective says, or twice the work at most
    effort : how long to search

    Raises
    ------
    OptionError : a value out of its range
    """

    objective: Objective | None = None
    ram_bytes: int | None = None
    max_overhead: float | None = None
    effort: EffortName = "default"

    def __post_init__(self) -> None:
        _check_choice("--objective", self.objective, (None, *OBJECTIVES))
        _check_choice("--effort", self.effort, EFFORTS)
        if self.ram_bytes is not None and self.ram_bytes <= 0:
            raise OptionError(f"--ram {self.ram_bytes}: expected more than 0 bytes", hints=["for instance --ram 64K"])
        if self.max_overhead is not None and not 0 <= self.max_overhead <= 10:
            raise OptionError(
                f"--max-overhead {self.max_overhead:.0%}: expected 0% to 1000%", hints=["for instance 10%"]
            )

    @property
    def aim(self) -> Objective:
        """The objective, the default filled in."""
        return self.objective or ("balanced" if self.ram_bytes is None else "time")

    @property
    def mac_factor(self) -> float:
        """Executed MACs over the network's, at most."""
        if self.max_overhead is not None:
            return 1.0 + self.max_overhead
        return 1.0 if self.aim == "balanced" else 1.0 + MOST

    @property
    def overhead_limit(self) -> float:
        """Work beyond the network's own, at most, as a fraction of its MACs."""
        if self.max_overhead is not None:
            return self.max_overhead
        return MILD if self.aim == "balanced" else MOST


def parse_bytes(text: str) -> int:
    """``"64K"`` -> 65536; plain numbers are bytes, K and M are powers of 1024.

    Raises
    ------
    OptionError : anything else
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KM]?B?)", text.strip(), re.IGNORECASE)
    if match is None:
        raise OptionError(
            f"--ram {text}: expected a number of bytes", hints=["for instance --ram 64K, --ram 1.5M or --ram 40000"]
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_fraction(text: str) -> float:
    """``"10%"`` -> 0.1; without a percent sign it is a fraction already.

    Raises
    ------
    OptionError : anything else
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", text.strip())
    if match is None:
        raise OptionError(f"--max-overhead {text}: expected a percentage", hints=["for instance --max-overhead 10%"])
    return float(match[1]) / (100 if match[2] else 1)


def _check_choice(option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise OptionError(
            f"{option} {value!r} is unknown", hints=[f"choose one of {', '.join(x for x in known if x is not None)}"]
        )
