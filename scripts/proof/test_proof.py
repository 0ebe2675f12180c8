"""Tests of what the proof concludes from its commands: scripts of the shell stand in for fcdd, its tests, CUDA's tools and PyTorch, and fail as
each test says.

    python3 scripts/proof/test_proof.py [-v] [NAME]      half a minute for all; nothing has to be built
"""

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
PEER = SCRIPTS.parent / "benches/peer"
AT_ONCE = 4  # tests; half of their time they wait
PACE = 0.1  # of a command's time: limits are a second or two

# What all stubs begin with: the command with its switches in one word, and the failure that a test plants. It starts no processes, for stubs
# run thousands of times.
BEGIN = """#!/bin/sh
here="HERE"; words=$IFS; IFS=_; what="${0##*/}_$*${FCDD_PDL:+_+pdl}${FCDD_WGMMA:+_+wgmma}"; IFS=$words
[ -f "$here/plant" ] && . "$here/plant"
"""
STUBS = {
    "fcdd": """precision=bf16; case "$*" in *"precision f32"*) precision=f32;; esac
tasks="train infer"; for word; do [ "$before" = --task ] && tasks=$word; before=$word; done
case "$*" in
info) echo "device 0: a stub, compute capability 9.0, 1 of 2 MiB free";;
verify*) echo "12 passed, 0 failed, 1 skipped";;
cifar10_table) echo "the table extrapolated: 1.0 minutes";;
auroc) echo "mean image AUROC: f32 0.9876, bf16 0.9875";;
compare) echo "| case | fcdd, ms |";;
*--tiles*) product=mma${FCDD_WGMMA:+,wgmma}; before='{"tiles":['
for pass in conv_fprop conv_dgrad conv_wgrad; do
    echo "$before"'{"net":"'$2'","pass":"'$pass'","product":"'${product#*,}'","chosen":true,"seconds":[1]}'; before=,
done; echo "]}";;
*) before='{"timings":['
for task in $tasks; do
    echo "$before"'{"net":"'$2'","task":"'$task'","batch":8,"side":28,"mode":"fcdd cuda '$precision"${FCDD_PDL:+ pdl}${FCDD_WGMMA:+ wgmma}"\\
', graph, fixed batch","how":"graph, fixed batch","seconds":['${seconds:-8}'],"images_per_second":'${rate:-1}'}'; before=,
done; echo "]}";;
esac""",
    "cuda-tests": """case $1 in
--list) awk '{print $0 ": test"} END {print "\\n" NR " tests, 0 benchmarks"}' "$here/names";;
*) echo "test result: ok. 1 passed; 0 failed; 0 ignored";;
esac""",
    "ncu": """for word; do [ "$before" = --log-file ] && log=$word; before=$word; done
printf '==PROF== Connected\\n"ID","Kernel Name"\\n"","",\\n"0","a"\\n"1","b"\\n' > "$log" """,
    # As from Compute Sanitizer 2022.4 on.
    "compute-sanitizer": """kind=$2; while [ "${1#/}" = "$1" ]; do shift; done; "$@" || exit 1
case $kind in
memcheck) echo "========= ERROR SUMMARY: 0 errors";;
racecheck) echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)";;
esac""",
}
# Python's scripts as far as the proof sees them, where there is PyTorch; they name the net last, and gpu.py its mode.
CHECK = """import json, sys
nets = {word: {"passed": True} for word in sys.argv if word.startswith("FCDD_")}
json.dump({"nets": nets}, open(sys.argv[2], "w"))
"""
GPU = """import json, sys
mode = "torch 9 bf16 " + sys.argv[sys.argv.index("--mode") + 1]
of = {"net": "FCDD_CNN28_W", "task": "train", "batch": 8, "side": 28, "how": "graph, fixed batch"}
timing = {**of, "mode": mode, "seconds": [4], "images_per_second": 2}
json.dump({"timings": [timing, {**of, "mode": mode, "error": "?"}]}, open(sys.argv[1], "w"))
print(mode)
"""
TESTS = """primitives::mma primitives::griddepcontrol primitives::tma_rows tensor::wgmma_of_many_shapes network::step_by_step_in_bf16
network::in_f32 network::step_by_step_with_wgmma_and_pdl switches::pdl_leaves_the_bits_of_wgmma switches::pdl_leaves_the_bits_of_f32
conv::tiny_shapes"""
NETS = ["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"]
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
            file.write_text(f"{BEGIN.replace('HERE', str(self.folder))}{text}\n")
            file.chmod(0o755)
        for name in ("ncu", "compute-sanitizer"):
            (self.root / "bin" / name).symlink_to(self.folder / name)
        (self.folder / "names").write_text("\n".join(TESTS.split()) + "\n")
        # There is no PyTorch.
        for name in ("auroc", "cifar10_table", "compare"):
            run = f"import os, sys\nsys.exit(os.system('{self.folder}/fcdd {name} >&2') > 0)\n"
            (self.folder / f"peer/{name}.py").write_text(run)
        (self.root / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")

    def plant(self, text):
        (self.folder / "plant").write_text(text + "\n")

    def install(self, name, text):
        """A program of this name on the path."""
        (self.root / "bin" / name).unlink(missing_ok=True)
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.root / "bin" / name).chmod(0o755)

    def install_torch(self, check=CHECK, gpu=GPU):
        (self.root / "torch.py").write_text("__version__ = '9.0'\n")
        (self.folder / "peer/check.py").write_text(check)
        (self.folder / "peer/gpu.py").write_text(gpu)

    def start(self, command, out=None, variables={}, **how):
        environment = {**os.environ, "TMPDIR": str(self.tmp), "PATH": f"{self.root}/bin:/usr/bin:/bin", "PYTHONPATH": str(self.root)}
        environment.pop("FCDD_TEST_DEVICE", None)
        words = [sys.executable, __file__, "act", command, str(self.folder), str(out or self.out)]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 90, **how}
        return subprocess.run(words, env={**environment, **variables}, **how)

    def prove(self, command, out=None, **variables):
        """The rows of a command by their names."""
        self.printed = self.start(command, out, variables).stdout
        rows = [json.loads(line) for line in ((out or self.out) / f"{command}.jsonl").read_text().splitlines()]
        self.rows = {row["name"]: row for row in rows}
        return {row["name"]: row["outcome"] for row in rows}

    def archived(self, command, name):
        with tarfile.open(self.out / f"{command}.tar.gz") as archive:
            return archive.extractfile(name).read().decode()

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
        for command in ("ncu", "tiles", "auroc", "cifar10_table"):
            self.plant(f'case "$what" in *{command}*_+pdl_+wgmma) exit 1;; esac')
            found = self.prove("second")
            [broken] = [name for name, outcome in found.items() if outcome not in ("passed", "skipped")]
            self.assertEqual(self.rows[broken]["switches"], ["pdl", "wgmma"])
            self.assertEqual(found[broken.removesuffix(" +pdl +wgmma")], "passed")
            # What ncu cannot do tells nothing of the switches.
            with_switches = {"cifar10_table": "", "ncu": " +pdl +wgmma"}.get(command, " +wgmma")
            self.assertEqual(found[f"table{with_switches}"], "passed")

    def test_one_that_is_slow_ends_no_switch(self):
        from proof import parts

        self.prove("first")
        for command in ("ncu*VGG", "auroc"):  # each gets half of the time that is left, nearly its limit
            self.plant(f'case "$what" in *{command}*_+pdl_+wgmma) {HANG};; ncu*CNN28*) sleep 2;; esac')
            found = self.prove("second")
            [slow] = [name for name, outcome in found.items() if outcome not in ("passed", "skipped")]
            self.assertEqual([found[slow], found[slow.removesuffix(" +pdl +wgmma")]], ["cut off", "passed"])
            self.assertEqual(found["table +pdl +wgmma"], "passed")
        late = {"outcome": "out of time"}
        self.assertEqual([parts.is_broken(row) for row in (late, {**late, "profiler": "ncu"})], [True, False])

    def test_after_one_that_is_slow_the_others_of_its_part_have_no_switches(self):
        self.prove("first")
        self.plant(f'case "$what" in *ncu*_+pdl_+wgmma) {HANG};; esac')
        found = self.prove("second")
        self.assertEqual([name for name in found if name.startswith("ncu")], [f"ncu {NETS[0]} +pdl +wgmma", *(f"ncu {net}" for net in NETS)])

    def test_what_fails_without_switches_too_is_not_their_fault(self):
        self.plant('case "$what" in *network::in_f32*|ncu*|*bench*VGG_F*) exit 1;; esac')
        found = self.prove("first")
        self.assertEqual(found["switch pdl wgmma"], "passed")
        self.assertEqual(found["bench-FCDD_CNN32_LW3K-bf16 +pdl +wgmma"], "passed")
        self.assertEqual(self.prove("second")["accuracy +pdl +wgmma"], "passed")

    def test_what_fails_for_another_reason_than_without_them_is(self):
        apart = 'echo "error: FCDD_WGMMA=1 changes the results" >&2; exit 1'
        plants = [f'*bench*VGG_F*50_--json) {other};; *bench*VGG_F*50*wgmma) {apart};;' for other in (HANG, "echo no memory >&2; exit 1")]
        of_a_net = "*step_by_step_in_bf16) %s;; *step_by_step_in_bf16_+wgmma) %s;;"
        plants.append(of_a_net % ("kill -9 $$", "exit 101"))
        plants.append(of_a_net % ("echo error: 0.01 apart; exit 1", "echo error: 0.9 apart; exit 1"))
        for plant in plants:
            self.plant(f'case "$what" in {plant} esac')
            self.prove("first")
            found = self.prove("second")
            self.assertIn("tiles FCDD_CNN28_W +pdl", found, plant)

    def test_only_nets_that_use_a_switch_prove_it(self):
        for plant in ('echo "skipped: no time" >&2', HANG):
            self.plant(f'case "$what" in *network::step_by_step_in_bf16_*wgmma) {plant};; esac')
            found = self.prove("first")
            self.assertEqual([found[f"switch {name}"] for name in ("pdl", "wgmma", "pdl wgmma")], ["passed", "skipped", "skipped"])
        self.plant('case "$what" in *network::in_f32_+pdl*) echo "skipped: no time" >&2;; esac')
        self.assertEqual(self.prove("first")["switch pdl wgmma"], "passed")
        self.assertIn("2 tests of its own and 1 of nets that use it", self.rows["switch pdl"]["said"])


