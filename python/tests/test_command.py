"""The program that comes with the package."""

import subprocess
import sys
from pathlib import Path

import fcdd


def fcdd_program(*words):
    program = Path(sys.executable).with_name("fcdd")
    return subprocess.run([program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_is_this_version():
    assert fcdd_program("--version").stdout == f"fcdd {fcdd.__version__}\n"


def test_it_detects(run, dent, good, tmp_path):
    ended = fcdd_program("predict", run, good, dent, "--out", tmp_path / "results", "--device", "cpu", "--fail-on-anomaly")
    assert ended.returncode == 3, ended.stderr
    assert (tmp_path / "results").is_dir()


def test_its_errors_say_what_to_do(tmp_path):
    ended = fcdd_program("info", tmp_path / "missing")
    assert ended.returncode == 2 and "check the spelling" in ended.stderr
    assert fcdd_program("no-command").returncode == 2


def test_a_job_script_starts_it(parts, tmp_path):
    ended = fcdd_program("sweep", parts, "--seeds", "2", "--slurm", "--devices", "cpu", "--out", tmp_path / "sweep")
    assert ended.returncode == 0, ended.stderr
    assert str(Path(sys.executable).with_name("fcdd")) in (tmp_path / "sweep/slurm.sh").read_text()
