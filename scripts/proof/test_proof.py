"""Tests of what the proof concludes from its commands: scripts of the shell stand in for fcdd, its tests and ncu, and fail as each test says.

    python3 scripts/proof/test_proof.py [-v] [NAME]      a few seconds; nothing has to be built
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
PACE = 0.1  # of a command's time: limits are a second or two

# What all stubs begin with: the command with its switches in one word, and the failure that a test plants.
BEGIN = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")"); on="${FCDD_PDL:+ +pdl}${FCDD_WGMMA:+ +wgmma}"; what=$(echo "$(basename "$0") $*$on" | tr " " _)
[ -f "$here/plant" ] && . "$here/plant"
"""
STUBS = {
    "fcdd": """case $1 in
info) echo "device 0: a stub, compute capability 9.0";;
verify) echo "12 passed, 0 failed";;
cifar10_table) echo "the table extrapolated: 1 minute";;
*) echo '{"timings":[{"task":"train","mode":"fcdd'$on'","how":"fixed batch","images_per_second":1}],"tiles":[]}';;
esac""",
    "cuda-tests": """case $1 in
--list) sed 's/$/: test/' "$here/names";;
*) echo "test result: ok. 1 passed";;
esac""",
    "ncu": """for word; do [ "$before" = --log-file ] && log=$word; before=$word; done
printf '"ID","Kernel Name"\\n"","",\\n"0","a"\\n"1","b"\\n' > "$log" """,
}
TESTS = """primitives::mma primitives::griddepcontrol primitives::tma_rows tensor::wgmma_of_many_shapes network::in_bf16 network::in_f32
network::step_by_step_with_wgmma_and_pdl switches::pdl_leaves_the_bits_of_wgmma switches::pdl_leaves_the_bits_of_f32"""
HANG = "trap '' TERM; sleep 1000"


