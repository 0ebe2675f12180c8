"""What the output of each kind of program must be. A check takes the output of a command that ended with exit code 0 and returns what the row
says. Unless the output is whole and sound it raises Wrong, or whatever exception comes of it; Skipped or NotRun if nothing was done."""

import csv
import json
import re

class Wrong(Exception):
    """The output is not that of work that was done."""


class Skipped(Exception):
    """The program says that it has nothing to do on this machine."""

    outcome = "skipped"


class NotRun(Skipped):
    """It should have done something, and did nothing, neither right nor wrong."""

    outcome = "not run"


class Output:
    """What a command wrote; `text` is all of it."""

    def __init__(self, stdout, stderr, log=""):
        self.stdout, self.log, self.text = stdout, log, "\n".join([stdout, stderr, log])


def last_word(text):
    return text.strip().rpartition("\n")[2].strip()[:150]


def last_line(pattern, output):
    """The match of the last line of a pattern."""
    found = list(re.finditer(f"^{pattern}$", output.text, re.M))
    if not found:
        raise Wrong(f"it has no line {pattern}")
    return found[-1]


def parsed(text):
    """JSON, whole, and without NaN and Infinity, which Python takes for numbers."""

    def no_number(word):
        raise Wrong(f"its JSON has {word}")

    try:
        return json.loads(text, parse_constant=no_number)
    except ValueError as error:
        raise Wrong(f"it is no JSON, or not all of it: {error}") from None


def is_time(value):
    """Whether this can be the seconds of a kernel or more: none ends within 0.1 µs, and no command has a quarter of an hour."""
    return type(value) in (int, float) and 1e-7 < value < 900


def measured(found, what):
    """Raises Wrong unless there are results and each has its times."""
    if not found:
        raise Wrong(f"it has no {what}")
    for one in found:
        if not one["seconds"] or not all(map(is_time, one["seconds"])):
            raise Wrong(f"its {what} have times that are none: {one['seconds']}")


def timed(timings):
    """Raises Wrong unless there are timings, and the rate of each is that of its times."""
    measured(timings, "timings")
    for t in timings:
        if not t["batch"] / max(t["seconds"]) <= t["images_per_second"] <= t["batch"] / min(t["seconds"]):
            raise Wrong(f"its rate is {t['images_per_second']}")


# ---- checks


def anything(output):
    return last_word(output.text)


def gpus(output):
    """nvidia-smi's count of GPUs: where it reaches no driver its exit code may be 0."""
    return last_line(r"Attached GPUs +: [1-9]\d*", output)[0]


def device(output):
    """fcdd's line about the GPU."""
    return last_line(".*, compute capability .*", output)[0].strip()


def tests_listed(output):
    """Some tests, and as many as the last line says."""
    found, said = output.stdout.count(": test\n"), last_line(r"(\d+) tests?, .*", output)
    if not 0 < found == int(said[1]):
        raise Wrong(f"it lists {found} tests and says {said[0]}")
    return f"{found} tests"


def one_test(output):
    """One test of a Rust test program passed."""
    results = re.findall("^test result: .*", output.stdout, re.M)
    if len(results) != 1 or not re.match(r"test result: ok\. 1 passed; 0 failed; ", results[0]):
        raise Wrong("not one test passed")
    if skipped := re.search("^skipped: .*", output.text, re.M):
        raise Skipped(skipped[0])
    return ""


