"""The program `fcdd`."""

import os
import sys

from fcdd._native import run_program


def main() -> int:
    """Runs it with the words of the command line; returns its exit code."""
    return run_program([os.path.abspath(sys.argv[0]), *sys.argv[1:]])
