"""Runs commands that may fail, hang or refuse to end, within a time budget; each gives a row."""

import contextlib
import ctypes
import itertools
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from .results import SCRATCH, Results, refuse, show

PR_SET_CHILD_SUBREAPER = 36  # from linux/prctl.h: processes that lose their parent become children of the proof
ALONE = "\0fcdd-gpu-proof"  # an abstract socket, a lock for the whole machine, whatever TMPDIR is
LEAST = 0.3  # of a command's seconds: with less, its shortest parts would end before a program on a GPU has begun
MARK = "FCDD_PROOF"  # in the environment of all processes that the proof starts, by which they are found again
ROOM = 64 << 20  # free disk space without which no command begins: a test would fail for lack of it alone
FILE_LIMIT = 256 << 20  # of each file that a command writes: endless output does not fill the disk
GRACE = 3  # seconds between SIGTERM and SIGKILL; less where the time is shortened
ASK = 5  # seconds of the debugger that a test that hangs gets at least, if one other hangs with it; less where the time is shortened


class Part(SimpleNamespace):
    """A named piece of work and its seconds."""


def tool(name):
    """A program of the CUDA toolkit, or None."""
    places = itertools.chain(Path("/usr/local").glob(f"cuda*/bin/{name}"), Path("/opt/nvidia").glob(f"nsight-compute/*/{name}"))
    found = shutil.which(name) or next(iter(sorted(places)), None)
    return found and str(found)


def label(name, switches):
    """The name of what runs with switches."""
    return " ".join([name, *(f"+{switch}" for switch in switches)])


def file_of(name, switches=()):
    """Such a name as that of a file, without its ending."""
    return re.sub(r"[^\w.-]+", "-", label(name, switches))


def marked(token):
    """Processes with this mark, the caller excepted."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) != os.getpid() and f"{MARK}={token}".encode() in (folder / "environ").read_bytes():
                yield int(folder.name)


def children():
    """Processes whose parent is the caller."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # What follows the name in parentheses: state, parent.
            if int((folder / "stat").read_bytes().rpartition(b") ")[2].split()[1]) == os.getpid():
                yield int(folder.name)


def sweep(token):
    """Kills all processes with this mark; returns whether none is left."""
    for _ in range(50):
        left = list(marked(token))
        if not left:
            return True
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    return False  # a process that a driver holds cannot be killed


def watch(token, reserve):
    """The watchdog, a process that outlives the proof: if the proof dies without ending properly, removes its reserve file and kills what it
    left running."""
    if sys.stdin.buffer.read() != b"done":
        with contextlib.suppress(OSError):
            os.unlink(reserve)
        for _ in range(20):  # a process that it had just started may have no mark yet
            sweep(token)
            time.sleep(0.1)


