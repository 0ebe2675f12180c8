"""Keeps the results of a command of the proof, whatever happens to the disk: each row at once, and after each part all rows and outputs."""

import contextlib
import io
import itertools
import json
import os
import select
import shutil
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

# Output of the commands, on the machine of the proof: the second command reads the results of the first one. By user, for /tmp is shared.
SCRATCH = Path(tempfile.gettempdir()) / f"fcdd-gpu-proof-{os.getuid()}"
ARCHIVE_LIMIT, RESERVE = 15 << 20, 64 << 10
ARCHIVE_SECONDS = 4  # to compress an archive: what is not in it by then has to wait for the next one
# How much of a file is kept: texts of up to 256 KiB whole, of longer ones the first and the last 64; data, of which a part is useless, up to
# 4 MiB.
DATA = (".json", ".csv")
WHOLE, WHOLE_DATA, END = 256 << 10, 4 << 20, 64 << 10
READER = 0.5  # seconds that a line waits for whoever reads the standard output


def refuse(why):
    """Ends the program with exit code 2, before anything was done."""
    print(f"gpu-proof: {why}", file=sys.stderr)
    sys.exit(2)


class Screen:
    """Standard output. Several threads print; whoever reads it may have closed it, or have stopped to read."""

    def __init__(self):
        self.lock, self.dropped = threading.Lock(), 0

    def show(self, line):
        """Prints a line, unless nobody reads: then it is dropped, and those after it do not wait."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        with self.lock, contextlib.suppress(OSError):
            if self.dropped and self.is_read(0):
                line, self.dropped = f"[{self.dropped} lines were dropped, for nobody read them]\n{line}", 0
            text = f"{line}\n".encode(encoding, "backslashreplace")
            # A pipe that can be written to takes this much without blocking.
            for start in range(0, len(text), select.PIPE_BUF):
                if not self.is_read(0 if self.dropped else READER):
                    self.dropped += 1
                    return
                os.write(1, text[start : start + select.PIPE_BUF])

    def is_read(self, seconds):
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        return bool(poll.poll(1000 * seconds))


show = Screen().show


def kept(path):
    """What is kept of a file: its content, or of a long one its beginning and its end."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= (WHOLE_DATA if path.suffix in DATA else WHOLE):
            return file.read()
        head = file.read(END)
        file.seek(size - END)
        return head + f"\n[{size - 2 * END} bytes left out]\n".encode() + file.read(END)


def append(file, text):
    """Adds text to a file; returns whether it could."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as opened:
            opened.write(text)
        return True
    return False


def lines_of(rows):
    """Rows as the lines of a file."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_in(text):
    """Rows from the lines of a file; lines that were not written to their end are left out."""
    rows = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    is_row = lambda row: isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("name", "outcome"))
    return [row for row in rows if is_row(row)]


def rows_of(file):
    """The rows that a file holds."""
    with contextlib.suppress(OSError):
        return rows_in(file.read_text(errors="replace"))
    return []


def cannot_be_read(file, error):
    return f"{file} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}"


def began(rows):
    """When the command began whose rows these are; 0 if it is not known, as where the clock was ahead."""
    return max((row["began"] for row in rows if isinstance(row.get("began"), float) and row["began"] <= time.time()), default=0)


