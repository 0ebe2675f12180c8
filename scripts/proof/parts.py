"""What the proof does on a GPU: the parts of its two commands, as tables at the end."""

import json
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from .results import SCRATCH
from .runner import Part, file_of, label, last_word, tool

# The packed folder.
HERE = Path(__file__).resolve().parent.parent
FCDD = shlex.quote(str(HERE / "fcdd"))  # for the peer's scripts, which take a command

# Tests side by side: each needs a core for its reference on the CPU, and nearly another one for its own work.
WORKERS = max(2, min(10, os.cpu_count() * 5 // 8))
ON_A_GPU = SimpleNamespace(
    about="the whole proof, on a GPU",
    nets=["FCDD_CNN28_W", "FCDD_CNN32_LW3K", "FCDD_CNN224_VGG_F"], repeats=50, bench=[], tiles=[], tests="", workers=WORKERS,
    sanitizer=lambda kind, test: [tool("compute-sanitizer"), "--tool", kind, "--error-exitcode", "1", *test],
    small=[], table=[], peer=[], verify=True,
)  # fmt: skip
# The stand-in is slow: few and small cases, to show that the proof itself works.
REHEARSED = SimpleNamespace(
    about="a rehearsal in the stand-in, with few and small cases",
    nets=["FCDD_CNN28"], repeats=1, bench=["--batch", "2", "--task", "infer"], tiles=["--batch", "2"], workers=2,
    tests="primitives::(mma|ldmatrix_x2|to_bf16|griddepcontrol|mbarrier_expect)|epoch::a_stopped|network::launches|baselines::hsc",
    sanitizer=lambda kind, test: ["env", "FCDD_TEST_DEVICE=checked", *test],
    small=["--smoke"], table=["--smoke", "--jobs", "1"], peer=["--device", "cpu"], verify=False,
)  # fmt: skip

SIZES = {"gpu": ON_A_GPU, "standin": REHEARSED}  # by FCDD_TEST_DEVICE

# Features that are off until proven, and the tests that turn each on by themselves.
SWITCHES = {"pdl": "pdl|griddepcontrol", "wgmma": "wgmma|tma_|mbarrier"}
# What is proven and used: each by itself, then both.
SETS = [["pdl"], ["wgmma"], ["pdl", "wgmma"]]
# A test that takes nearly all of the memory runs when no other does.
ALONE = "network::a_batch_beyond_the_memory_names_one_that_fits"


def turned_on(name):
    """The switches that a test turns on by itself."""
    return [switch for switch, tests in SWITCHES.items() if re.search(tests, name)]


def concerned(row):
    """The switches that a row is about: those it ran with, or those that its test turned on."""
    return row.get("switches") or turned_on(row.get("test", ""))


def hung(row):
    return row["outcome"].startswith("out of time")


def bad(row):
    return row["outcome"].startswith("failed") or hung(row)


def broken(proof, switches):
    """The rows that failed or hung with just these switches, but those of what does so without them too."""
    found = {row["name"]: row for row in proof.known() if bad(row)}
    fails_without = lambda row: row.get("switches") and row["name"].partition(" +")[0] in found
    return [row for row in found.values() if concerned(row) == switches and not fails_without(row)]


def usable(proof, switches):
    """Whether the first command proved these switches, together and each by itself, and nothing is broken with just these since."""
    named = f"switch {' '.join(switches)}"
    passed = any(row["name"] == named and row["outcome"] == "passed" for row in proof.known())
    return passed and not broken(proof, switches) and (len(switches) == 1 or all(usable(proof, [switch]) for switch in switches))


def each_way(proof):
    """No switches, then each set that is usable when its turn comes."""
    yield []
    yield from (switches for switches in SETS if usable(proof, switches))


def the_best_way(proof, work):
    """Does work with the most switches that are usable, in half of the time that is left, and without them if that fails. `work` takes the
    switches and the share of the time, and returns the outcome."""
    best = next((switches for switches in reversed(SETS) if usable(proof, switches)), None)
    if not best or work(best, 0.5) != "passed":
        work([], 1)


# ---- the first command


def machine(proof):
    """GPU, driver, clocks, operating system."""
    device = lambda text: next((line.strip() for line in text.splitlines() if re.search("compute capability|no GPU", line)), last_word(text))
    proof.run("fcdd info", [HERE / "fcdd", "info"], 10, say=device, must="compute capability")
    if shutil.which("nvidia-smi"):
        proof.run("nvidia-smi", ["nvidia-smi", "-q", "-d", "CLOCK,MEMORY,POWER"], 5, say=lambda text: "")
    else:
        proof.skip("nvidia-smi", "it is not on this machine")
    proof.run("uname", ["uname", "-srm"], 5)


def listed(proof):
    """The names of all tests of the CUDA back end; asks for them once."""
    if proof.listed is None:
        proof.listed = []
        command, name = [HERE / "cuda-tests", "--list", "--format", "terse"], "list of tests"
        if proof.run(name, command, 15, say=lambda text: f"{text.count(': test')} tests", must=": test") == "passed":
            lines = (proof.log / f"{file_of(name)}.txt").read_text().splitlines()
            names = [line.removesuffix(": test") for line in lines if line.endswith(": test")]
            proof.listed = [name for name in names if re.match(proof.size.tests, name) and not name.startswith("planted::")]
    return proof.listed


def test(proof, name, switches=(), ignored=False):
    """One test in a process of its own, so that a sticky CUDA error fails this test alone."""
    words = [HERE / "cuda-tests", "--exact", name] + (["--ignored"] if ignored else [])
    facts = {"test": name, "switches": list(switches)}
    of = concerned(facts)
    hangs = [row["name"] for row in proof.rows if "test" in row and hung(row) and concerned(row) and set(concerned(row)) <= set(of)]
    if len(hangs) > 1:
        return proof.row(label(name, switches), "not run", said=f"with these switches there were hangs: {', '.join(hangs)}", **facts)
    # Several run side by side, and each has a reference to compute on the CPU.
    environment = {"RAYON_NUM_THREADS": "2"}
    skipped = lambda text: next((line for line in text.splitlines() if line.startswith("skipped: ")), "")
    how = dict(switches=switches, environment=environment, say=skipped, must="1 passed", debug=True, test=name)
    if "failed" in proof.run(name, words, 20, **how):
        proof.failed.append((name, words, switches, environment))


def side_by_side(proof, tests):
    with ThreadPoolExecutor(proof.size.workers) as pool:
        list(pool.map(lambda arguments: test(proof, *arguments), tests))


def primitives(proof):
    """Each instruction that is written as inline PTX, against values computed from the PTX manual."""
    side_by_side(proof, [(name,) for name in listed(proof) if name.startswith("primitives::")])


def plain(proof):
    """The tests that are neither a primitive's nor a switch's."""
    return [name for name in listed(proof) if not name.startswith("primitives::") and not turned_on(name)]


def tests(proof):
    """Every test of the CUDA back end in a process of its own, but those of switches."""
    names = plain(proof)
    side_by_side(proof, [(name,) for name in names if name != ALONE])
    if ALONE in names:
        test(proof, ALONE)


def switches(proof):
    """WGMMA and PDL: their own tests, then those of whole nets with one and with both."""
    own = [name for name in listed(proof) if not name.startswith("primitives::") and turned_on(name)]
    # Net by net, so that each switch soon has been in one; those in bf16 first, which WGMMA is for.
    nets = sorted((name for name in plain(proof) if name.startswith("network::") and name != ALONE), key=lambda name: "bf16" not in name)
    side_by_side(proof, [(name,) for name in own] + [(name, use) for name in nets for use in SETS])
    for switches in SETS:
        conclude(proof, switches)


def conclude(proof, switches):
    """The row that says whether switches are proven: the tests that turn on just these all passed, one of a whole net with just these too, none
    with them failed, and each of them is proven by itself."""
    rows = [row for row in proof.rows if "test" in row and concerned(row) == switches]
    ran = [row for row in rows if not row["said"].startswith("skipped")]
    nets = [row["name"] for row in ran if row["switches"] and row["outcome"] == "passed"]
    own = [name for name in listed(proof) if turned_on(name) == switches]
    passed = [row["test"] for row in ran if not row["switches"] and row["outcome"] == "passed"]
    missing = [row["name"] for row in rows if row["switches"] and row["outcome"] in ("not run", "cut off")]
    wrong = [name for name in own if name not in passed]
    wrong += [row["name"] for row in broken(proof, switches) if row["name"] not in wrong]
    wrong += [f"switch {switch}" for switch in switches if len(switches) > 1 and not usable(proof, [switch])]
    name = f"switch {' '.join(switches)}"
    if nets and not wrong and (own or len(switches) > 1):
        rest = f"; not run: {', '.join(missing)}" if missing else ""
        return proof.row(name, "passed", said=f"{len(own)} tests of its own and {len(nets)} of nets passed{rest}")
    proof.skip(name, f"not used, for these did not pass: {', '.join(wrong or missing) or 'there are no tests'}")


def bench(proof, net, precision, switches=(), task=None):
    name = "-".join(filter(None, ["bench", net, task, precision]))
    command = [HERE / "fcdd", "bench", net, "--device", "cuda", "--precision", precision, "--repeats", proof.size.repeats, "--json"]
    command += ["--task", task] if task else proof.size.bench
    proof.run(name, command, 20, switches, ending=".json", say=rates, must='"timings"', debug=True)


def rates(text):
    """Images per second of the timings on a fixed batch, which are measured as PyTorch's are."""
    timings = json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["timings"]
    fixed = [t for t in timings if "fixed batch" in t.get("how", "fixed batch") and "images_per_second" in t]
    return ", ".join(f"{t['task']} {t['images_per_second']:.0f}/s" for t in fixed)


def timings(proof):
    """`fcdd bench`, bf16, plain and with each switch that is proven."""
    for switches in each_way(proof):
        for net in proof.size.nets:
            if not switches or usable(proof, switches):  # it may have failed with the net before
                bench(proof, net, "bf16", switches)


def has_torch(proof):
    """Whether this Python has PyTorch; a row says which, or why not."""
    command = [sys.executable, "-c", "import torch; print('torch', torch.__version__)"]
    return proof.run("torch", command, 30, must="torch", absent="No module named 'torch'") == "passed"


def peer(proof):
    """PyTorch, bf16: first checks that its nets are fcdd's, then times eager mode as one CUDA graph."""
    if has_torch(proof):
        checked = proof.log / "peer-checked.json"
        proof.run("peer-checked", [sys.executable, HERE / "peer/check.py", FCDD, checked, *proof.size.peer], 20)
        timed_peer(proof, "peer", "--mode", "eager+graph")
        compare(proof)


def timed_peer(proof, name, *words):
    """Timings of PyTorch in bf16, which end when the part's time is over."""
    checked = SCRATCH / "first/peer-checked.json"
    command = [sys.executable, HERE / "peer/gpu.py", proof.log / f"{name}.json", "--checked", checked, "--precision", "bf16", "--limit", "90"]
    proof.run(name, [*command, "--seconds", f"{proof.left() - 2:.0f}", *words, *proof.size.small, *proof.size.peer], 200)


def compare(proof):
    """Tables of fcdd and PyTorch side by side, from all timings."""
    files = [path for path in sorted(SCRATCH.rglob("*.json")) if re.match(r"bench-|peer(-max-autotune)?\.json", path.name)]
    if not files:
        return proof.skip("side by side", "nothing was timed")
    bad = lambda text: "; ".join(line for line in text.splitlines() if line.startswith("left out: "))
    proof.run("side by side", [sys.executable, HERE / "peer/compare.py", proof.log / "side-by-side", "--files", *files], 10, say=bad)


def verify(proof):
    """Golden values of the authors' implementation; `fcdd verify` plain and with each proven switch."""
    count = lambda text: next((line for line in reversed(text.splitlines()) if " passed, " in line), last_word(text))
    command = [HERE / "fcdd", "verify", "--device", "cuda"]
    proof.run("verify --golden", [*command, "--golden", HERE / "golden"], 20, say=count, must=" passed, ", debug=True)
    for switches in each_way(proof) if proof.size.verify else []:
        proof.run("verify", command, 30, switches, say=count, must=" passed, ", debug=True)


# One test of each kind, by the start of its name.
SANITIZED = ["primitives::mma", "primitives::tma_rows", "epoch::a_stopped", "tensor::tiny", "tensor::wgmma", "steps::heads"]
RACES = ["conv::tiny_shapes", "steps::norm_act_pool_and_backward"]


def sanitizer(proof):
    """compute-sanitizer: memcheck of the tests that failed, else of a small test of each kind; racecheck of two. None that hung."""
    if not proof.size.sanitizer("memcheck", [])[0]:
        return proof.skip("sanitizer", "compute-sanitizer is not on this machine")
    names = listed(proof)
    small = lambda name: (name, [HERE / "cuda-tests", "--exact", name], [], {"FCDD_TEST_SMALL": "1"})
    usual = [next((name for name in names if name.startswith(start)), None) for start in SANITIZED]
    checks = [("memcheck", *what) for what in proof.failed or [small(name) for name in usual if name]]
    checks += [("racecheck", *small(name)) for name in RACES if name in names]
    hangs = [row["name"] for row in proof.rows if hung(row)]
    for kind, name, words, switches, environment in checks:
        if label(name, switches) in hangs:
            proof.skip(f"{kind} {name}", "without the sanitizer it ran out of time")
        else:
            proof.run(f"{kind} {name}", proof.size.sanitizer(kind, words), 40, switches, environment, must="1 passed")


# ---- the second command


def profiles(proof):
    """Nsight Compute's metrics of every kernel and launch shape of a training step."""
    if not (profiler := tool("ncu")):
        return proof.skip("profiles", "ncu is not on this machine")
    sections = ["SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "Occupancy", "WarpStateStats", "LaunchStats"]

    def profile(net, switches, share):
        table = proof.log / f"{file_of(f'ncu {net}', switches)}.csv"
        words = [profiler, "--clock-control", "none", "--filter-mode", "per-launch-config", "--launch-count", "1"]
        # bench starts the profiler where it launches the steps one by one.
        words += ["--profile-from-start", "off", "--csv", "--page", "raw", "--log-file", table]
        words += [word for section in sections for word in ("--section", section)]
        words += [HERE / "fcdd", "bench", net, "--device", "cuda", "--precision", "bf16", "--task", "train", "--repeats", "1"]
        kernels = lambda text: str(len(re.findall(r'^"\d+",', text, re.M))) + " kernels"
        # The first kernel's number is 0.
        return proof.run(f"ncu {net}", words, 40, switches, share=share, log=table, say=kernels, must='"0",')

    for net in proof.size.nets:
        the_best_way(proof, lambda *how: profile(net, *how))


def tiles(proof):
    """Every candidate tile of each convolution, as JSON."""

    def timed(net, switches, share):
        command = [HERE / "fcdd", "bench", net, "--device", "cuda", "--tiles", *proof.size.tiles]
        how = dict(ending=".json", say=lambda text: "", must='"tiles"', share=share)
        return proof.run(f"tiles {net}", command, 20, switches, **how)

    for net in proof.size.nets:
        the_best_way(proof, lambda *how: timed(net, *how))


def accuracy(proof):
    """Image AUROC in bf16, with the proven switches, beside f32."""
    data = HERE / "fashion-mnist"
    if not data.exists():
        return proof.skip("accuracy", "no Fashion-MNIST was packed")

    def trained(switches, share):
        out = proof.log / f"{file_of('auroc', switches)}.json"
        command = [sys.executable, HERE / "peer/auroc.py", FCDD, out, "--data", data, *proof.size.small, "--switches", *switches]
        return proof.run("accuracy", command, 80, switches, share=share)

    the_best_way(proof, trained)


def slow_peer(proof):
    """PyTorch's max-autotune as one CUDA graph, which compiles for more than a minute."""
    if has_torch(proof):
        timed_peer(proof, "peer-max-autotune", *proof.size.nets[1:], "--mode", "max-autotune+graph")


def other_timings(proof):
    """f32, and the latency of one image."""
    for net in proof.size.nets:
        bench(proof, net, "f32")
    for net in proof.size.nets:
        bench(proof, net, "f32", task="predict")


def table(proof):
    """How long CIFAR-10's whole table would take."""

    def extrapolated(switches, share):
        out = proof.log / f"{file_of('cifar10-table', switches)}.json"
        command = [sys.executable, HERE / "peer/cifar10_table.py", FCDD, out, *proof.size.table]
        found = lambda text: next(line for line in reversed(text.splitlines()) if "the table extrapolated" in line)
        return proof.run("table", command, 60, switches, share=share, say=found, must="the table extrapolated")

    the_best_way(proof, extrapolated)


COMMANDS = {
    "first": [
        Part(name="machine", seconds=10, work=machine),
        Part(name="primitives", seconds=25, work=primitives),
        Part(name="tests", seconds=45, work=tests),
        Part(name="switches", seconds=30, work=switches),
        Part(name="timings", seconds=60, work=timings),
        Part(name="peer", seconds=45, work=peer),
        Part(name="verify", seconds=55, work=verify),
        Part(name="sanitizer", seconds=60, work=sanitizer),
    ],
    "second": [
        Part(name="profiles", seconds=75, work=profiles),
        Part(name="tiles", seconds=35, work=tiles),
        Part(name="accuracy", seconds=55, work=accuracy),
        Part(name="slow peer", seconds=145, work=slow_peer),
        Part(name="other timings", seconds=40, work=other_timings),
        Part(name="table", seconds=40, work=table),
        Part(name="side by side", seconds=10, work=compare),
    ],
}
