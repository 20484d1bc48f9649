"""What ``tvmc`` returns; docs/command_line.md explains them."""

from __future__ import annotations

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2  # by argparse
EXIT_DIFFERS = 3  # a comparison was made, and its outcome is not the one asked for
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it; 128 + another signal for SIGTERM and SIGHUP
