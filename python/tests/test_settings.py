"""Keyword arguments of trainings are the settings of the library."""

import subprocess
import sys
from pathlib import Path


def test_the_generated_file_is_that_of_the_table():
    script = Path(__file__).parents[2] / "scripts/python-settings"
    checked = subprocess.run([sys.executable, script, "--check"], stderr=subprocess.PIPE, text=True)
    assert checked.returncode == 0, checked.stderr