class Stub(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.folder, self.out, self.tmp = (self.root / name for name in ("packed", "out", "tmp"))
        for folder in (self.folder, self.folder / "peer", self.folder / "fashion-mnist", self.root / "bin", self.tmp):
            folder.mkdir()
        shutil.copy(SCRIPTS / "gpu-proof", self.folder)
        shutil.copytree(SCRIPTS / "proof", self.folder / "proof")
        for name, text in STUBS.items():
            file = self.folder / name
            file.write_text(f"{BEGIN}{text}\n")
            file.chmod(0o755)
        (self.root / "bin/ncu").symlink_to(self.folder / "ncu")
        (self.folder / "names").write_text("\n".join(TESTS.split()) + "\n")
        # Python's scripts, as far as the proof sees them. There is no PyTorch.
        for name in ("auroc", "cifar10_table", "compare"):
            run = f"import os, sys\nsys.exit(os.system('{self.folder}/fcdd {name} >&2') > 0)\n"
            (self.folder / f"peer/{name}.py").write_text(run)
        (self.root / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")\n")

    def plant(self, text):
        (self.folder / "plant").write_text(text + "\n")

    def start(self, command, out=None, variables={}):
        environment = {**os.environ, "TMPDIR": str(self.tmp), "PATH": f"{self.root}/bin:/usr/bin:/bin", "PYTHONPATH": str(self.root)}
        environment.pop("FCDD_TEST_DEVICE", None)
        words = [sys.executable, __file__, "act", command, str(self.folder), str(out or self.out)]
        return subprocess.run(words, env={**environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def prove(self, command, out=None, **variables):
        """The rows of a command by their names."""
        self.printed = self.start(command, out, variables).stdout
        rows = [json.loads(line) for line in ((out or self.out) / f"{command}.jsonl").read_text().splitlines()]
        self.rows = {row["name"]: row for row in rows}
        return {row["name"]: row["outcome"] for row in rows}

    def timed_with(self, rows):
        """The sets of switches that all nets were timed with."""
        named = [name.partition("-bf16")[2] for name, outcome in rows.items() if name.startswith("bench-") and outcome == "passed"]
        return {name for name in named if named.count(name) == 3}


class Switches(Stub):
    def test_a_broken_switch_does_not_condemn_the_other(self):
        for broken, fine in (("wgmma", "pdl"), ("pdl", "wgmma")):
            self.plant(f'case "$what" in *{broken}*) exit 1;; esac')
            found = self.prove("first")
            self.assertEqual(found[f"switch {fine}"], "passed")
            self.assertEqual([found[f"switch {broken}"], found["switch pdl wgmma"]], ["skipped"] * 2)
            self.assertEqual(self.timed_with(found), {"", f" +{fine}"})

    def test_both_together_are_proven_by_themselves(self):
        self.assertEqual(self.timed_with(self.prove("first")), {"", " +pdl", " +wgmma", " +pdl +wgmma"})
        self.plant('case "$what" in *pdl_leaves_the_bits_of_wgmma*) exit 1;; esac')
        self.assertEqual(self.timed_with(self.prove("first")), {"", " +pdl", " +wgmma"})

    def test_pdl_is_proven_where_there_is_no_wgmma(self):
        self.plant("""case "$what" in *wgmma*|*tma_*) echo "skipped: this device has no Wgmma" >&2;; esac""")
        found = self.prove("first")
        self.assertEqual([found[f"switch {name}"] for name in ("pdl", "wgmma", "pdl wgmma")], ["passed", "skipped", "skipped"])

    def test_a_switch_that_hangs_later_is_used_no_more(self):
        self.plant(f'case "$what" in *bench*LW3K*[!l]_+wgmma) {HANG};; esac')
        found = self.prove("first")
        self.assertEqual(self.timed_with(found), {"", " +pdl"})
        self.assertEqual(sum(outcome == "out of time" for outcome in found.values()), 1)
        self.assertEqual([name for name in found if name.startswith("verify")], ["verify --golden", "verify", "verify +pdl"])
        self.assertTrue(all("switches" in row for name, row in self.rows.items() if name.startswith(("bench", "verify", "network"))))
        self.assertLess(self.rows["bench-FCDD_CNN32_LW3K-bf16 +wgmma"]["seconds"], 5)  # 20 at full length

    def test_no_plain_result_is_lost_to_a_switch(self):
        self.prove("first")
        for command, plant in {"ncu": HANG, "tiles": "exit 1", "auroc": "exit 1", "cifar10_table": "exit 1"}.items():
            self.plant(f'case "$what" in *{command}*_+pdl_+wgmma) {plant};; esac')
            found = self.prove("second")
            [broken] = [name for name, outcome in found.items() if outcome not in ("passed", "skipped")]
            self.assertEqual(self.rows[broken]["switches"], ["pdl", "wgmma"])
            self.assertEqual(found[broken.removesuffix(" +pdl +wgmma")], "passed")
            self.assertEqual(found["table" if command == "cifar10_table" else "table +wgmma"], "passed")

    def test_what_fails_without_switches_too_is_not_their_fault(self):
        self.plant('case "$what" in *network::in_f32*|ncu*|*bench*VGG_F*) exit 1;; esac')
        found = self.prove("first")
        self.assertEqual(found["switch pdl wgmma"], "passed")
        self.assertEqual(found["bench-FCDD_CNN32_LW3K-bf16 +pdl +wgmma"], "passed")
        self.assertEqual(self.prove("second")["accuracy +pdl +wgmma"], "passed")


class Environment(Stub):
    def test_switches_of_the_caller_do_not_count(self):
        self.prove("first", FCDD_PDL="1", FCDD_WGMMA="1", FCDD_TEST_SMALL="1")
        self.assertIn('"mode":"fcdd"', self.output("first", "first/bench-FCDD_CNN28_W-bf16.json"))

    def output(self, command, name):
        with tarfile.open(self.out / f"{command}.tar.gz") as archive:
            return archive.extractfile(name).read().decode()

    def test_the_device_is_named_and_others_are_refused(self):
        self.prove("first")
        self.assertIn("on a GPU", self.rows["proof"]["said"])
        self.prove("first", FCDD_TEST_DEVICE="standin")
        self.assertIn("a rehearsal in the stand-in", self.rows["proof"]["said"])
        self.assertEqual(self.start("first", variables={"FCDD_TEST_DEVICE": "cuda"}).returncode, 2)

    def test_tests_that_cannot_be_listed_are_one_row(self):
        self.plant('case "$what" in *--list*) exit 3;; esac')
        self.prove("first")
        self.assertEqual(self.printed.count("list of tests  "), 1)


class Profiles(Stub):
    def test_a_profile_without_kernels_failed(self):
        message = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"
        for code in (0, 1):
            log = 'for log; do [ "${log%.csv}" = "$log" ] || break; done'
            self.plant(f'case "$what" in ncu*) {log}; echo "{message}" > "$log"; exit {code};; esac')
            found = self.prove("second")
            self.assertTrue(found["ncu FCDD_CNN28_W"].startswith("failed"))
            self.assertIn(message, self.rows["ncu FCDD_CNN28_W"]["said"])
        (self.folder / "plant").unlink()
        self.prove("second")
        self.assertEqual(self.rows["ncu FCDD_CNN28_W"]["said"], "2 kernels")


class ResultsOfFirst(Stub):
    def used(self, out=None):
        """What the second command says of the first one's results, and whether it uses switches."""
        found = self.prove("second", out)
        return found["results of first"], self.rows["results of first"]["said"], "tiles FCDD_CNN28_W +pdl +wgmma" in found

    def test_a_damaged_archive_is_told_of_and_not_in_the_way(self):
        self.prove("first")
        archive = self.out / "first.tar.gz"
        whole = archive.read_bytes()
        shutil.rmtree(self.tmp / f"fcdd-gpu-proof-{os.getuid()}")
        for damaged in (whole[: len(whole) // 2], b""):
            archive.write_bytes(damaged)
            outcome, said, _ = self.used()
            self.assertEqual(outcome, "failed")
            self.assertIn("cannot be read", said)
        archive.write_bytes(whole)
        self.assertEqual(self.used()[::2], ("passed", True))

    def test_it_says_when_it_goes_on_without(self):
        outcome, said, switches = self.used()
        self.assertEqual((outcome, switches), ("skipped", False))
        self.assertIn("goes on without", said)
        rows = [None, [1], {"name": 1, "outcome": None}, {"name": "switch pdl", "outcome": "passed", "switches": None}]
        (self.out / "first.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.assertEqual(self.used()[::2], ("failed", False))

    def test_results_of_another_build_are_refused(self):
        self.prove("first")
        with open(self.folder / "fcdd", "a") as program:
            program.write("# another one\n")
        for out in (self.out, self.root / "elsewhere"):
            outcome, said, switches = self.used(out)
            self.assertFalse(switches)
            self.assertIn("goes on without", said)
        self.assertEqual(self.used()[0], "failed")
        self.assertIn("another build", self.used()[1])

    def test_a_first_that_cannot_write_leaves_earlier_results(self):
        self.prove("first")
        (self.root / "file").touch()
        for bad in (self.root / "file", "/dev/full", "/proc", self.tmp / f"fcdd-gpu-proof-{os.getuid()}/out"):
            self.assertEqual(self.start("first", bad).returncode, 2)
        self.assertEqual(self.used(self.root / "elsewhere")[::2], ("passed", True))


class Rows(Stub):
    def test_rows_of_several_threads_keep_their_order(self):
        results = load(self.folder).runner.Results("first", self.out)
        results.log = self.root / "log"
        module = sys.modules[type(results).__module__]
        append = module.append
        # A pause between memory and file, in which other threads would overtake.
        module.append = lambda file, text: (time.sleep(hash(text) % 5 / 1000), append(file, text))[1]
        threads = [threading.Thread(target=results.add, args=[{"name": f"{i}", "outcome": "passed"}]) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        module.append = append
        self.assertEqual(module.rows_of(results.lines), results.rows)


class Pack(Stub):
    def test_results_in_the_packed_folder_are_not_deleted(self):
        (self.folder / ".packed").touch()
        (self.folder / "results").mkdir()
        # Without cargo on the path it could not build.
        command = [sys.executable, SCRIPTS / "gpu-proof", "pack", self.folder]
        done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(", results away", done.stderr)
        self.assertTrue((self.folder / "results").exists())


def load(folder):
    """The packed proof as a module."""
    loader = SourceFileLoader("gpu_proof", str(folder / "gpu-proof"))
    module = module_from_spec(spec_from_loader("gpu_proof", loader))
    loader.exec_module(module)
    return module


def act(command, folder, out):
    """Runs a command of the proof in a fraction of its time; in a process of its own."""
    proof = load(folder)
    proof.runner.ALONE += f" {folder.parent.name}"
    proof.runner.LEAST = PACE
    table = proof.parts.COMMANDS[command]
    return proof.prove(command, out, PACE * sum(part.seconds for part in table), table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["act"]:
        sys.exit(act(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
    unittest.main()