# What a sanitizer finds, and the line in which it counts that; without a summary, such as of a test that died, a finding is one too. racecheck
# counts its errors after its hazards, of which the others are warnings: those are no finding.
FINDING = r"^=+ (Error: )?(Invalid|Misaligned|Out-of-range|Uninitialized|Race|Potential|Barrier|Program hit|Leaked) .*"
SUMMARY = r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+) (?:\w+ displayed \((\d+) errors?)?.*"


def found_something(output):
    counts = [int(summary[2] or summary[1]) for summary in re.finditer(SUMMARY, output.text, re.M)]
    return any(counts) or re.search(FINDING, output.text, re.M) is not None


def sanitized(output):
    """One test passed under a sanitizer, which looked and found nothing."""
    one_test(output)
    if found_something(output):
        raise Wrong("it found something")
    if not (summaries := list(re.finditer(SUMMARY, output.text, re.M))):
        raise NotRun("the sanitizer gave no summary")
    return summaries[-1][0].strip("= ")


def sanitizer_gave_up(output):
    """The line in which a sanitizer says that it could not look, such as on a device that it does not know; "" if it found something."""
    of_the_test = "process didn't terminate|Target application"
    gave_up = re.search(rf"^=+ (Internal Sanitizer Error|Error: (?!{of_the_test})).*", output.text, re.M)
    return gave_up[0].strip("= ") if gave_up and not found_something(output) else ""


def bench(net, precision, switches, tasks):
    """Timings of `fcdd bench` of each of these tasks of this net on a GPU, in this precision with these switches: without an error it falls
    back to what a device has."""

    def check(output):
        timings = parsed(output.stdout)["timings"]
        timed(timings)
        for t in timings:
            if t["net"] != net or t["mode"].partition(",")[0].split() != ["fcdd", "cuda", precision, *switches]:
                raise Wrong(f"it timed {t['net']} in mode {t['mode']}")
        # Those on a fixed batch are measured as PyTorch's are.
        fixed = [t for t in timings if "fixed batch" in t.get("how", "fixed batch")]
        if missing := set(tasks) - {t["task"] for t in fixed}:
            raise Wrong(f"it did not time {', '.join(missing)}")
        return ", ".join(f"{t['task']} {t['images_per_second']:.0f}/s" for t in fixed)

    return check


def tiles(net, switches):
    """Tiles of this net alone, of all passes; the net takes one of WGMMA if that is on and there is one, and else none."""

    def check(output):
        found = parsed(output.stdout)["tiles"]
        measured(found, "tiles")
        if others := {t["net"] for t in found} - {net}:
            raise Wrong(f"it timed {', '.join(others)}")
        chosen = [t for t in found if t["chosen"]]
        if missing := {"conv_fprop", "conv_dgrad", "conv_wgrad"} - {t["pass"] for t in chosen}:
            raise Wrong(f"it has no chosen tile of {', '.join(missing)}")
        has_wgmma = lambda tiles: any(t["product"] == "wgmma" for t in tiles)
        if has_wgmma(chosen) != ("wgmma" in switches and has_wgmma(found)):
            raise Wrong(f"its chosen tiles are not those with {' '.join(switches) or 'no switches'}")
        return f"{len(found)} tiles"

    return check


def verify(output):
    """Checks of `fcdd verify`: some, and none failed."""
    counts = last_line(r"(\d+) passed, (\d+) failed(, .*)?", output)
    if int(counts[1]) == 0 or int(counts[2]):
        raise Wrong(f"it says {counts[0]}")
    return counts[0]


def torch(output):
    if "no torch" in output.stdout:
        raise Skipped(last_word(output.stdout))
    return last_line(r"torch \d.*", output)[0]


def peer_checked(path, nets):
    """What check.py wrote: that all of these nets are fcdd's."""

    def check(_):
        found = parsed(path.read_text())["nets"]
        if different := [net for net in nets if found[net]["passed"] is not True]:
            raise Wrong(f"not the same net: {', '.join(different)}")
        return f"the same nets: {', '.join(nets)}"

    return check


def peer(path):
    """What gpu.py wrote: at least one timing."""

    def check(output):
        timed([t for t in parsed(path.read_text())["timings"] if "error" not in t])
        return last_word(output.stdout)

    return check


def side_by_side(output):
    last_line(r"\| .* \| .* \|", output)
    return "; ".join(re.findall("^left out: .*", output.text, re.M))


def profile(output):
    """Nsight Compute's table, a line per kernel, whole."""
    lines = [line for line in output.log.splitlines() if line.startswith('"')]
    rows = [row for row in csv.DictReader(lines) if (row["ID"] or "").isdigit()]
    if not rows or any(value is None for row in rows for value in row.values()):
        raise Wrong("its table has no kernels, or not all columns of one")
    return f"{len(rows)} kernels"


def accuracy(output):
    return last_line(r"mean image AUROC: f32 [01]\.\d+, bf16 [01]\.\d+", output)[0]


def extrapolated(output):
    return last_line(r".*the table extrapolated: -?\d+(\.\d+)? minutes.*", output)[0]