class Environment(Stub):
    def test_switches_of_the_caller_do_not_count(self):
        self.prove("first", FCDD_PDL="1", FCDD_WGMMA="1", FCDD_TEST_SMALL="1")
        self.assertIn('"mode":"fcdd cuda bf16, graph', self.archived("first", "first/bench-FCDD_CNN28_W-bf16.json"))

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

    def test_a_name_that_is_no_text_spoils_no_other(self):
        with open(self.folder / "names", "ab") as names:
            names.write(b"\377\376\n")
        self.assertEqual(self.prove("first")["primitives::mma"], "passed")

    def test_tests_that_are_all_skipped_prove_nothing(self):
        self.plant('case "$what" in cuda-tests_--exact*) echo "skipped: this device cannot" >&2;; esac')
        found = self.prove("first")
        self.assertEqual([found["primitives"], found["tests"]], ["failed"] * 2)

    def test_a_debugger_that_cannot_be_killed_stops_nothing(self):
        pids = self.root / "pids"
        self.install("cuda-gdb", f"echo $PPID $$ >> {pids}; while :; do sleep 0.2; done")
        self.plant(f'case "$what" in *network::in_f32) {HANG};; esac')

        def asked():
            """The proof and its debugger, once that runs."""
            while not pids.exists() or not pids.read_text():
                time.sleep(0.1)
            return map(int, pids.read_text().split())

        started = []

        def terminate():
            proof, _ = asked()
            started.append(time.monotonic())
            os.kill(proof, signal.SIGTERM)

        for signalled in (False, True):
            started.append(time.monotonic())
            if signalled:
                threading.Thread(target=terminate).start()
            found = self.prove("first", UNKILLABLE="cuda-gdb")
            self.assertLess(time.monotonic() - started[-1], 15 if signalled else PACE * 330)
            self.assertEqual(found["network::in_f32"], "not run" if signalled else "out of time")
            self.assertEqual("side by side" in found, not signalled)
            _, debugger = asked()
            os.kill(debugger, signal.SIGKILL)
            pids.unlink()

    def test_one_that_hangs_where_time_is_left_for_a_debugger_hangs(self):
        self.install("cuda-gdb", "exit 0")
        hanging = ["primitives::tma_rows", "network::in_f32 +pdl"]
        self.plant(f'case "$what" in *primitives::tma_rows*|*network::in_f32_+pdl) {HANG};; esac')
        found = self.prove("first")
        self.assertEqual([found[name] for name in hanging], ["out of time"] * 2)
        self.assertEqual([found[f"switch {name}"] for name in ("pdl", "wgmma")], ["skipped"] * 2)
        self.assertEqual(found["memcheck primitives::tma_rows"], "skipped")

    def test_no_memory_image_of_a_crash_is_written(self):
        self.plant('case "$what" in *network::in_f32) ulimit -c > "$here/cores"; kill -SEGV $$;; esac')
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        self.start("first", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most)))
        self.assertEqual((self.folder / "cores").read_text(), "0\n")

    def test_a_reader_that_stops_does_not_stop_the_proof(self):
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        started = time.monotonic()
        self.start("first", stdout=write)
        self.assertLess(time.monotonic() - started, PACE * 330)
        rows = [json.loads(line) for line in (self.out / "first.jsonl").read_text().splitlines()]
        self.assertEqual(rows[-1]["name"], "side by side")
        os.close(write)
        printed = os.read(read, 1 << 16).decode()
        os.close(read)
        self.assertTrue(printed.startswith("proof ") and "side by side" not in printed)


