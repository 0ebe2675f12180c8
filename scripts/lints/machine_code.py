"""Reads machine code: parses what cuobjdump prints of an image, and simulates a thread that executes it."""

import os
import re
import struct
import subprocess
import tempfile
from pathlib import Path


def flags(root):
    """The flags of build.rs."""
    listed = re.search(r"const FLAGS.*?= \[(.*?)\];", (root / "build/nvcc.rs").read_text(), re.S).group(1)
    return re.findall(r'"(.*?)"', listed)


def compiled(root, source, architectures, folder, kernels="kernels"):
    """Compiles a file for these architectures with build.rs's flags; returns the image, which lies in `folder`. An error of the compiler is a
    RuntimeError with its message. `kernels` is the folder of the headers."""
    nvcc, image = os.environ.get("NVCC") or root / ".cuda/bin/nvcc", folder / f"{Path(source).stem}.fatbin"
    chosen = [flag.replace("-Ikernels", f"-I{kernels}") for flag in flags(root)]
    chosen += [f"-gencode=arch=compute_{number},code=sm_{number}" for number in architectures]
    done = subprocess.run([nvcc, *chosen, source, "-o", image], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError("\n".join(line for line in done.stdout.splitlines() if not line.startswith("ptxas info")))
    # ptxas reports serialised products and the like as information, not as a warning.
    if loss := re.search(r".*Performance Loss.*", done.stdout, re.I):
        raise RuntimeError(loss.group())
    return image


def kernels(cuobjdump, image, *flags):
    """(architecture, kernel) -> [(address, instruction)] of a fatbin, of one architecture where the flags say so."""
    text = subprocess.run([cuobjdump, "-sass", *flags, image], check=True, stdout=subprocess.PIPE, text=True).stdout
    found, architecture, code = {}, None, []
    for line in text.splitlines():
        if named := re.match(r"arch = (\w+)", line):
            architecture = named.group(1)
        elif named := re.match(r"\s+Function : (\w+)", line):
            code = found.setdefault((architecture, named.group(1)), [])
        # Instructions with the guard @!PT are never executed: padding around copies on sm_80.
        elif instruction := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(?!\s|@!PT)(.*?)\s*;", line):
            code.append((int(instruction.group(1), 16), instruction.group(2)))
    return found


def sizes(cuobjdump, image):
    """(architecture, kernel) -> bytes of its code, of all architectures: the sections .text.KERNEL of the ELF files in an image."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([cuobjdump, "-xelf", "all", Path(image).resolve()], cwd=folder, check=True, stdout=subprocess.PIPE)
        for file in Path(folder).iterdir():
            elf, architecture = file.read_bytes(), re.search(r"sm_\w+", file.name).group()
            at, (each, n, names) = struct.unpack_from("<Q", elf, 40)[0], struct.unpack_from("<HHH", elf, 58)
            # Name, offset and size of each section.
            starts = range(at, at + n * each, each)
            sections = [(*struct.unpack_from("<I", elf, start), *struct.unpack_from("<QQ", elf, start + 24)) for start in starts]
            for name_at, _, size in sections:
                start = sections[names][1] + name_at
                called = elf[start : elf.index(b"\0", start)].decode()
                if called.startswith(".text."):
                    found[architecture, called.removeprefix(".text.")] = size
    return found


def generation(architecture):
    """90 of sm_90a."""
    return int(re.sub(r"\D", "", architecture))


def name(text):
    """The instruction's name with its dotted suffixes, without the predicate."""
    return re.sub(r"^@\S+\s+", "", text).split()[0]


def matches(text, word):
    """Whether an instruction's name begins with the word; words after a dot may stand anywhere in the name."""
    (first, *suffixes), (wanted, *others) = name(text).split("."), word.split(".")
    return first == wanted and all(other in suffixes for other in others)


def count(code, word):
    """Instructions that the word names."""
    return sum(matches(text, word) for _, text in code)


def main_loop(code):
    """The innermost loop around all tensor-core instructions."""
    products = [at for at, text in code if re.search(r"\bHG?MMA\b", text)]
    ends = []
    for at, text in code:
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if jump and products and int(jump.group(1), 16) <= products[0] and at > products[-1]:
            ends.append((at, int(jump.group(1), 16)))
    if not ends:
        return []
    last, first = min(ends)
    return [(at, text) for at, text in code if first <= at <= last]


WORD = 0xFFFFFFFF
# The value of a register that cannot be computed here.
UNKNOWN = ("?",)
# Where a block's shared memory starts: since sm_90 after a kilobyte that the system reserves.
SHARED = lambda architecture: 0x400 if generation(architecture) >= 90 else 0
# Where a kernel's parameters start among the constants.
PARAMETERS = lambda architecture: 0x380 if generation(architecture) >= 100 else 0x210 if generation(architecture) >= 90 else 0x160


class Thread:
    """Simulates one thread, the first of its block. A register holds a number, or the origin of its value, such as ("loaded", address) or
    ("matrix", 2). The results of arithmetic on such origins, and of instructions that are not simulated, are UNKNOWN. `parameters` are words by
    their offset in the kernel's signature; registers start as 0.

    `trace` lists the instructions with effects outside the thread, each with its name, its operands as written, and their values at that
    moment: addresses, and the contents of registers."""

    OUTSIDE = ("LDGSTS LDSM HMMA HGMMA STG UTMALDG SYNCS LDG LDGDEPBAR DEPBAR WARPGROUP PREEXIT ACQBULK FENCE F2FP").split()

    def __init__(self, architecture, parameters=(), ended=()):
        self.registers, self.trace = {}, []
        self.parameters, self.base = dict(parameters), PARAMETERS(architecture)
        # Results of the waits at mbarriers, in order; after the last one every wait succeeds.
        self.ended = list(ended)

    def run(self, code, limit=20000):
        """Runs from the first instruction until the thread exits or leaves the code."""
        places, at = {address: i for i, (address, _) in enumerate(code)}, 0
        for _ in range(limit):
            if at is None or at >= len(code):
                return self
            text = code[at][1]
            guard = re.match(r"@(!?)(\w+)\s+", text)
            if guard and bool(self.registers.get(guard.group(2), guard.group(2) in ("PT", "UPT"))) == bool(guard.group(1)):
                at += 1
                continue
            text = text[guard.end():] if guard else text
            if text.startswith("EXIT"):
                return self
            if text.startswith("BRA"):
                at = places.get(int(re.search(r"(0x[0-9a-f]+)", text).group(1), 16))
                continue
            self.execute(text)
            at += 1
        raise RuntimeError("the code does not end")

    def constant(self, offset):
        return self.parameters.get(offset - self.base, 0)

    def value(self, operand):
        """The value of a register, a number or a constant."""
        operand = operand.replace(".reuse", "")
        if operand.startswith("-") and not operand.startswith("-0x"):
            inner = self.value(operand[1:])
            return -inner & WORD if isinstance(inner, int) else UNKNOWN
        if operand.startswith(("!", "~")):
            inner = self.value(operand[1:])
            return (int(not inner) if operand[0] == "!" else ~inner & WORD) if isinstance(inner, int) else UNKNOWN
        if operand in ("RZ", "URZ", "SRZ"):
            return 0
        if operand in ("PT", "UPT"):
            return 1
        if bank := re.match(r"c\[0x0\]\[(0x[0-9a-f]+)\]", operand):
            return self.constant(int(bank.group(1), 16))
        if re.fullmatch(r"-?0x[0-9a-f]+|-?\d+", operand):
            return int(operand, 0) & WORD
        if operand.startswith("SR_"):
            return 0
        return self.registers.get(operand.split(".")[0], 0)

    def address(self, operand):
        """The sum within the brackets. The descriptor before them, the base of all memory, is ignored."""
        total = 0
        for term in re.search(r"\[([^\[\]]*)\]$", operand).group(1).split("+"):
            value = self.value(term.strip())
            if not isinstance(value, int):
                return UNKNOWN
            total += value
        return total & WORD

    def values(self, operand, n):
        """The values of n registers from this one on."""
        operand = operand.replace(".reuse", "")
        if operand in ("RZ", "URZ"):
            return [0] * n
        kind, number = re.match(r"(U?R)(\d+)", operand).groups()
        return [self.registers.get(f"{kind}{int(number) + i}", 0) for i in range(n)]

    def put(self, operand, *values):
        """Writes registers from this one on."""
        if operand in ("RZ", "URZ", "PT", "UPT"):
            return
        kind, number = re.match(r"(U?[RP])(\d+)", operand).groups()
        for i, value in enumerate(values):
            self.registers[f"{kind}{int(number) + i}"] = value

    def execute(self, text):
        called, _, rest = text.partition(" ")
        operands = [part.strip() for part in re.split(r",\s*", rest) if part.strip()]
        first, *suffixes = called.split(".")
        if first in self.OUTSIDE:
            return self.outside(called, first, suffixes, operands)
        simple = first.removeprefix("U")
        if not operands or first in ("NOP", "BSSY", "BSYNC", "BAR", "WARPSYNC", "ERRBAR", "DEPBAR"):
            return
        target, *sources = operands
        if simple in ("LDC", "LDCU"):
            bank = re.search(r"c\[0x0\]\[(?:\w+\+)?(0x[0-9a-f]+)\]", operands[1])
            words = {"64": 2, "128": 4}.get(next((s for s in suffixes if s in ("64", "128")), ""), 1)
            return self.put(target, *(self.constant(int(bank.group(1), 16) + 4 * i) if bank else UNKNOWN for i in range(words)))
        if first == "CS2R":
            return self.put(target, 0, 0)
        if first == "ELECT":
            return self.put(target, 1)
        if simple == "LOP3" and target.startswith(("P", "UP")):
            also, target = target, sources.pop(0)
        else:
            also = None
        # Second results (carries of wide additions) are ignored: no address here needs them.
        if simple in ("ISETP", "PLOP3"):
            sources.pop(0)
        while simple in ("IADD3", "LEA", "IMAD", "VIADD") and re.fullmatch(r"U?P(\d|T)", sources[0]):
            sources.pop(0)
        got = [self.value(s) for s in sources]
        if simple == "MOV" or first in ("S2R", "S2UR", "R2UR"):
            return self.put(target, got[0])
        if simple == "IMAD" and got[:2] == [0, 0]:
            return self.put(target, got[2])
        if not all(isinstance(v, int) for v in got):
            return self.put(target, UNKNOWN)
        results = self.arithmetic(simple, suffixes, got)
        self.put(target, *results)
        if also:
            self.put(also, int(results[0] != 0))

    def arithmetic(self, simple, suffixes, v):
        if simple in ("IADD3", "IADD", "VIADD"):
            return [sum(v) & WORD]
        if simple == "IMAD":
            product = v[0] * v[1] + v[2]
            return [product & WORD, product >> 32 & WORD] if "WIDE" in suffixes else [product & WORD]
        if simple == "LEA":
            return [(v[0] << (v[3] if len(v) > 3 else v[2])) + v[1] & WORD] if "HI" not in suffixes else [UNKNOWN]
        if simple == "SHF":
            low, by, high = v[:3]
            return [low << by & WORD] if "L" in suffixes else [(high if "HI" in suffixes else low) >> by]
        if simple == "LOP3":
            a, b, c, table = v[:4]
            bits = ((a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c) for k in range(8) if table >> k & 1)
            result = 0
            for part in bits:
                result |= part
            return [result & WORD]
        if simple == "PLOP3":
            return [v[3] >> (4 * v[0] + 2 * v[1] + v[2]) & 1]
        if simple == "PRMT":
            joined = v[2] << 32 | v[0]
            return [sum((joined >> 8 * (v[1] >> 4 * i & 7) & 255) << 8 * i for i in range(4))]
        if simple == "SEL":
            return [v[0] if v[2] else v[1]]
        if simple == "ISETP":
            order = {"NE": v[0] != v[1], "EQ": v[0] == v[1], "GT": v[0] > v[1], "GE": v[0] >= v[1], "LT": v[0] < v[1], "LE": v[0] <= v[1]}
            return [int(next(order[s] for s in suffixes if s in order) and v[2])]
        return [UNKNOWN]

    def outside(self, called, first, suffixes, operands):
        """Records the instruction, and the origin of the values that it loads or computes."""
        seen = {"name": called, "operands": operands}
        if first == "LDG":
            seen["address"] = self.address(operands[1])
            self.put(operands[0], ("loaded", seen["address"]))
        elif first == "STG":
            seen["address"], seen["value"] = self.address(operands[0]), self.value(operands[1])
        elif first == "LDGSTS":
            seen["shared"], seen["address"] = self.address(operands[0]), self.address(operands[1])
            seen["copies"] = self.value(operands[2]) if len(operands) > 2 else 1
        elif first == "LDSM":
            seen["address"] = self.address(operands[1])
            self.put(operands[0], *(("matrix", j) for j in range(int(suffixes[-1]))))
        elif first == "HMMA":
            seen["a"], seen["b"], seen["c"] = self.values(operands[1], 4), self.values(operands[2], 2), self.values(operands[3], 4)
            self.put(operands[0], *(("product", i) for i in range(4)))
        elif first == "HGMMA":
            descriptor = re.search(r"gdesc\[(\w+)\](.*)", operands[1])
            a, a_high, b, b_high = self.values(descriptor.group(1), 4)
            seen["a"], seen["b"], seen["flags"] = (a, a_high), (b, b_high), descriptor.group(2)
            seen["c"] = self.values(operands[2], 64)
            self.put(operands[0], *(("product", i) for i in range(64)))
        elif first == "UTMALDG":
            seen["copy"], seen["map"] = (self.values(operand.strip("[]"), n) for operand, n in zip(operands, (6, 2)))
            seen["offsets"] = self.value(operands[2]) if len(operands) > 2 else None
        elif first == "SYNCS":
            seen["address"] = self.address(operands[1])
            seen["value"] = self.values(operands[2], 2) if "EXCH" in suffixes else self.value(operands[2])
            if "TRYWAIT" in suffixes:
                self.put(operands[0], int(self.ended.pop(0)) if self.ended else 1)
        elif first == "F2FP":
            self.put(operands[0], ("packed", called, self.value(operands[1]), self.value(operands[2])))
        self.trace.append(seen)
