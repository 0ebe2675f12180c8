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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import checks
from .results import ARCHIVE_SECONDS, SCRATCH, Results, refuse, show

PR_SET_CHILD_SUBREAPER = 36  # from linux/prctl.h: processes that lose their parent become children of the proof
LOCK = "\0fcdd-gpu-proof"  # an abstract socket, for the whole machine, whatever TMPDIR is
LEAST = 0.3  # of a command's seconds: with less, its shortest parts would end before a program on a GPU has begun
MARK = "FCDD_PROOF"  # in the environment of all processes that the proof starts, by which they are found again
ROOM = 64 << 20  # free disk space without which no command begins: a test would fail for lack of it alone
FILE_LIMIT = 256 << 20  # of each file that a command writes: endless output does not fill the disk
GRACE = 3  # seconds between SIGTERM and SIGKILL; less where the time is shortened
# Seconds of the debugger that a test that hangs gets at least, if one other hangs with it; less where the time is shortened.
DEBUGGER_SECONDS = 5


@dataclass
class Part:
    """A named piece of work and its seconds."""

    name: str
    seconds: float
    work: Callable


@dataclass
class Command:
    """A program to run, and how its result is told."""

    name: str
    words: list
    seconds: float  # its limit, less where the time of the proof is shortened
    check: Callable = checks.anything  # of its output, if it ended with exit code 0
    switches: list = ()  # those that are on, and no others
    environment: dict = field(default_factory=dict)
    share: float = 1  # the most of what is left of its part that it may take
    ending: str = ".txt"  # of the file of its standard output
    log: Path = None  # a file that it writes messages to
    debugger: bool = False  # if it hangs, a debugger tells where
    hangs_after: float = None  # seconds after which it surely hangs, if less than its limit
    gave_up: Callable = None  # takes its output; returns why it could do nothing, whatever its exit code
    facts: dict = field(default_factory=dict)  # further fields of its row


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
        alive = list(marked(token))
        if not alive:
            return True
        for process in alive:
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

    def __init__(self, name, out, seconds, scope, identity, watchdog):
        """`scope`: which tests and timings. `identity`: what is proven, fields of the first row. `watchdog`: the command that runs `watch`."""
        self.name, self.scope, self.seconds, self.identity = name, scope, seconds, identity
        self.failed, self.listed, self.numbers = [], None, itertools.count()
        self.token = f"{os.getpid()}-{time.time_ns()}"
        self.stopped = ""  # by which signal
        self.held = []  # processes that could not be killed
        self.debugger, self.debugger_lock, self.hung = tool("cuda-gdb"), threading.Lock(), []
        self.lock = socket.socket(socket.AF_UNIX)  # holds it while this process lives
        try:
            self.lock.bind(LOCK)
        except OSError:
            refuse("another proof is running on this machine")
        self.results = Results(name, out)
        self.results.begin()
        self.earlier = []  # rows of the first command, if it proved the same
        self.rows, self.log = self.results.rows, self.results.log
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self.stop)
        # Commands inherit these: no endless file, and no memory image of a test that crashes, which takes long to write.
        for limit, most in ((resource.RLIMIT_FSIZE, FILE_LIMIT), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(ValueError):  # if the limit is lower already
                resource.setrlimit(limit, (most, most))
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        command = [*watchdog, self.token, self.results.reserve]
        self.watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def stop(self, number, _):
        """Signal handler: kills what runs and allows no further command; the rows so far are archived as after any part."""
        self.stopped = f"the proof was ended by {signal.Signals(number).name}"
        sweep(self.token)

    def remaining(self, debugger=False):
        """Seconds that a command may take; with `debugger`, less those in which it tells of two of them where they hang."""
        reserved = 2 * DEBUGGER_SECONDS * self.pace if debugger and self.debugger else 0
        return 0 if self.stopped else self.deadline - time.monotonic() - GRACE * self.pace - reserved

    def hindrance(self, debugger):
        """Why no command can begin, or None."""
        if self.remaining(debugger) < 0.5:
            return self.stopped or "no time was left"
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

    def run(self, command):
        """Runs a command, prints its row, and returns the outcome."""
        name, facts = label(command.name, command.switches), {**command.facts, "switches": list(command.switches)}
        if why := self.hindrance(command.debugger):
            return self.row(name, "not run", said=why, **facts)
        file = file_of(name)
        paths = [self.log / f"{file}{command.ending}", self.log / f"{file}.err"]
        started = time.monotonic()
        try:
            environment = {**command.environment, **{f"FCDD_{switch.upper()}": "1" for switch in command.switches}}
            seconds = command.seconds * self.pace
            limit = min(seconds, self.remaining(command.debugger) * command.share)
            outcome = self.outcome(command.words, limit, environment, paths, self.log / f"{file}.hang.txt" if command.debugger else None)
            if limit < (command.hangs_after or command.seconds) * self.pace:  # less than it may need: nobody knows whether it hung
                outcome = outcome.replace("out of time", "cut off")
        except OSError as error:  # it could not be started
            return self.row(name, "failed", said=str(error), **facts)
        output = checks.Output(*map(self.results.output, paths + [command.log] if command.log else paths))
        outcome, said = self.judged(command, outcome, output)
        return self.row(name, outcome, time.monotonic() - started, said, **facts)

    def judged(self, command, outcome, output):
        """The outcome by what a command wrote, and what its row says; whatever it wrote, the row is not lost."""
        if outcome != "passed" and self.stopped:
            return "not run", self.stopped
        if outcome.startswith(("passed", "failed")) and command.gave_up and (why := command.gave_up(output)):
            return "not run", why
        if outcome != "passed":
            return outcome, complaint(output.text)
        try:
            return outcome, command.check(output)[:300]
        except checks.Skipped as why:
            return why.outcome, str(why)
        except Exception as error:
            why = error if isinstance(error, checks.Wrong) else f"{type(error).__name__}: {error}"
            return "failed", f"exit code 0, but its output is not as expected: {why}: {complaint(output.text)}"[:300]

    def outcome(self, words, limit, environment, paths, hang):
        """Runs a command and kills all that is left of it. `paths`: files for its output and errors; `hang`: one for where it hangs, or None."""
        # The last character is no digit, so that the mark of command 1 is not found in that of command 12.
        mark = f"{self.token}.{next(self.numbers)};"
        self.log.mkdir(parents=True, exist_ok=True)
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            everything = {**os.environ, **environment, MARK: mark}
            process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=everything, start_new_session=True
            )  # fmt: skip
        code = self.wait(process, min(limit, self.remaining(hang is not None)))  # it may have been stopped just now
        outcome = "passed" if code == 0 else f"failed ({code})"
        if code is None:
            outcome = "out of time"
            if hang:
                self.ask_debugger(process.pid, hang)
            for number, grace in ((signal.SIGTERM, 0 if self.stopped else GRACE * self.pace), (signal.SIGKILL, 1)):
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, number)
                    self.wait(process, grace)
        if not sweep(mark):  # also what left its process group
            outcome += ", cannot be killed"
        process.poll()
        return outcome

    def wait(self, process, seconds):
        """The exit code of a process, or None if it has not ended in so many seconds, or soon after the proof was. What cannot be killed is
        left behind: subprocess.run would kill it and then wait for ever."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(max(0, min(1, until - time.monotonic())))
            if self.stopped or time.monotonic() > until:
                return None

    def sweep_orphans(self):
        """Kills processes without the mark that commands left running: all children but the watchdog and what cannot be killed. Called when no
        command runs."""
        for _ in range(10):
            alive = [process for process in children() if process not in (self.watchdog.pid, *self.held)]
            for process in alive:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, os.WNOHANG)
            if not alive:
                return
            time.sleep(0.1)
        self.held += alive

    def ask_debugger(self, process, file):
        """Has a debugger tell where a process hangs, one process at a time (it stops the whole GPU) and while there is time. One that cannot be
        killed is asked no more."""
        mark = f"{self.token}.{next(self.numbers)};"
        self.hung.append(process)
        # Whatever fails here, such as a full disk, the caller must still kill the process.
        with self.debugger_lock, contextlib.suppress(OSError):
            if self.debugger and (remaining := self.remaining()) > 0.5:
                seconds = min(remaining, 15, max(DEBUGGER_SECONDS * self.pace, remaining / len(self.hung)))
                words = [self.debugger, "-batch", "-nx", "-p", str(process), "-ex", "info cuda kernels", "-ex", "bt"]
                with open(file, "wb") as out:
                    environment = {**os.environ, MARK: mark}
                    debugger = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
                self.wait(debugger, seconds)
                if not sweep(mark):
                    self.debugger = None
                debugger.poll()
        self.hung.remove(process)

    def run_parts(self, table):
        """Runs one part after the other. A part must end by the sum of its own and all earlier parts' seconds, so unused time passes to the
        next. Returns the exit code."""
        share = self.seconds / (sum(part.seconds for part in table) + ARCHIVE_SECONDS)  # with the last archive, after the last part
        self.pace = min(share, 1)  # by which limits within a part shrink with it
        self.deadline = time.monotonic()  # of the part that is running
        if not self.results.archive():
            refuse(f"nothing can be written to {self.results.out}: name a folder for the results")
        self.row("proof", "passed", said=f"{self.scope.about}; build {self.identity['build']}", began=time.time(), **self.identity)
        archived = True
        for part in table:
            if self.stopped:
                break
            self.deadline += part.seconds * share
            try:
                part.work(self)
            except Exception as error:  # whatever it is, the other parts must still run
                self.row(part.name, "failed", said=f"{type(error).__name__}: {error}")
            self.sweep_orphans()
            archived = self.results.archive()
        others = [row for row in self.rows if row["outcome"] not in ("passed", "skipped")]
        show(f"{len(self.rows) - len(others)} rows passed or skipped, {len(others)} not; {self.results.archived}")
        for row in others:
            show(f"  {row['name']}: {row['outcome']}")
        if self.stopped:
            show(self.stopped)
        with contextlib.suppress(OSError):
            self.results.reserve.unlink()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.watchdog.communicate(b"done", timeout=1)
        if not archived:
            rows = self.log / "rows.jsonl" if self.results.lost else self.results.lines
            show(f"{self.results.archived} could not be renewed and lacks the last rows and outputs: see {rows} and {self.log}")
        return 1 if others or not archived or self.stopped else 0


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
    return checks.last_word(text)