class Outputs(Stub):
    """Exit code 0 is not enough."""

    def assert_wrong(self, check, *outputs):
        """That a check refuses each of these outputs."""
        for text in outputs:
            with self.assertRaises(Exception, msg=text) as raised:
                check(checks().Output(text, ""))
            self.assertNotIsInstance(raised.exception, checks().Skipped)

    def test_a_bench_must_have_timed_what_it_was_asked_for(self):
        timing = '{"net":"FCDD_CNN28_W","task":"train","mode":"fcdd cuda bf16, graph","batch":1,"images_per_second":%s,"seconds":%s}'
        good = '{"timings":[%s]}' % timing % (1, [1])
        check = checks().bench("FCDD_CNN28_W", "bf16", [], ["train"])
        self.assertEqual(check(checks().Output(good, "")), "train 1/s")
        self.assert_wrong(checks().bench("FCDD_CNN28_W", "bf16", [], ["train", "infer"]), good)
        self.assert_wrong(check, good.replace('"batch"', '"how":"launch by launch, inputs cold","batch"'))
        self.assert_wrong(check, '{"timings":[]}', "{}", good[:-1], good + "}", "nonsense", "")
        values = [("NaN", [1]), ("null", [1]), (1, "[]"), (1, "[null]"), (1, "null"), (1, "[0]"), (1, "[-1]"), (1, "[Infinity]")]
        values += [(1e300, "[1e-300]"), (1e308, [1]), (0.9, [1]), (1.1, [1])]
        self.assert_wrong(check, *('{"timings":[%s]}' % timing % each for each in values))
        self.assert_wrong(check, good.replace("bf16", "f32"), good.replace("bf16", "bf16 pdl"), good.replace("28_W", "28"))
        self.assert_wrong(check, good.replace("cuda", "cpu"))
        self.assert_wrong(checks().bench("FCDD_CNN28_W", "bf16", ["wgmma"], ["train"]), good)

    def test_tiles_must_be_those_that_were_asked_for(self):
        tile = '{"net":"A","pass":"conv_%s","product":"mma","chosen":true,"seconds":[1]}'
        fprop, dgrad, wgrad = (tile % name for name in ("fprop", "dgrad", "wgrad"))
        of_wgmma = wgrad.replace("mma", "wgmma")
        all_of = lambda *tiles: '{"tiles":[%s]}' % ",".join(tiles)
        check, with_wgmma = checks().tiles("A", []), checks().tiles("A", ["wgmma"])
        unchosen, by_wgmma = of_wgmma.replace("true", "false"), all_of(fprop, dgrad, of_wgmma)
        for each, good in ((check, all_of(fprop, dgrad, wgrad, unchosen)), (with_wgmma, by_wgmma), (with_wgmma, all_of(fprop, dgrad, wgrad))):
            self.assertTrue(each(checks().Output(good, "")))
        self.assert_wrong(check, all_of(), all_of(fprop, dgrad), all_of(fprop, dgrad, wgrad).replace("A", "B"), by_wgmma)
        self.assert_wrong(check, all_of(fprop, dgrad, wgrad).replace("[1]", "[1e-300]"))
        self.assert_wrong(with_wgmma, all_of(fprop, dgrad, wgrad, unchosen))

    def test_a_list_of_tests_must_be_whole(self):
        whole = "a: test\nb: test\n\n2 tests, 0 benchmarks\n"
        self.assertEqual(checks().tests_listed(checks().Output(whole, "")), "2 tests")
        self.assert_wrong(checks().tests_listed, whole[:20], whole[9:], whole.replace("2", "3"), "0 tests, 0 benchmarks\n", "")

    def test_nvidia_smi_must_have_found_a_gpu(self):
        good = "Attached GPUs                             : 1\nGPU 00000000:01:00.0"
        self.assertTrue(checks().gpus(checks().Output(good, "")))
        self.assert_wrong(checks().gpus, "NVIDIA-SMI has failed because it could not communicate with the driver", good.replace("1", "0"), "")

    def test_verify_must_have_checked_something_and_found_nothing(self):
        self.assertTrue(checks().verify(checks().Output("12 passed, 0 failed, 1 skipped\n", "")))
        self.assert_wrong(checks().verify, "3 passed, 9 failed, 0 skipped", "0 passed, 0 failed, 1 skipped", "all passed", "12 passed")

    def test_one_test_must_have_passed(self):
        good = "test result: ok. 1 passed; 0 failed; 0 ignored"
        self.assertEqual(checks().one_test(checks().Output(good, "")), "")
        bad = ("FAILED. 11 passed; 3 failed; 0", "ok. 0 passed; 0 failed; 1", "ok. 11 passed; 0 failed; 0", "FAILED. 1 passed; 0 failed; 0")
        self.assert_wrong(checks().one_test, *(f"test result: {said}" for said in bad), "1 passed; 0 failed; 0", f"{good}\n{good}", "")

    def test_what_the_first_command_times_must_be_whole(self):
        self.plant("""case "$what" in *bench*CNN28_W*50_--json) echo '{"timings":['; exit;; *bench*LW3K*wgmma) FCDD_WGMMA=;;
            *network::in_f32) echo "skipped: no device" >&2;;
            *network::step_by_step_in_bf16) echo "test result: FAILED. 11 passed; 3 failed; 0"; exit;;
            *verify*golden*) echo "3 passed, 9 failed"; exit;; esac""")
        found = self.prove("first")
        names = ("bench-FCDD_CNN28_W-bf16", "network::step_by_step_in_bf16", "verify --golden", "network::in_f32")
        self.assertEqual([found[name] for name in names], ["failed"] * 3 + ["skipped"])
        # Wherever a switch is not on without a word, it is used no more.
        self.assertEqual(found["bench-FCDD_CNN32_LW3K-bf16 +wgmma"], "failed")
        self.assertNotIn("bench-FCDD_CNN224_VGG_F-bf16 +wgmma", found)

    def test_what_the_second_command_makes_must_be_whole(self):
        said = {"tiles": '{"tiles":[{"seconds":[1]},', "auroc": "mean image AUROC: f32 nan, bf16 nan"}
        said["cifar10_table"] = "the table extrapolated: nan minutes"
        self.plant("".join(f"case \"$what\" in *{name}*) echo '{output}'; exit;; esac\n" for name, output in said.items()))
        found = self.prove("second")
        self.assertEqual([found[name] for name in ("tiles FCDD_CNN28_W", "accuracy", "table")], ["failed"] * 3)

    def test_what_pytorch_gives_must_be_whole(self):
        cut = "import sys\nopen(sys.argv[1], 'w').write('{\"timings\": [')\n"
        nothing_timed = "import json, sys\njson.dump({'timings': [{'error': '?'}]}, open(sys.argv[1], 'w'))\n"
        for check, gpu in (("", cut), (CHECK.replace("True", "False"), nothing_timed), ("print('the same net')", "print('nonsense')")):
            self.install_torch(check, gpu)
            found = self.prove("first")
            self.assertEqual([found["torch"], found["peer-checked"], found["peer"]], ["passed", "failed", "failed"])

    def test_a_profile_without_kernels_failed(self):
        message = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"
        find_log = 'for log; do [ "${log%.csv}" = "$log" ] || break; done'
        self.plant(f"""case "$what" in ncu*) {find_log}; case "$what" in *LW3K*) echo '"ID","Kernel Name"\n"0"' > "$log"; exit;;
            *VGG*) echo "{message}" > "$log"; exit 1;; *) echo "{message}" > "$log"; exit;; esac;; esac""")
        found = self.prove("second")
        self.assertEqual([found[f"ncu {net}"] for net in NETS], ["failed", "failed", "failed (1)"])
        self.assertEqual([message in self.rows[f"ncu {net}"]["said"] for net in NETS], [True, False, True])
        (self.folder / "plant").unlink()
        self.prove("second")
        self.assertEqual(self.rows["ncu FCDD_CNN28_W"]["said"], "2 kernels")