class Proof:
    """One command of the proof (first or second): runs its parts, prints a row for each result."""

    def __init__(self, name, out, seconds, size, build, watchdog):
        """`size`: the extent of the tests and timings. `build`: which fcdd it proves. `watchdog`: the command that runs `watch`."""
        self.name, self.size, self.seconds, self.build = name, size, seconds, build
        self.failed, self.listed, self.numbers = [], None, itertools.count()
        self.token = f"{os.getpid()}-{time.time_ns()}"
        self.ended = ""  # by which signal
        self.asks, self.hanging, self.asking = tool("cuda-gdb"), [], threading.Lock()
        self.alone = socket.socket(socket.AF_UNIX)  # holds the lock while this process lives
        try:
            self.alone.bind(ALONE)
        except OSError:
            refuse("another proof is running on this machine")
        self.results = Results(name, out)
        self.results.begin()
        self.earlier, self.wrong_earlier = ([], "") if name == "first" else self.results.of_first(build)
        self.rows, self.log = self.results.rows, self.results.log
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self.end)
        with contextlib.suppress(ValueError):  # if the limit is lower already
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))  # commands inherit it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        command = [*watchdog, self.token, self.results.reserve]
        self.watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def end(self, number, _):
        """Signal handler: kills what runs and allows no further command; the rows so far are archived as after any part."""
        self.ended = f"the proof was ended by {signal.Signals(number).name}"
        sweep(self.token)

    def left(self, debug=False):
        """Seconds that a command may take; with `debug`, less those in which the debugger asks two of them where they hang."""
        reserved = 2 * ASK * self.pace if debug and self.asks else 0
        return 0 if self.ended else self.until - time.monotonic() - GRACE * self.pace - reserved

    def hindrance(self, debug):
        """Why no command can begin, or None."""
        if self.left(debug) < 0.5:
            return self.ended or "no time was left"
        with contextlib.suppress(OSError):
            if shutil.disk_usage(SCRATCH).free < ROOM:
                return f"no room: {SCRATCH} has less than {ROOM >> 20} MiB free"

    def row(self, name, outcome, seconds=0, said="", **facts):
        self.results.add({"name": name, "outcome": outcome, "seconds": round(seconds, 1), "said": said, **facts})
        show(f"{name:<62} {outcome:<12} {seconds:7.1f} s  {said}")
        return outcome

    def skip(self, name, why):
        self.row(name, "skipped", said=why)

    def known(self):
        """The rows of this command and, in the second, of the first."""
        return self.earlier + self.rows

    def run(
        self, name, command, seconds, switches=(), environment={}, share=1, ending=".txt", log=None, say=None, must="", absent=None,
        debug=False, **facts,
    ):  # fmt: skip
        """Runs a command, prints its row, and returns the outcome. `seconds`: its limit, less where the time of the proof is shortened;
        `switches`: those that are on, and no others; `share`: the most of what is left of its part that it may take; `ending`: of the file of
        its standard output; `log`: a file that it writes messages to; `say`: makes the row's text from the output; `must`: what the output
        contains if the command did its work; `absent`: what it contains if that which was to run is not installed; `debug`: if it hangs, ask a
        debugger where; `facts`: further fields of the row."""
        name, facts = label(name, switches), {**facts, "switches": list(switches)}
        if why := self.hindrance(debug):
            return self.row(name, "not run", said=why, **facts)
        file = file_of(name)
        paths = [self.log / f"{file}{ending}", self.log / f"{file}.err"]
        started = time.monotonic()
        try:
            environment = {**environment, **{f"FCDD_{switch.upper()}": "1" for switch in switches}}
            limit = min(seconds * self.pace, self.left(debug) * share)
            outcome = self.outcome(command, limit, environment, paths, self.log / f"{file}.hang.txt" if debug else None)
            if limit < seconds * self.pace / 2:  # it was given so little time that it need not have hung
                outcome = outcome.replace("out of time", "cut off")
        except OSError as error:  # it could not be started
            return self.row(name, "failed", said=str(error), **facts)
        text = "\n".join(self.results.output(path) for path in (paths + [log] if log else paths))
        if outcome == "passed":
            said = said_of(text, say or last_word)
            if must not in text:
                outcome, said = "failed", f"exit code 0, but its output has no '{must}': {complaint(text)}"
        elif self.ended:
            outcome, said = "not run", self.ended
        else:
            said = complaint(text)
            outcome = "skipped" if absent and absent in text else outcome
        return self.row(name, outcome, time.monotonic() - started, said, **facts)

    def outcome(self, command, limit, environment, paths, hang):
        """Runs a command and kills all that is left of it. `paths`: files for its output and errors; `hang`: one for where it hangs, or None."""
        # The last character is no digit, so that the mark of command 1 is not found in that of command 12.
        mark = f"{self.token}.{next(self.numbers)};"
        self.log.mkdir(parents=True, exist_ok=True)
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            everything = {**os.environ, **environment, MARK: mark}
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=everything, start_new_session=True
            )  # fmt: skip
        try:
            code = process.wait(max(0, min(limit, self.left(hang is not None))))  # it may have been ended just now
            outcome = "passed" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            outcome = "out of time"
            if hang:
                self.where_it_hangs(process.pid, hang)
            for number, grace in ((signal.SIGTERM, 0 if self.ended else GRACE * self.pace), (signal.SIGKILL, 1)):
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(grace)
        if not sweep(mark):  # also what left its process group
            outcome += ", cannot be killed"
        process.poll()
        return outcome

    def sweep_orphans(self):
        """Kills processes without the mark that commands left running: all children but the watchdog. Called when no command runs."""
        for _ in range(10):
            left = [process for process in children() if process != self.watchdog.pid]
            for process in left:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, os.WNOHANG)
            if not left:
                return
            time.sleep(0.1)

    def where_it_hangs(self, process, file):
        """Asks a debugger where a process hangs, one process at a time (it stops the whole GPU) and while there is time."""
        if not self.asks:
            return
        command = [self.asks, "-batch", "-nx", "-p", str(process), "-ex", "info cuda kernels", "-ex", "bt"]
        mark = f"{self.token}.{next(self.numbers)};"
        self.hanging.append(process)
        # Whatever fails here, such as a full disk, the caller must still kill the process.
        with self.asking, contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if (left := self.left()) > 0.5:
                seconds = min(left, 15, max(ASK * self.pace, left / len(self.hanging)))
                with open(file, "wb") as out:
                    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds, env={**os.environ, MARK: mark})
        sweep(mark)
        self.hanging.remove(process)

    def parts(self, table):
        """Runs one part after the other. A part must end by the sum of its own and all earlier parts' seconds, so unused time passes to the
        next. Returns the exit code."""
        share = self.seconds / sum(part.seconds for part in table)
        self.pace = min(share, 1)  # by which limits within a part shrink with it
        self.until = time.monotonic()  # the end of the part that is running
        if not self.results.archive():
            refuse(f"nothing can be written to {self.results.out}: name a folder for the results")
        self.row("proof", "passed", said=f"{self.size.about}; build {self.build}", build=self.build)
        if self.name != "first":
            none = "goes on without: no switch counts as proven, and no net of PyTorch's as checked"
            said = [self.wrong_earlier, f"{len(self.earlier)} rows" if self.earlier else none]
            outcome = "failed" if self.wrong_earlier else "passed" if self.earlier else "skipped"
            self.row("results of first", outcome, said="; ".join(filter(None, said)))
        archived = True
        for part in table:
            if self.ended:
                break
            self.until += part.seconds * share
            try:
                part.work(self)
            except Exception as error:  # whatever it is, the other parts must still run
                self.row(part.name, "failed", said=f"{type(error).__name__}: {error}")
            self.sweep_orphans()
            archived = self.results.archive()
        bad = [row for row in self.rows if row["outcome"] not in ("passed", "skipped")]
        show(f"{len(self.rows) - len(bad)} rows passed or skipped, {len(bad)} not; {self.results.archived}")
        for row in bad:
            show(f"  {row['name']}: {row['outcome']}")
        if self.ended:
            show(self.ended)
        with contextlib.suppress(OSError):
            self.results.reserve.unlink()
        self.watchdog.communicate(b"done")
        if not archived:
            rows = self.log / "rows.jsonl" if self.results.lost else self.results.lines
            show(f"{self.results.archived} could not be renewed and lacks the last rows and outputs: see {rows} and {self.log}")
        return 1 if bad or not archived or self.ended else 0


def said_of(text, say):
    """What a row says of a command's output; whatever is in it, the row is not lost."""
    try:
        return say(text)
    except Exception as error:
        return f"its output is not as expected: {type(error).__name__}: {error}"


def last_word(text):
    return text.strip().rpartition("\n")[2].strip()[:150]


# Lines that tell why a command failed, the most specific first: ncu's error, a sanitizer's finding, a test's assertion, Python's exception.
COMPLAINTS = [
    r"^==ERROR==",
    r"^==WARNING== No kernels",
    r"^ *=+ (?!COMPUTE)(Invalid|Error|Race|Uninitialized|Program hit|Leaked)",
    r"panicked at",
    r"^[\w.]+(Error|Exception): ",
    r"FAILED",
    r"(?i:error)",
]


def complaint(text):
    """The line that tells why a command failed."""
    for pattern in COMPLAINTS:
        if found := re.search(pattern, text, re.M):
            start = text.rfind("\n", 0, found.start()) + 1
            lines = [line.strip() for line in text[start : start + 1000].splitlines()]
            return (" ".join(lines[1:3]) if pattern == "panicked at" else lines[0])[:150]
    return last_word(text)
