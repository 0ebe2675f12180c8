"""The program `fcdd`."""

import sys

from fcdd._native import run_program


def main() -> int:
    return run_program(["fcdd", *sys.argv[1:]])
