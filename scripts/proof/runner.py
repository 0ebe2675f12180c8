"""Runs commands that may fail, hang or refuse to end, within a time budget; keeps their output, and archives it after each part."""

import contextlib
import ctypes
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

# Output of the commands, on the machine of the proof: the second command reads the results of the first one.
SCRATCH = Path(tempfile.gettempdir()) / "fcdd-gpu-proof"
PR_SET_CHILD_SUBREAPER = 36  # from linux/prctl.h: processes that lose their parent become children of the proof
ALONE = "\0fcdd-gpu-proof"  # an abstract socket, a lock for the whole machine, whatever TMPDIR is
LEAST = 0.3  # of a command's seconds: with less, its shortest parts would end before a program on a GPU has begun
MARK = "FCDD_PROOF"  # in the environment of all processes that the proof starts, by which they are found again
ARCHIVE_LIMIT, RESERVE = 15 << 20, 64 << 10
ROOM = 64 << 20  # free disk space without which no command begins: a test would fail for lack of it alone
FILE_LIMIT = 256 << 20  # of each file that a command writes: endless output does not fill the disk
GRACE = 3  # seconds between SIGTERM and SIGKILL; less where the time is shortened


def refuse(why):
    """Ends the program with exit code 2, before anything was done."""
    print(f"gpu-proof: {why}", file=sys.stderr)
    sys.exit(2)


