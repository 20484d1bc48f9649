"""Stands in for QEMU's multiplexed console around a program: 0x01 0x01 is a byte 0x01, 0x01 x quits."""

from __future__ import annotations

import os
import subprocess
import sys

# Before the program, which writes byte by byte: not into its words.
os.write(1, b"[0/1] To exit from QEMU enter: 'CTRL+a, x'[QEMU] CPU: none\r\n")
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
assert process.stdin
escaped = False
while data := os.read(0, 1 << 16):
    out = bytearray()
    for byte in data:
        if escaped and byte == ord("x"):
            process.kill()
            sys.exit(0)
        if byte == 1 and not escaped:
            escaped = True
            continue
        assert not escaped or byte == 1, "an escape of the console that nobody meant"
        escaped = False
        out.append(byte)
    process.stdin.write(bytes(out))
    process.stdin.flush()
sys.exit(3)