class Sanitizers(Stub):
    def used(self):
        """The switches of the tiles of the second command."""
        self.prove("second")
        return self.rows[next(name for name in self.rows if name.startswith("tiles"))]["switches"]

    def test_what_a_sanitizer_finds_ends_a_switch(self):
        finding = 'echo "========= Invalid __shared__ read of size 16 bytes"; exit 1'
        self.plant(f'case "$what" in compute-sanitizer*tensor::wgmma*) {finding};; esac')
        found = self.prove("first")
        self.assertEqual(found["memcheck tensor::wgmma_of_many_shapes"], "failed (1)")
        self.assertEqual([found["memcheck primitives::mma"], found["racecheck conv::tiny_shapes"]], ["passed"] * 2)
        self.assertEqual(self.used(), ["pdl"])

    def test_that_it_is_slow_does_not(self):
        self.plant(f'case "$what" in compute-sanitizer*tensor::wgmma*) {HANG};; esac')
        self.assertEqual(self.prove("first")["memcheck tensor::wgmma_of_many_shapes"], "out of time")
        self.assertEqual(self.used(), ["pdl", "wgmma"])

    def test_a_warning_of_racecheck_is_told_and_refutes_nothing(self):
        for severity, errors, outcome in (("Warning", 0, "passed"), ("Error", 1, "failed")):
            said = f"========= {severity}: Race reported between Write access and Read access"
            summary = f"RACECHECK SUMMARY: 1 hazard displayed ({errors} errors, {1 - errors} warnings)"
            result = "test result: ok. 1 passed; 0 failed; 0"
            self.plant(f"""case "$what" in compute-sanitizer*racecheck*) printf '{said}\n========= {summary}\n{result}\n'
                case "$what" in *exitcode*) exit 1;; esac; exit;; esac""")
            self.assertEqual(self.prove("first")["racecheck conv::tiny_shapes"], outcome)
            self.assertIn(summary if outcome == "passed" else said, self.rows["racecheck conv::tiny_shapes"]["said"])

    def test_one_that_did_not_look_found_nothing(self):
        sorry = "========= Error: Device not supported. Please refer to the documentation"
        summary = "========= ERROR SUMMARY: 0 errors"
        cases = {"primitives::mma": (f"{sorry}\n{summary}", 0, "not run"), "primitives::tma": (sorry, 1, "not run")}
        died = "========= Invalid __global__ write of size 4 bytes\n========= Error: Target application returned an error"
        cases |= {"epoch": (died, 1, "failed (1)"), "tensor": ("=========", 0, "not run"), "steps": (died, 0, "failed")}
        cases |= {"conv": ("========= RACECHECK SUMMARY: 2 hazards displayed", 0, "failed")}
        result = "test result: ok. 1 passed; 0 failed; 0"
        with open(self.folder / "names", "a") as names:
            names.write("epoch::a_stopped\nsteps::heads\n")
        stubs = (f'*{name}*) echo "{said}"; echo "{result}"; exit {code};;' for name, (said, code, _) in cases.items())
        self.plant(f'case "$what" in compute-sanitizer*) case "$what" in {" ".join(stubs)} esac;; esac')
        self.prove("first")
        checked = {row["test"]: row["outcome"] for row in self.rows.values() if "sanitizer" in row}
        self.assertEqual([*checked.values()], [outcome for _, _, outcome in cases.values()])
        self.plant(f'case "$what" in compute-sanitizer*) echo "{sorry}"; exit 1;; esac')
        self.prove("first")
        self.assertEqual(self.used(), ["pdl", "wgmma"])


