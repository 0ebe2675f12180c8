"""What the proof does on a GPU: the parts of its two commands, with the tables of them near the end.

What a row's outcome does to switches and times (docs/gpu.md explains the outcomes; an outcome without its own words in both columns tells
nothing):

| outcome of a row | the switches it ran with | times of fcdd with these switches or more |
| --- | --- | --- |
| passed | are proven by it, if a test turns them on or is of a net that uses them | are proven by tests and verify |
| failed, or with switches out of time (but of ncu) | are broken: used no more, unless it is so without them too | are refuted; without switches, by a test, verify or a sanitizer alone |
| without switches out of time; cut off, not run | | are unproven, if it is a test or verify without a sanitizer |
| skipped | | |
"""

import gzip
import hashlib
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from . import checks, runner
from .results import SCRATCH, append, refuse
from .runner import Command, Part, file_of, label, tool

# The packed folder.
HERE = Path(__file__).resolve().parent.parent
FCDD = shlex.quote(str(HERE / "fcdd"))  # for the peer's scripts, which take a command

# The tests of whole nets that launch a kernel of a switch if it is on, by the starts of their names after "network::"; only they tell of it.
# scripts/rehearse-gpu-proof asks the stand-in which they are.
USED_IN = {"pdl": "(?!launches_are_as_counted)", "wgmma": "(a_score_is|step_by_step_in_bf16)"}
# Tests side by side: each needs a core for its reference on the CPU, and nearly another one for its own work.
WORKERS = max(2, min(10, os.cpu_count() * 5 // 8))
EXIT_CODE = ["--error-exitcode", "1"]
ON_A_GPU = SimpleNamespace(
    about="the whole proof, on a GPU",
    nets=["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"], repeats=50, bench=[], tiles=[], tests="", workers=WORKERS,
    # racecheck might give an exit code for warnings too: the errors in its summary decide.
    sanitizer=lambda kind, test: [tool("compute-sanitizer"), "--tool", kind, *(EXIT_CODE if kind == "memcheck" else []), *test],
    sanitized=checks.sanitized,
    small=[], table=[], verify=True, peer=[], has_graphs=True, used_in=USED_IN,
    peer_nets=["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"], peer_checked=20,
)  # fmt: skip
# The stand-in is slow: few and small cases, to show that the proof itself works.
REHEARSED = SimpleNamespace(
    about="a rehearsal in the stand-in, with few and small cases",
    nets=["FCDD_CNN28"], repeats=1, bench=["--batch", "2", "--task", "infer"], tiles=["--batch", "2"], workers=2,
    tests="primitives::(mma|ldmatrix_x2|to_bf16|griddepcontrol|mbarrier_expect)|epoch::a_stopped|network::launches|baselines::hsc",
    # The checked build of the stand-in fails a test itself.
    sanitizer=lambda kind, test: ["env", "FCDD_TEST_DEVICE=checked", *test], sanitized=checks.one_test,
    small=["--smoke"], table=["--smoke", "--jobs", "1"], verify=False,
    used_in={"pdl": "launches", "wgmma": "launches"},  # which is quick, and stands for those that launch
    peer=["--device", "cpu"], has_graphs=False, peer_nets=["FCDD_CNN28_W"], peer_checked=60,
)  # fmt: skip

SCOPES = {"gpu": ON_A_GPU, "standin": REHEARSED}  # by FCDD_TEST_DEVICE

# Features that are off until proven, and the tests that turn each on by themselves.
SWITCHES = {"pdl": "pdl|griddepcontrol", "wgmma": "wgmma|tma_|mbarrier"}
# What is proven and used: each by itself, then both.
SETS = [["pdl"], ["wgmma"], ["pdl", "wgmma"]]
# A test that takes nearly all of the memory runs when no other does.
TAKES_ALL_MEMORY = "network::a_batch_beyond_the_memory_names_one_that_fits"


def turned_on(test):
    """The switches that a test turns on by itself."""
    return [switch for switch, tests in SWITCHES.items() if re.search(tests, test)]


def of_nets(tests):
    """Those of these tests that are of whole nets, and may run with any switch."""
    return [test for test in tests if test.startswith("network::") and not turned_on(test) and test != TAKES_ALL_MEMORY]


def is_used_in(used_in, test, switches):
    """Whether a test of a whole net launches kernels of all of these switches."""
    return all(re.match(f"network::{used_in[switch]}", test) for switch in switches)


def switches_of(row):
    """The switches that a row is about: those it ran with, or those that its test turned on."""
    return row.get("switches") or turned_on(row.get("test", ""))


def hung(row):
    """Whether it ran out of all the time that it may need. Under a sanitizer anything is slow: there, no time is too long."""
    return row["outcome"].startswith("out of time") and "sanitizer" not in row


def failed(row):
    return row["outcome"].startswith("failed")


def is_broken(row):
    """Whether something is wrong with what it ran; a profiler may be slow, or be at a loss itself."""
    return (failed(row) or hung(row)) and "profiler" not in row


def gave_no_result(row):
    return not failed(row) and row["outcome"] not in ("passed", "skipped")


def broken(proof, switches):
    """The rows that failed or hung with just these switches, but those of what fails without them too, for the same reason: with the same
    outcome and in the same words. Numbers count: what is a rounding too far without a switch may be far off with it."""
    found = {row["name"]: row for row in proof.known() if is_broken(row)}
    reason = lambda row: row and (row["outcome"], row.get("said"))
    without = lambda row: found.get(row["name"].removesuffix(label("", row["switches"])))
    is_excused = lambda row: row.get("switches") and reason(without(row)) == reason(row)
    return [row for row in found.values() if switches_of(row) == switches and not is_excused(row)]


def tells_of(proof, row, switches):
    """Whether this is a test or check of what runs with these switches: one without any, or with some of them that it uses."""
    if not ("test" in row or row["name"].startswith("verify")) or not set(switches_of(row)) <= set(switches):
        return False
    return not row.get("switches") or "test" not in row or is_used_in(proof.scope.used_in, row["test"], row["switches"])


def refutes_all(proof):
    """The names of the tests and checks without switches that failed."""
    return [row["name"] for row in broken(proof, []) if tells_of(proof, row, []) and failed(row)]


def leaves_unproven(proof, switches):
    """The names of the tests and checks of what runs with these switches that gave no result; "all tests" or "verify" if none without switches
    passed or failed. A sanitizer's do not count: it is slow, and looks for other faults."""
    rows = [row for row in proof.known() if tells_of(proof, row, switches) and "sanitizer" not in row]
    ended = [row for row in rows if not switches_of(row) and (row["outcome"] == "passed" or failed(row))]
    unknown = [] if any("test" in row for row in ended) else ["all tests"]
    unknown += [] if any("test" not in row for row in ended) else ["verify"]
    return [*dict.fromkeys(unknown + [row["name"] for row in rows if gave_no_result(row)])]


def usable(proof, switches):
    """Whether the first command proved these switches, together and each by itself, and nothing is broken with just these since."""
    named = f"switch {' '.join(switches)}"
    passed = any(row["name"] == named and row["outcome"] == "passed" for row in proof.known())
    return passed and not broken(proof, switches) and (len(switches) == 1 or all(usable(proof, [switch]) for switch in switches))


def each_way(proof):
    """No switches, then each set that is usable when its turn comes."""
    yield []
    yield from (switches for switches in SETS if usable(proof, switches))


def with_most_switches(proof, *works):
    """Does each work with the most switches that are usable, in half of the time that remains, and without them if that does not pass, as all
    works after it. A work takes the switches and the share of the time, and returns the outcome."""
    all_passed = True
    for work in works:
        most = all_passed and next((switches for switches in reversed(SETS) if usable(proof, switches)), None)
        all_passed = bool(most) and work(most, 0.5) == "passed"
        if not all_passed:
            work([], 1)


# ---- the first command


def information(proof):
    return proof.run(Command("fcdd info", [HERE / "fcdd", "info"], 10, checks.device))


def machine(proof):
    """GPU, driver, clocks, operating system."""
    information(proof)
    if shutil.which("nvidia-smi"):
        proof.run(Command("nvidia-smi", ["nvidia-smi", "-q", "-d", "CLOCK,MEMORY,POWER"], 5, checks.gpus))
    else:
        proof.skip("nvidia-smi", "it is not on this machine")
    proof.run(Command("uname", ["uname", "-srm"], 5))


def listed(proof):
    """The names of all tests of the CUDA back end; asks for them once."""
    if proof.listed is None:
        proof.listed = []
        command = Command("list of tests", [HERE / "cuda-tests", "--list"], 15, checks.tests_listed)
        if proof.run(command) == "passed":
            lines = (proof.log / f"{file_of(command.name)}.txt").read_text(errors="replace").splitlines()
            names = [line.removesuffix(": test") for line in lines if line.endswith(": test")]
            proof.listed = [name for name in names if re.match(proof.scope.tests, name) and not name.startswith("planted::")]
    return proof.listed


def test(proof, name, switches=(), ignored=False):
    """One test in a process of its own, so that a sticky CUDA error fails this test alone."""
    facts = {"test": name, "switches": list(switches)}
    about = set(switches_of(facts))
    before = [row["name"] for row in proof.rows if "test" in row and hung(row) and switches_of(row) and set(switches_of(row)) <= about]
    if len(before) > 1:
        return proof.row(label(name, switches), "not run", said=f"with these switches there were hangs: {', '.join(before)}", **facts)
    words = [HERE / "cuda-tests", "--exact", name] + (["--ignored"] if ignored else [])
    # Several run side by side, and each has a reference to compute on the CPU.
    environment = {"RAYON_NUM_THREADS": "2"}
    # Where its part has to leave time for a debugger it gets a few seconds less than 20, in which it ought to end too.
    how = dict(hangs_after=15, debugger=True, facts={"test": name})
    command = Command(name, words, 20, checks.one_test, switches, environment, **how)
    outcome = proof.run(command)
    if "failed" in outcome:
        proof.failed.append(command)
    return outcome


def together(proof, tests):
    """Tests side by side; their outcomes."""
    with ThreadPoolExecutor(proof.scope.workers) as pool:
        return list(pool.map(lambda arguments: test(proof, *arguments), tests))


def not_all_skipped(outcomes):
    if set(outcomes) == {"skipped"}:
        raise checks.Wrong("every test was skipped, so nothing was proven")


def primitives(proof):
    """Each instruction that is written as inline PTX, against values computed from the PTX manual."""
    not_all_skipped(together(proof, [(name,) for name in listed(proof) if name.startswith("primitives::")]))


def tests(proof):
    """Every test of the CUDA back end in a process of its own, but those of switches."""
    names = [name for name in listed(proof) if not name.startswith("primitives::") and not turned_on(name)]
    outcomes = together(proof, [(name,) for name in names if name != TAKES_ALL_MEMORY])
    if TAKES_ALL_MEMORY in names:
        outcomes.append(test(proof, TAKES_ALL_MEMORY))
    not_all_skipped(outcomes)


def tests_of_switches(proof):
    """WGMMA and PDL: their own tests, then those of whole nets with one and with both."""
    their_own = [name for name in listed(proof) if not name.startswith("primitives::") and turned_on(name)]
    # Net by net, so that each switch soon has been in one; those that use all of them first.
    nets = sorted(of_nets(listed(proof)), key=lambda name: not is_used_in(proof.scope.used_in, name, SWITCHES))
    together(proof, [(name,) for name in their_own] + [(name, switches) for name in nets for switches in SETS])
    for switches in SETS:
        conclude(proof, switches)


def conclude(proof, switches):
    """The row that says whether switches are proven: the tests that turn on just these all passed, one of a whole net that uses them with just
    these too, none with them failed, and each of them is proven by itself."""
    rows = [row for row in proof.rows if "test" in row and switches_of(row) == switches]
    passed = [row for row in rows if row["outcome"] == "passed"]
    using = [row for row in rows if row["switches"] and is_used_in(proof.scope.used_in, row["test"], switches)]
    nets = [row for row in using if row in passed]
    their_own = [name for name in listed(proof) if turned_on(name) == switches]
    unknown = {outcome: [row["name"] for row in using if row["outcome"] == outcome] for outcome in ("not run", "cut off")}
    wrong = [name for name in their_own if name not in [row["name"] for row in passed]]
    wrong += [row["name"] for row in broken(proof, switches) if row["name"] not in wrong]
    wrong += [f"switch {switch}" for switch in switches if len(switches) > 1 and not usable(proof, [switch])]
    name = f"switch {' '.join(switches)}"
    if nets and not wrong and (their_own or len(switches) > 1):
        rest = "".join(f"; {outcome}: {', '.join(names)}" for outcome, names in unknown.items() if names)
        return proof.row(name, "passed", said=f"{len(their_own)} tests of its own and {len(nets)} of nets that use it passed{rest}")
    wrong = wrong or [row["name"] for row in using if row not in passed]
    proof.skip(name, f"not used, for these did not pass: {', '.join(wrong) or 'there are no tests'}")


def bench(proof, net, precision, switches=(), task=None):
    name = "-".join(filter(None, ["bench", net, task, precision]))
    words = [HERE / "fcdd", "bench", net, "--device", "cuda", "--precision", precision, "--repeats", proof.scope.repeats, "--json"]
    words += ["--task", task] if task else proof.scope.bench
    tasks = [words[words.index("--task") + 1]] if "--task" in words else ["train", "infer"]
    check = checks.bench(net, precision, switches, tasks)
    proof.run(Command(name, words, 20, check, switches, ending=".json", debugger=True, facts={"timings": "fcdd"}))


def timings(proof):
    """`fcdd bench`, bf16, plain and with each switch that is proven."""
    for switches in each_way(proof):
        for net in proof.scope.nets:
            if not switches or usable(proof, switches):  # it may have failed with the net before
                bench(proof, net, "bf16", switches)


def has_torch(proof):
    """Whether this Python has PyTorch; a row says which, or why not."""
    script = "try: import torch\nexcept ModuleNotFoundError as error: print('no torch:', error)\nelse: print('torch', torch.__version__)"
    return proof.run(Command("torch", [sys.executable, "-c", script], 30, checks.torch)) == "passed"


def peer(proof):
    """PyTorch, bf16: first checks that its nets are fcdd's, then times eager mode as one CUDA graph."""
    if has_torch(proof):
        checked, nets = proof.log / "peer-checked.json", proof.scope.peer_nets
        words = [sys.executable, HERE / "peer/check.py", FCDD, checked, *nets, *proof.scope.peer]
        proof.run(Command("peer-checked", words, proof.scope.peer_checked, checks.peer_checked(checked, nets)))
        timed_peer(proof, "peer", nets, "eager+graph" if proof.scope.has_graphs else "eager")


def timed_peer(proof, name, nets, mode):
    """Timings of PyTorch in bf16, which end when the part's time is over."""
    out, checked = proof.log / f"{name}.json", SCRATCH / "first/peer-checked.json"
    words = [sys.executable, HERE / "peer/gpu.py", out, *nets, "--mode", mode, "--checked", checked, "--precision", "bf16", "--limit", "90"]
    # It must end by itself, or nothing of it counts: after a kernel that hangs that takes it 5 s.
    words += ["--seconds", f"{proof.remaining() - 6 * proof.pace:.0f}", *proof.scope.small, *proof.scope.peer]
    words += ["--check-failed"] if any(row["name"] == "peer-checked" and failed(row) for row in proof.known()) else []
    proof.run(Command(name, words, 200, checks.peer(out), facts={"timings": "peer"}))


def side_by_side(proof):
    """Tables of fcdd and PyTorch, of all that was timed and passed; times of fcdd are marked if its kernels or switches proved wrong, or if it is
    not known whether they are right."""
    files, refuted, unproven, of_failed, wrong, unknown = [], [], [], [], refutes_all(proof), {}
    for row in filter(lambda row: "timings" in row, proof.known()):
        found = list(SCRATCH.glob(f"*/{file_of(row['name'])}.json"))
        if row["outcome"] == "passed":
            files += found
            is_ours = row["timings"] == "fcdd"
            if is_ours and wrong or row.get("switches") and not usable(proof, row["switches"]):
                refuted += found
            elif is_ours and (names := leaves_unproven(proof, row.get("switches", []))):
                unproven += found
                unknown[label("", row.get("switches", [])).strip()] = names
        else:
            of_failed.append(row["name"])
    if not files:
        return proof.skip("side by side", "nothing was timed")
    of_all = unknown.get("", [])
    said = [f"all of fcdd's times are unproven, for without switches these gave no result: {', '.join(of_all)}"] if of_all else []
    for switches, names in unknown.items():
        if more := [name for name in names if name not in of_all]:
            said.append(f"fcdd's times with {switches} are unproven, for these gave no result: {', '.join(more)}")
    if wrong:
        said = [f"all of fcdd's times are refuted, for these failed without switches: {', '.join(wrong)}"]
    why = "; ".join(said)
    words = [sys.executable, HERE / "peer/compare.py", proof.log / "side-by-side", "--files", *files]
    words += ["--refuted", *refuted, "--unproven", *unproven]
    check = lambda output: "; ".join(filter(None, [checks.side_by_side(output), why]))
    proof.run(Command("side by side", [*words, "--failed", *of_failed], 10, check))
    if why:
        append(proof.log / "side-by-side.md", f"\n{why}\n")


def verify(proof):
    """Golden values of the authors' implementation; `fcdd verify` plain and with each proven switch."""
    words = [HERE / "fcdd", "verify", "--device", "cuda"]
    proof.run(Command("verify --golden", [*words, "--golden", HERE / "golden"], 20, checks.verify, debugger=True))
    for switches in each_way(proof) if proof.scope.verify else []:
        proof.run(Command("verify", words, 30, checks.verify, switches, debugger=True))


# One test of each kind, by the start of its name.
SANITIZED = ["primitives::mma", "primitives::tma_rows", "epoch::a_stopped", "tensor::tiny", "tensor::wgmma", "steps::heads"]
RACES = ["conv::tiny_shapes", "steps::norm_act_pool_and_backward"]


def sanitizer(proof):
    """compute-sanitizer: memcheck of the tests that failed, else of a small test of each kind; racecheck of two. None that did not end before."""
    if not proof.scope.sanitizer("memcheck", [])[0]:
        return proof.skip("sanitizer", "compute-sanitizer is not on this machine")
    names = listed(proof)
    small = lambda name: Command(name, [HERE / "cuda-tests", "--exact", name], 40, environment={"FCDD_TEST_SMALL": "1"}, facts={"test": name})
    usual = [next((name for name in names if name.startswith(start)), None) for start in SANITIZED]
    to_check = [("memcheck", command) for command in proof.failed or [small(name) for name in usual if name]]
    to_check += [("racecheck", small(name)) for name in RACES if name in names]
    endless = [row["name"] for row in proof.rows if row["outcome"].startswith(("out of time", "cut off"))]
    for kind, command in to_check:
        if label(command.name, command.switches) in endless:
            proof.skip(f"{kind} {command.name}", "without the sanitizer it did not end")
            continue
        words, facts = proof.scope.sanitizer(kind, command.words), {**command.facts, "sanitizer": kind}
        how = dict(check=proof.scope.sanitized, gave_up=checks.sanitizer_gave_up, debugger=False, hangs_after=None, facts=facts)
        proof.run(replace(command, name=f"{kind} {command.name}", words=words, seconds=40, **how))


# ---- the second command


def results_of_first(proof):
    """Whether the first command ran, with this build on this device."""
    information(proof)
    proof.earlier, wrong = proof.results.first(lambda rows: difference(rows, proof.rows))
    none = "goes on without: no switch counts as proven, and no net of PyTorch's as checked"
    said = "; ".join(filter(None, [wrong, f"{len(proof.earlier)} rows" if proof.earlier else none]))
    proof.row("results of first", "failed" if wrong else "passed" if proof.earlier else "skipped", said=said)


def difference(rows, others):
    """What two commands proved that is not the same, or ""."""
    first = lambda each, name: next((row for row in each if row["name"] == name and row["outcome"] == "passed"), {})
    for field, words in (("build", "build of fcdd"), ("device", "kind of device")):
        if first(rows, "proof").get(field) != first(others, "proof")[field]:
            return f"they are of another {words}"
    gpus = [first(each, "fcdd info").get("said", "unknown").partition(", compute capability")[0] for each in (rows, others)]
    return "" if gpus[0] == gpus[1] != "unknown" else f"they are of another device: {gpus[0]}, and this one is {gpus[1]}"


def profiles(proof):
    """Nsight Compute's metrics of every kernel and launch shape of a training step."""
    if not (profiler := tool("ncu")):
        return proof.skip("profiles", "ncu is not on this machine")
    sections = ["SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "Occupancy", "WarpStateStats", "LaunchStats"]

    def profile(net, switches, share):
        log = proof.log / f"{file_of(f'ncu {net}', switches)}.csv"
        words = [profiler, "--clock-control", "none", "--filter-mode", "per-launch-config", "--launch-count", "1"]
        # bench starts the profiler where it launches the steps one by one.
        words += ["--profile-from-start", "off", "--csv", "--page", "raw", "--log-file", log]
        words += [word for section in sections for word in ("--section", section)]
        words += [HERE / "fcdd", "bench", net, "--device", "cuda", "--precision", "bf16", "--task", "train", "--repeats", "1"]
        command = Command(f"ncu {net}", words, 40, checks.profile, switches, share=share, log=log, facts={"profiler": "ncu"})
        return proof.run(command)

    with_most_switches(proof, *(partial(profile, net) for net in proof.scope.nets))


def tiles(proof):
    """Every candidate tile of each convolution, as JSON."""

    def timed(net, switches, share):
        words = [HERE / "fcdd", "bench", net, "--device", "cuda", "--tiles", *proof.scope.tiles]
        return proof.run(Command(f"tiles {net}", words, 20, checks.tiles(net, switches), switches, share=share, ending=".json"))

    with_most_switches(proof, *(partial(timed, net) for net in proof.scope.nets))


def accuracy(proof):
    """Image AUROC in bf16, with the proven switches, beside f32."""
    data = HERE / "fashion-mnist"
    if not data.exists():
        return proof.skip("accuracy", "no Fashion-MNIST was packed")

    def trained(switches, share):
        out = proof.log / f"{file_of('auroc', switches)}.json"
        words = [sys.executable, HERE / "peer/auroc.py", FCDD, out, "--data", data, *proof.scope.small, "--switches", *switches]
        return proof.run(Command("accuracy", words, 80, checks.accuracy, switches, share=share))

    with_most_switches(proof, trained)


def slow_peer(proof):
    """PyTorch's max-autotune as one CUDA graph, which compiles for more than a minute."""
    if not proof.scope.has_graphs:
        return proof.skip("peer-max-autotune", "not without a GPU")
    if has_torch(proof):
        timed_peer(proof, "peer-max-autotune", proof.scope.peer_nets[1:], "max-autotune+graph")


def other_timings(proof):
    """f32, and the latency of one image."""
    for net in proof.scope.nets:
        bench(proof, net, "f32")
    for net in proof.scope.nets:
        bench(proof, net, "f32", task="predict")


def cifar10_table(proof):
    """How long CIFAR-10's whole table would take."""

    def extrapolated(switches, share):
        out = proof.log / f"{file_of('cifar10-table', switches)}.json"
        words = [sys.executable, HERE / "peer/cifar10_table.py", FCDD, out, *proof.scope.table]
        return proof.run(Command("table", words, 60, checks.extrapolated, switches, share=share))

    with_most_switches(proof, extrapolated)


COMMANDS = {
    "first": [
        Part("machine", 10, machine),
        Part("primitives", 25, primitives),
        Part("tests", 45, tests),
        Part("switches", 30, tests_of_switches),
        Part("timings", 60, timings),
        Part("peer", 45, peer),
        Part("verify", 55, verify),
        Part("sanitizer", 55, sanitizer),
        Part("side by side", 5, side_by_side),
    ],
    "second": [
        Part("results of first", 10, results_of_first),
        Part("profiles", 75, profiles),
        Part("tiles", 35, tiles),
        Part("accuracy", 55, accuracy),
        Part("slow peer", 135, slow_peer),
        Part("other timings", 40, other_timings),
        Part("table", 40, cifar10_table),
        Part("side by side", 10, side_by_side),
    ],
}


def unpack():
    """Puts the programs beside their packed files, as `pack` leaves them."""
    for packed in [HERE / "fcdd.gz", HERE / "cuda-tests.gz"]:
        program = packed.with_suffix("")
        if packed.exists() and not program.exists():
            part = program.with_suffix(f".{os.getpid()}")  # two proofs may begin at once
            with gzip.open(packed) as source, open(part, "wb") as to:
                shutil.copyfileobj(source, to)
            part.chmod(0o755)
            part.replace(program)


def prove(name, out, seconds, table):
    """Runs the parts of a command within its seconds; returns the exit code."""
    device = os.environ.get("FCDD_TEST_DEVICE", "gpu")
    if device not in SCOPES:
        refuse(f"FCDD_TEST_DEVICE={device} is none of {', '.join(SCOPES)}")
    # A switch that the caller has on is off for what runs plainly.
    for variable in [variable for variable in os.environ if variable.startswith("FCDD_")]:
        del os.environ[variable]
    os.environ |= {"FCDD_TEST_DEVICE": device, "FCDD_REQUIRE_STANDIN": "1"}  # a test that finds no device fails
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}  # tables have –, ², whatever the locale
    unpack()
    if not (HERE / "fcdd").exists():
        refuse("this folder was not packed: scripts/gpu-proof pack DIR, then DIR/gpu-proof")
    least = runner.LEAST * sum(part.seconds for part in table)
    if not seconds >= least:
        refuse(f"--seconds {seconds:g} is too little: {name} takes {least:.0f} at least")
    with open(HERE / "fcdd", "rb") as program:
        identity = {"build": hashlib.file_digest(program, "sha256").hexdigest()[:12], "device": device}
    watchdog = [sys.executable, HERE / "gpu-proof", "watch"]
    return runner.Proof(name, out.resolve(), seconds, SCOPES[device], identity, watchdog).run_parts(table)