def show(line):
    """Prints a line with one write, since several threads print; a closed pipe does not end the proof."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Part(SimpleNamespace):
    """A named piece of work and its seconds."""


def tool(name):
    """A program of the CUDA toolkit, or None."""
    places = itertools.chain(Path("/usr/local").glob(f"cuda*/bin/{name}"), Path("/opt/nvidia").glob(f"nsight-compute/*/{name}"))
    found = shutil.which(name) or next(iter(sorted(places)), None)
    return found and str(found)


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

    def __init__(self, name, out, seconds, size, watchdog):
        """`size`: the extent of the tests and timings. `watchdog`: the command that runs `watch`."""
        self.name, self.out, self.size, self.seconds = name, out, size, seconds
        self.until, self.grace = time.monotonic() + seconds, GRACE  # of the part that is running
        self.rows, self.failed, self.numbers = [], [], itertools.count()
        self.reserve, self.token = out / ".reserve", f"{os.getpid()}-{time.time_ns()}"
        self.ended = ""  # by which signal
        self.debugger = threading.Lock()
        self.alone = socket.socket(socket.AF_UNIX)  # holds the lock while this process lives
        try:
            self.alone.bind(ALONE)
        except OSError:
            refuse("another proof is running on this machine")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse(f"{out}: {error.strerror}: name a folder for the results")
        if name == "first":
            shutil.rmtree(SCRATCH, ignore_errors=True)
        elif not SCRATCH.exists() and (out / "first.tar.gz").exists():
            try:
                with tarfile.open(out / "first.tar.gz") as archive:
                    archive.extractall(SCRATCH, filter="data")
            except (OSError, EOFError, tarfile.TarError) as error:
                show(f"{out / 'first.tar.gz'} cannot be read ({error}): no switch counts as proven")
        self.log = SCRATCH / name
        try:
            self.log.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refuse(f"{self.log}: {error.strerror}: name a folder for temporary files in TMPDIR")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, self.end)
        with contextlib.suppress(OSError):
            self.reserve.write_bytes(bytes(RESERVE))
        with contextlib.suppress(ValueError):  # if the limit is lower already
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))  # commands inherit it
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.watchdog = subprocess.Popen([*watchdog, self.token, self.reserve], stdin=subprocess.PIPE, start_new_session=True)

    def end(self, number, _):
        """Signal handler: kills what runs and allows no further command; the rows so far are archived as after any part."""
        self.ended = f"the proof was ended by {signal.Signals(number).name}"
        sweep(self.token)

    def left(self):
        """Seconds that a command may take."""
        return 0 if self.ended else self.until - time.monotonic() - self.grace

    def hindrance(self):
        """Why no command can begin, or None."""
        if self.left() < 0.5:
            return self.ended or "no time was left"
        with contextlib.suppress(OSError):
            if shutil.disk_usage(SCRATCH).free < ROOM:
                return f"no room: {SCRATCH} has less than {ROOM >> 20} MiB free"

    def row(self, name, outcome, seconds=0, said="", **facts):
        self.rows.append({"name": name, "outcome": outcome, "seconds": round(seconds, 1), "said": said, **facts})
        show(f"{name:<62} {outcome:<12} {seconds:7.1f} s  {said}")
        return outcome

    def known(self):
        """The rows of the first command."""
        file = SCRATCH / "first/rows.jsonl"
        if self.name == "first":
            return self.rows
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def run(self, name, command, seconds, environment={}, output=None, say=None, debug=False, **facts):
        """Runs a command, prints its row, and returns the outcome. `output`: the file of its standard output, if that is read later; `say`: makes
        the row's text from the output; `debug`: if it hangs, ask a debugger where; `facts`: further fields of the row."""
        if why := self.hindrance():
            return self.row(name, "not run", said=why, **facts)
        token = f"{self.token}.{next(self.numbers)}."
        file = re.sub(r"[^\w.-]+", "-", name)
        paths = [self.log / (output or f"{file}.txt"), self.log / f"{file}.err"]
        started, outcome = time.monotonic(), None
        try:
            with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
                everything = {**os.environ, **environment, MARK: token}
                process = subprocess.Popen(
                    [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=everything, start_new_session=True
                )  # fmt: skip
        except OSError as error:
            return self.row(name, "failed", said=str(error), **facts)
        try:
            code = process.wait(min(seconds, self.left()))
            outcome = "passed" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            outcome = "out of time"
            if debug:
                self.where_it_hangs(process.pid, file)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.grace)
        if not sweep(token):
            outcome += ", cannot be killed"
        process.poll()
        text = "\n".join(ends(path) for path in paths)
        said = (say or last_word)(text) if outcome == "passed" else self.ended or complaint(text)
        return self.row(name, outcome, time.monotonic() - started, said, **facts)

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
        """Asks a debugger where a process hangs, one process at a time and while there is time."""
        debugger, seconds = tool("cuda-gdb"), min(15, self.left())
        if debugger is None or seconds < 1 or not self.debugger.acquire(blocking=False):
            return
        command = [debugger, "-batch", "-nx", "-p", str(process), "-ex", "info cuda kernels", "-ex", "bt"]
        token = f"{self.token}.debugger."
        # Whatever fails here, such as a full disk, the caller must still kill the process.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired), open(self.log / f"{file}.hang.txt", "wb") as out:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=seconds, env={**os.environ, MARK: token})
        sweep(token)
        self.debugger.release()

    def skip(self, name, why):
        self.row(name, "skipped", said=why)

    def archive(self):
        """Writes all rows and logs as one file in OUT, in place of the previous one; if there is no room for it, only the rows. Returns
        whether one was written."""
        rows = self.log / "rows.jsonl"
        with contextlib.suppress(OSError):
            rows.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        files = sorted((path for path in SCRATCH.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        for keep in (files, [rows]):
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                self.write_archive(keep)
                return True
            except OSError as error:
                show(f"{self.out / self.name}.tar.gz: {error}")
                with contextlib.suppress(OSError):
                    self.reserve.unlink()
        return False

    def write_archive(self, files):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path in files:  # the smallest first
                if packed.tell() + path.stat().st_size < ARCHIVE_LIMIT:
                    archive.add(path, path.relative_to(SCRATCH))
                else:
                    show(f"{path.name}: too large for the archive")
        new = self.out / f".{self.name}.new"
        try:
            new.write_bytes(packed.getvalue())
            os.replace(new, self.out / f"{self.name}.tar.gz")
        finally:
            new.unlink(missing_ok=True)

    def parts(self, table):
        """Runs one part after the other. A part must end by the sum of its own and all earlier parts' seconds, so unused time passes to the
        next. Returns the exit code."""
        share = self.seconds / sum(part.seconds for part in table)
        self.until, self.grace = time.monotonic(), GRACE * min(share, 1)
        if not self.archive():
            refuse(f"nothing can be written to {self.out}: name a folder for the results")
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
            archived = self.archive()
        bad = [row for row in self.rows if row["outcome"] not in ("passed", "skipped")]
        show(f"{len(self.rows) - len(bad)} rows passed or skipped, {len(bad)} not; {self.out / self.name}.tar.gz")
        for row in bad:
            show(f"  {row['name']}: {row['outcome']}")
        if self.ended:
            show(self.ended)
        with contextlib.suppress(OSError):
            self.reserve.unlink()
        self.watchdog.communicate(b"done")
        if not archived:
            show(f"the last rows are not in {self.out / self.name}.tar.gz: it could not be written")
        return 1 if bad or not archived or self.ended else 0


def ends(path, most=1 << 20):
    """The text of a file; of a long one its beginning and its end."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        head, size = file.read(most), path.stat().st_size
        file.seek(max(most, size - most))
        return (head + file.read(most)).decode(errors="replace")
    return ""


def last_word(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:150] if lines else ""


# Lines that tell why a command failed, the most specific first: a sanitizer's finding, a test's assertion, an error message.
COMPLAINTS = [r"^=+ (?!COMPUTE)(Invalid|Error|Race|Uninitialized|Program hit|Leaked)", r"panicked at", r"FAILED", r"error"]


def complaint(text):
    """The line that tells why a command failed."""
    lines = [line.strip() for line in text.splitlines()]
    for pattern in COMPLAINTS:
        for i, line in enumerate(lines):
            if re.search(pattern, line, re.I if pattern == "error" else 0):
                return (" ".join(lines[i + 1 : i + 3]) if "panicked at" in line else line)[:150]
    return last_word(text)