class SideBySide(Stub):
    def setUp(self):
        super().setUp()
        shutil.copy(PEER / "compare.py", self.folder / "peer")
        self.install_torch()

    def lines(self, command):
        return self.archived(command, f"{command}/side-by-side.md").splitlines()

    def test_what_failed_is_left_out(self):
        self.plant('case "$what" in *bench*CNN28_W*50*wgmma) "$here/fcdd" bench FCDD_CNN28_W; exit 1;; esac')
        self.prove("first")
        said = [line for line in self.lines("first") if "wgmma" in line]
        self.assertEqual(said, ["left out: bench-FCDD_CNN28_W-bf16 +wgmma, which failed"])

    def test_what_proved_wrong_later_is_marked_and_does_not_count(self):
        self.plant("""case "$what" in *verify_--device_cuda*wgmma) echo "11 passed, 1 failed"; exit 1;;
            *bench*CNN28_W*50*wgmma) seconds=1 rate=8;; esac""")
        self.prove("first")
        for command in ("first", "second"):
            if command == "second":
                self.prove("second")
            glance, *others = [line for line in self.lines(command) if line.startswith("| FCDD_CNN28_W train 8×28² ") and "| " in line]
            self.assertIn("8000.000 (fcdd cuda bf16", glance)
            self.assertIn("**2.00**", glance)
            self.assertTrue(any("fcdd cuda bf16 wgmma, graph, fixed batch, refuted" in line for line in others))

    def test_what_failed_without_switches_refutes_all_of_fcdds(self):
        for plant in ("*verify*golden*", "*conv::*", "*primitives::mma*"):
            self.plant(f'case "$what" in {plant}) exit 1;; esac')
            self.prove("first")
            lines = [line for line in self.lines("first") if "| fcdd cuda" in line]
            self.assertEqual([line for line in lines if "refuted" not in line], [])
            self.assertTrue(lines)
            self.assertIn("| FCDD_CNN28_W train 8×28² bf16 | – | 4000.000", "\n".join(self.lines("first")))
            for said in (self.rows["side by side"]["said"], self.lines("first")[-1]):
                self.assertIn("all of fcdd's times are refuted, for these failed without switches: ", said)

    def assert_unproven(self, command, why):
        lines = [line for line in self.lines(command) if "| fcdd cuda" in line]
        self.assertTrue(lines)
        self.assertEqual([line for line in lines if "unproven" not in line], [])
        self.assertNotIn("refuted", "\n".join(self.lines(command)))
        for said in (self.rows["side by side"]["said"], self.lines(command)[-1]):
            self.assertIn(f"all of fcdd's times are unproven, for without switches these gave no result: {why}", said)

    def test_without_results_of_tests_and_verify_all_of_fcdds_are_unproven(self):
        hangs, skips = f"{HANG};;", 'echo "skipped: it cannot" >&2;;'
        plants = {f"*--exact_conv::*) {hangs}": "conv::tiny_shapes", f"*verify*golden*) {hangs}": "verify --golden"}
        plants |= {"*--list*) exit 3;;": "all tests", f"cuda-tests_--exact*) {skips}": "all tests"}
        for plant, why in plants.items():
            self.plant(f'case "$what" in {plant} esac')
            self.prove("first")
            self.assert_unproven("first", why)
            self.assertIn("8000.000 (fcdd cuda bf16", "\n".join(self.lines("first")))  # it counts as fcdd's time

    def test_without_results_of_first_they_are_too(self):
        self.plant('case "$what" in *conv::*|*info*) exit 1;; esac')
        self.prove("first")
        self.plant("")
        self.assertEqual(self.prove("second")["results of first"], "failed")
        self.assert_unproven("second", "all tests, verify")

    def test_without_results_with_a_switch_times_with_it_are(self):
        from proof import parts

        row = lambda name, outcome, switches=(): {"name": " +".join([name, *switches]), "outcome": outcome, "switches": list(switches)}
        test = lambda *arguments: {**row(*arguments), "test": arguments[0]}
        rows = [test("conv::tiny_shapes", "passed"), row("verify", "passed"), row("verify", "not run", ["wgmma"])]
        rows += [test("network::in_f32", "cut off", ["pdl"]), test("network::in_f32", "cut off", ["wgmma"])]  # the last one does not use it
        proof = parts.SimpleNamespace(known=lambda: rows, scope=parts.ON_A_GPU)
        found = {name: parts.leaves_unproven(proof, name.split()) for name in ("", "pdl", "wgmma", "pdl wgmma")}
        of_pdl, of_wgmma = ["network::in_f32 +pdl"], ["verify +wgmma"]
        self.assertEqual(found, {"": [], "pdl": of_pdl, "wgmma": of_wgmma, "pdl wgmma": [*of_wgmma, *of_pdl]})
        (self.folder / "proof/parts.py").write_text((self.folder / "proof/parts.py").read_text().replace("hangs_after=15", "hangs_after=99"))
        self.plant(f'case "$what" in *network::in_f32_+pdl) {HANG};; esac')
        self.install("cuda-gdb", "exit 0")
        self.prove("first")
        said = self.rows["side by side"]["said"]
        self.assertIn("fcdd's times with +pdl are unproven, for these gave no result: network::in_f32 +pdl", said)
        marked = {line for line in self.lines("first") if "unproven" in line and "| fcdd cuda" in line}
        self.assertTrue(marked and all("pdl" in line for line in marked), marked)

    def test_every_table_marks_it(self):
        of, step = {"net": "A", "task": "train", "batch": 8, "side": 28}, {"kind": "conv", "seconds": 1}
        timing = {**of, "mode": "fcdd cuda bf16 wgmma, graph, fixed batch", "how": "graph, fixed batch", "seconds": [8], "images_per_second": 1}
        timing |= {"total": {"floor": 1}, "kinds": [step], "layers": [{**step, "shape": "3×3", "flops": 1, "bytes": 1}]}
        file = self.root / "bench.json"
        file.write_text(json.dumps({"timings": [timing], "peaks": {"bytes_per_second": 1, "flops_per_second": 1}}))
        for mark, tables in (("refuted", 4), ("unproven", 5)):  # what is refuted is not in the first one
            words = [sys.executable, PEER / "compare.py", self.root / "of", "--files", file, f"--{mark}", file]
            printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
            named = [line for line in printed.splitlines() if "cuda bf16 wgmma" in line]
            self.assertEqual((len(named), [line for line in named if mark not in line]), (tables, []), printed)

    def test_nothing_of_a_peer_that_did_not_pass_counts(self):
        hangs = "import time\ntime.sleep(1000)\n"
        for seconds, end, outcomes in (("-4", "", ["failed"]), ("NaN", "", ["failed"]), ("4", hangs, ["out of time", "cut off"])):
            self.install_torch(gpu=GPU.replace('"seconds": [4]', f'"seconds": [float("{seconds}")]') + end)
            self.assertIn(self.prove("first")["peer"], outcomes)
            self.assertEqual([line for line in self.lines("first") if "torch 9" in line], [])
            self.assertIn("left out: peer, which failed", self.lines("first"))