class Results:
    """Rows and outputs, in memory and on the disk:

    OUT/NAME.jsonl    a line for each row, at once
    OUT/NAME.tar.gz   all rows and outputs, replaced after each part by one that has all of the earlier one and more
    OUT/.reserve      keeps room for rows: given up when the disk is full, and then no archive is written
    SCRATCH/NAME      the outputs as the commands write them
    """

    def __init__(self, name, out):
        self.name, self.out, self.log = name, out, SCRATCH / name
        self.rows, self.adding = [], threading.Lock()
        self.lost = False  # whether a row is not in OUT/NAME.jsonl
        self.written = set()  # output files that commands have begun
        self.outputs = {}  # what was kept of each, by its name in the archive: the disk may lose them later
        self.inside = set()  # those of them that the last archive had room for
        self.printed = set()  # what is printed only once
        self.lines, self.archived, self.reserve = out / f"{name}.jsonl", out / f"{name}.tar.gz", out / ".reserve"

    def begin(self):
        """Makes the folders; results of an earlier run in OUT get a number. Nothing is removed from SCRATCH unless OUT can be written to."""
        if SCRATCH.resolve() in (self.out, *self.out.parents):
            refuse(f"{self.out} is in the folder of temporary files: name another one for the results")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            try:  # whether it can be written to
                self.reserve.write_bytes(bytes(RESERVE))
            finally:
                self.reserve.unlink(missing_ok=True)
            earlier = [file for file in (self.lines, self.archived) if file.exists()]
            numbered = lambda file, number: file.with_name(file.name.replace(self.name, f"{self.name}-{number}", 1))
            number = next(n for n in itertools.count(1) if not any(numbered(file, n).exists() for file in earlier))
            for file in earlier:
                file.rename(numbered(file, number))
                show(f"{self.out} has results already: {file.name} is now {numbered(file, number).name}")
        except OSError as error:
            refuse(f"{self.out}: {error.strerror}: name a folder for the results")
        shutil.rmtree(SCRATCH if self.name == "first" else self.log, ignore_errors=True)
        try:
            self.log.mkdir(parents=True, exist_ok=True)
            if SCRATCH.stat().st_uid != os.getuid():
                raise PermissionError(1, "it belongs to somebody else")
        except OSError as error:
            refuse(f"{self.log}: {error.strerror}: name a folder for temporary files in TMPDIR")

    def first(self, difference):
        """The newest results of the first command that proved the same, and why there are none or not all. `difference` takes rows and returns
        what they proved that is not the same. The outputs of that command, which are archived again, are in SCRATCH then."""
        archive, scratch = self.out / "first.tar.gz", SCRATCH / "first"
        here, printed, archived = rows_of(scratch / "rows.jsonl"), rows_of(self.out / "first.jsonl"), []
        is_the_same = lambda rows: rows and not difference(rows)
        if is_the_same(here) and began(here) > began(printed):
            return here, ""
        damaged = ""
        try:
            if archive.exists():
                with tarfile.open(archive) as opened:
                    archived = rows_in(opened.extractfile("first/rows.jsonl").read().decode(errors="replace"))
        except Exception as error:  # whatever is wrong with it: the second command goes on without
            damaged = cannot_be_read(archive, error)
        found = max(filter(is_the_same, [here, printed, archived]), key=lambda rows: (began(rows), len(rows)), default=[])
        if found and began(here) == began(found):
            return found, ""
        shutil.rmtree(scratch, ignore_errors=True)
        if found and began(archived) == began(found):
            damaged = self.unpack(archive)
        differences = dict.fromkeys(difference(rows) for rows in (here, printed, archived) if rows)
        return found, damaged or ("" if found else "; ".join(differences))

    def unpack(self, archive):
        """Takes the outputs of the first command out of its archive, all or none; returns what is wrong with it."""
        new = SCRATCH / "unpacked"
        try:
            with tarfile.open(archive) as opened:
                # Python before 3.11.4 has no filter; the archive is our own.
                opened.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            (new / "first").rename(SCRATCH / "first")
            return ""
        except Exception as error:
            return cannot_be_read(archive, error)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def add(self, row):
        """Keeps a row. Several threads do: the rows have the same order in memory and in the files."""
        with self.adding:
            self.rows.append(row)
            text = lambda file: lines_of([row] if os.path.exists(file) else self.rows)  # somebody may have removed it
            append(self.log / "rows.jsonl", text(self.log / "rows.jsonl"))
            if not append(self.lines, text(self.lines)):
                with contextlib.suppress(OSError):
                    self.reserve.unlink(missing_ok=True)
                self.lost |= not append(self.lines, "\n" + lines_of([row]))  # the first attempt may have left half a line

    def output(self, path):
        """The text that a command wrote to a file; a long file is cut on the disk too, to make room for others."""
        self.written.add(path)
        try:
            content = kept(path)
            if (size := path.stat().st_size) > len(content):
                self.once(f"{path.name}: {size >> 10} KiB, of which the first and the last {END >> 10} are kept")
                path.write_bytes(content)
        except OSError:
            return ""
        return content.decode(errors="replace")

    def once(self, line):
        """Prints a line, unless it was printed before."""
        if line not in self.printed:
            self.printed.add(line)
            show(line)

    def collect(self):
        """Takes all outputs into memory. None is replaced by a shorter one: a full disk may have cut it."""
        with contextlib.suppress(OSError):
            for path in SCRATCH.rglob("*"):
                with contextlib.suppress(OSError):
                    name = str(path.relative_to(SCRATCH))
                    if path.is_file() and len(content := kept(path)) >= len(self.outputs.get(name, b"")):
                        self.outputs[name] = content
        for path in sorted(self.written):
            if str(path.relative_to(SCRATCH)) not in self.outputs:
                self.once(f"{path}: gone or unreadable, not in the archive")

    def packed(self):
        """The archive."""
        rows = f"{self.name}/rows.jsonl"
        self.outputs[rows] = lines_of(self.rows).encode()
        # Rows first, then what the last archive had, each time the smallest first.
        order = lambda name: (not name.endswith("rows.jsonl"), name not in self.inside, len(self.outputs[name]))
        packed, inside, until = io.BytesIO(), set(), time.monotonic() + ARCHIVE_SECONDS
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
            for name in sorted(self.outputs, key=order):
                content = self.outputs[name]
                if inside and time.monotonic() > until:
                    self.once(f"{name}: there was no time to archive it")
                    continue
                if packed.tell() + len(content) > ARCHIVE_LIMIT:
                    self.once(f"{name}: the archive has no room for it")
                    continue
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), time.time()
                archive.addfile(member, io.BytesIO(content))
                inside.add(name)
        self.inside = inside
        return packed.getvalue()

    def archive(self):
        """Writes the archive, if there is room for it and the reserve; returns whether there was."""
        new = self.out / f".{self.name}.new"
        try:
            self.collect()
            self.out.mkdir(parents=True, exist_ok=True)
            self.reserve.write_bytes(bytes(RESERVE))
            new.write_bytes(self.packed())
            os.replace(new, self.archived)
            return True
        except OSError as error:
            show(f"{self.archived} was not renewed: {error}")
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            return False