class Peer(Stub):
    def test_a_rehearsal_times_what_a_cpu_can(self):
        self.install_torch()
        found = self.prove("first", FCDD_TEST_DEVICE="standin")
        self.assertEqual([found["peer-checked"], found["peer"]], ["passed"] * 2)
        self.assertEqual(self.rows["peer"]["said"], "torch 9 bf16 eager")
        self.assertEqual(self.prove("second", FCDD_TEST_DEVICE="standin")["peer-max-autotune"], "skipped")
        self.assertEqual(self.rows["peer-max-autotune"]["said"], "not without a GPU")
        self.prove("first")
        self.assertEqual(self.rows["peer"]["said"], "torch 9 bf16 eager+graph")

    def gpu_py(self, script):
        """What a script prints that has the real gpu.py, without torch."""
        script = f"""import sys; from unittest.mock import MagicMock
sys.modules |= {{"torch": MagicMock(), "peer": MagicMock()}}; sys.path.insert(0, {str(PEER)!r}); import gpu
{script}"""
        path = f"{self.root}/bin:/usr/bin:/bin"
        return subprocess.run([sys.executable, "-Bc", script], env={"PATH": path}, stdout=subprocess.PIPE, text=True).stdout.strip()

    def test_an_nvidia_smi_that_hangs_costs_seconds(self):
        ask = "gpu.CLOCKS_LIMIT = 0.5; print(gpu.clocks())"
        self.assertEqual(self.gpu_py(ask), "None")
        self.install("nvidia-smi", "trap '' TERM; exec sleep 10")
        started = time.monotonic()
        self.assertEqual(self.gpu_py(ask), "None")
        self.assertLess(time.monotonic() - started, 5)
        self.install("nvidia-smi", "echo a GPU, 580")
        self.assertEqual(self.gpu_py(ask), "{'name': 'a GPU', 'driver_version': '580'}")

    def test_a_worker_that_cannot_be_killed_keeps_nobody(self):
        script = f"""
import multiprocessing.process, runpy, time
multiprocessing.process.BaseProcess.kill = lambda self: None
sys.modules["torch"].device = lambda *_: time.sleep(60)
sys.argv = ["gpu.py", {str(self.root / "timed.json")!r}, "--seconds", "0.5"]
print("begun")
runpy.run_path(gpu.__file__, run_name="__main__")
"""
        started = time.monotonic()
        self.assertTrue(self.gpu_py(script).startswith("begun\npeaks: error: out of time"))
        self.assertLess(time.monotonic() - started, 20)  # 5 of them for the worker
        self.assertTrue((self.root / "timed.json").exists())

    def test_a_check_that_failed_for_no_net_is_not_trusted(self):
        for end, told in (("", False), ("sys.exit(1)\n", True)):
            self.install_torch(CHECK + end, GPU + "print('--check-failed' in sys.argv)\n")
            self.prove("first")
            self.assertEqual(self.rows["peer"]["said"], str(told))
        file = self.root / "checked.json"
        ask = f"gpu.fingerprint = lambda: 1; print([gpu.checked_nets({str(file)!r}, failed) for failed in (False, True)])"
        for b in (True, False):
            nets = {"A": True, "B": b}
            file.write_text(json.dumps({"peer": 1, "nets": {name: {"passed": passed} for name, passed in nets.items()}}))
            self.assertEqual(self.gpu_py(ask), str([nets, {} if b else nets]))

    def test_modes_are_compared_with_the_net_that_was_checked(self):
        script = """
class Number(float):
    def max(self): return self
    def item(self): return float(self)
    __abs__ = abs = lambda self: Number(float.__abs__(self))
    __sub__ = lambda self, other: Number(float(self) - float(other))
    __truediv__ = lambda self, other: Number(float(self) / float(other))
class Work:
    def __init__(self, *_): pass
    def results(self, run): return [Number(2)]
    def checked(self, name): return [Number(CHECKED)]
gpu.WORK = {"infer": Work}
try: print(gpu.Timer(MagicMock()).expected("net", "infer", "bf16", 2))
except ValueError as error: print(error)
"""
        self.assertEqual(self.gpu_py(script.replace("CHECKED", "2.001")), "[2.0]")
        self.assertIn("net that check.py checked", self.gpu_py(script.replace("CHECKED", "2.01")))


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
        rows = [None, [1], {"name": "proof", "outcome": "passed", "began": "?"}, {"name": 1, "outcome": None}]
        rows.append({"name": "switch pdl", "outcome": "passed", "switches": None})
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

    def test_results_of_another_device_are_refused(self):
        self.prove("first")
        self.plant('case "$what" in *info*) echo "device 0: another GPU, compute capability 9.0"; exit;; esac')
        outcome, said, switches = self.used()
        self.assertEqual((outcome, switches), ("failed", False))
        self.assertIn("another device: device 0: a stub, and this one is device 0: another GPU", said)

    def test_of_an_unknown_device_they_are_too(self):
        self.plant('case "$what" in *info*) exit 3;; esac')
        self.prove("first")
        self.assertEqual(self.used()[::2], ("failed", False))
        self.assertIn("another device: unknown", self.used()[1])

    def test_results_of_a_rehearsal_are_refused(self):
        self.prove("first", FCDD_TEST_DEVICE="standin")
        self.assertEqual(self.used()[::2], ("failed", False))
        self.assertIn("another kind of device", self.used()[1])

    def test_of_two_the_newer_counts(self):
        scratch, older, elsewhere = self.tmp / f"fcdd-gpu-proof-{os.getuid()}/first", self.root / "older", self.root / "elsewhere"
        self.prove("first")
        shutil.copytree(scratch, older)
        self.plant('case "$what" in *wgmma*) exit 1;; esac')
        self.prove("first", elsewhere)
        (self.folder / "plant").unlink()
        self.assertEqual(self.used()[::2], ("passed", False))
        # Nor does the older one if its outputs are at hand, and it has more rows.
        shutil.rmtree(scratch)
        shutil.copytree(older, scratch)
        with open(scratch / "rows.jsonl", "a") as file:
            file.write(100 * '{"name": "another", "outcome": "passed"}\n')
        self.assertEqual(self.used(elsewhere)[::2], ("passed", False))
        # Nor one of a clock that was ahead.
        shutil.rmtree(scratch)
        shutil.copytree(older, scratch)
        rows = (scratch / "rows.jsonl").read_text()
        (scratch / "rows.jsonl").write_text(re.sub(r'"began": [\d.]+', '"began": 9e9', rows))
        self.assertEqual(self.used(elsewhere)[::2], ("passed", False))

    def test_a_first_that_cannot_write_leaves_earlier_results(self):
        self.prove("first")
        (self.root / "file").touch()
        for bad in (self.root / "file", "/dev/full", "/proc", self.tmp / f"fcdd-gpu-proof-{os.getuid()}/out"):
            self.assertEqual(self.start("first", bad).returncode, 2)
        self.assertEqual(self.used(self.root / "elsewhere")[::2], ("passed", True))


class Files(Stub):
    def results(self):
        """An empty Results, and its module."""
        from proof import results

        return results.Results("first", self.out), results

    def test_rows_of_several_threads_keep_their_order(self):
        results, module = self.results()
        results.log = self.root / "log"
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

    def test_many_long_outputs_are_archived_at_once(self):
        results, module = self.results()
        module.SCRATCH, results.log = self.tmp, self.tmp / "first"
        results.log.mkdir()
        text = b"".join(b"%d lines, %x\n" % (i, hash(i * 0.37)) for i in range(160_000))[: 4 << 20]
        for i in range(40):
            (results.log / f"{i}.txt").write_bytes(text)
        started = time.monotonic()
        self.assertTrue(results.archive())
        self.assertLess(time.monotonic() - started, 3)
        self.assertIn("bytes left out", self.archived("first", "first/39.txt"))

    def test_an_archive_has_a_deadline_and_always_the_rows(self):
        results, module = self.results()
        results.outputs, results.once = {f"first/{i}": b"" for i in range(3)}, lambda line: None
        before, module.ARCHIVE_SECONDS = module.ARCHIVE_SECONDS, 0
        self.out.mkdir()
        (self.out / "first.tar.gz").write_bytes(results.packed())
        module.ARCHIVE_SECONDS = before
        with tarfile.open(self.out / "first.tar.gz") as archive:
            self.assertEqual(archive.getnames(), ["first/rows.jsonl"])


class Pack(Stub):
    def test_programs_travel_compressed(self):
        for name in ("fcdd", "cuda-tests"):
            subprocess.run(["gzip", self.folder / name], check=True)
        outcomes = self.prove("first")
        self.assertEqual({outcomes["fcdd info"], outcomes["list of tests"]}, {"passed"})
        self.assertEqual(self.prove("second")["results of first"], "passed")

    def test_results_in_the_packed_folder_are_not_deleted(self):
        (self.folder / ".packed").touch()
        (self.folder / "results").mkdir()
        # Without cargo on the path it could not build.
        command = [sys.executable, SCRIPTS / "gpu-proof", "pack", self.folder]
        done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(", results away", done.stderr)
        self.assertTrue((self.folder / "results").exists())

    def test_what_is_not_committed_counts_and_what_is_refused_is_removed(self):
        project, to = self.root / "project", self.root / "project/proof"
        shutil.copytree(SCRIPTS / "proof", project / "scripts/proof")
        shutil.copy(SCRIPTS / "gpu-proof", project / "scripts")
        for folder in ("tests/golden", "benches/peer"):
            (project / folder).mkdir(parents=True)
        (project / ".gitignore").write_text("/ignored\n")
        for name in ("fcdd", "cuda"):
            (project / name).write_text("""#!/bin/sh\necho '{"cuda": {"architectures": ["sm_90"]}}'\n""")
            (project / name).chmod(0o755)
        found = '{"executable": "%s", "target": {"name": "%s"}}'
        self.install("cargo", "\n".join(f"echo '{found % (project / name, name)}'" for name in ("fcdd", "cuda")))
        self.install("strip", 'cp "$4" "$3"')
        command, environment = [sys.executable, project / "scripts/gpu-proof", "pack", to], {"PATH": f"{self.root}/bin:/usr/bin:/bin"}
        subprocess.run(["git", "init", "--quiet", project], check=True)
        pack = lambda: subprocess.run(command, env=environment, capture_output=True, text=True)
        for name in ("ignored", "new"):
            with open(project / name, "wb") as file:
                file.truncate(70 << 20)
            done = pack()
            self.assertEqual((done.returncode, to.exists()), (0, True) if name == "ignored" else (2, False), done.stderr)


def checks():
    from proof import checks

    return checks


def act(command, folder, out):
    """Runs a command of the proof in a fraction of its time; in a process of its own."""
    sys.path.insert(0, str(folder))
    from proof import parts, runner

    runner.LOCK += f" {folder.parent.name}"
    runner.LEAST = PACE
    if name := os.environ.get("UNKILLABLE"):  # as if a driver held the programs of this name
        kill, is_held = os.kill, lambda process: name.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
        os.kill = lambda process, number: None if is_held(process) else kill(process, number)
    table = parts.COMMANDS[command]
    return parts.prove(command, out, PACE * sum(part.seconds for part in table), table)


def run_all():
    """Runs all tests, several at once; returns whether all passed."""
    cases = [case for suite in unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]) for case in suite]
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda case: case.run(unittest.TestResult()), cases))
    wrong = [(case, text) for result in results for case, text in result.failures + result.errors]
    for case, text in wrong:
        print(f"{case}:\n{text}")
    print(f"{len(cases)} tests with stubs in {time.monotonic() - started:.0f} s, {len(wrong)} failed")
    return not wrong


if __name__ == "__main__":
    if sys.argv[1:2] == ["act"]:
        sys.exit(act(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
    sys.path.insert(0, str(SCRIPTS))
    if sys.argv[1:]:
        unittest.main()
    sys.exit(not run_all())
