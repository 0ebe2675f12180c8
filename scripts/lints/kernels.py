"""Lints of the kernels' machine code: one function each, listed in two tables at the end."""

import re
from types import SimpleNamespace

from .machine_code import Thread, count, main_loop, matches, name
from .probes import K_MAJOR, MN_MAJOR, gmma_descriptor

COLUMNS = ["HMMA", "HGMMA", "LDSM", "LDGSTS.128", "LDG", "STS", "BAR", "SYNCS", "all"]

# With copies by threads: warps of a block, depth of a step. With TMA: depth of a step. Bytes of an element.
WARPS, DEPTH, TMA_DEPTH, BF16 = 4, 32, 64, 2
# The largest code of a kernel, in bytes, that instruction caches hold.
LARGE = 64 << 10


def tensor_core(architecture, kernel, code):
    """What the lints of a tensor-core kernel read; None if the kernel has no products on this GPU."""
    tile, warpgroups = re.search(r"(\d+)x(\d+)", kernel), "_wgmma_" in kernel
    if not tile or architecture == "sm_75" or warpgroups != (architecture == "sm_90a"):
        return None
    loop = main_loop(code)
    counts = {word: count(loop, word) for word in COLUMNS} | {"all": len(loop)}
    rows, columns = map(int, tile.groups())
    return SimpleNamespace(
        architecture=architecture, kernel=kernel, code=code, loop=loop, counts=counts, rows=rows, columns=columns,
        warpgroups=warpgroups, mn_major="wgrad" in kernel, packed="_packed" in kernel,
    )  # fmt: skip


# ---- lints of tensor-core kernels: each returns the fault that it finds, or None


def has_a_loop(k):
    """All products are in one loop."""
    return None if k.loop else "no loop around its products"


def fed_by_ldmatrix(k):
    """Products are fed by ldmatrix or read shared memory themselves; nothing else reads it in the loop."""
    if not k.warpgroups and not k.counts["LDSM"]:
        return "products that LDSM does not feed"
    if count(k.loop, "LDS") or k.warpgroups and k.counts["LDSM"]:
        return "other reads of shared memory"


def copies(k):
    """Copies to shared memory bypass L1, have 16 bytes, and fill in zeros by a predicate. There are as many as each of the 128 threads
    needs for the operands, except for elements that are gathered one by one."""
    if k.warpgroups:
        return "copies by threads, not by TMA" if count(k.code, "LDGSTS") or k.counts["LDG"] or k.counts["STS"] else None
    of = lambda side: (side + 31) // 32
    chunks, singles = of(k.rows) + of(k.columns), 8 * of(k.rows) if k.mn_major else 0
    if k.packed:
        chunks, singles = of(k.rows) if k.mn_major else of(k.columns), None
    made = [text for _, text in k.loop if matches(text, "LDGSTS")]
    if other := [text for text in made if not re.search(r"LDGSTS\.E\.BYPASS\.128 \[.*\], .*\], !?P\d$", text)]:
        return f"a copy other than of 16 bytes bypassing L1, with a predicate: {other[0]}"
    if len(made) != chunks:
        return f"{len(made)} copies of 16 bytes, not {chunks}"
    if singles is not None and not k.counts["LDG"] == k.counts["STS"] == singles:
        return f"{k.counts['LDG']} loads of single elements, not {singles}"


def tma_copies(k):
    """TMA copies boxes of matrices and windows of images with all rows and columns of the tile, K-major 128 at a time, MN-major 64; the
    bytes announced to the barrier are exactly theirs."""
    made = sorted(name(text) for _, text in k.code if matches(text, "UTMALDG"))
    each = 0 if not k.warpgroups else k.columns // TMA_DEPTH if k.mn_major else 1
    if made != ["UTMALDG.2D"] * each + ["UTMALDG.4D.IM2COL"] * each:
        return f"TMA copies {made}"
    if not k.warpgroups:
        return None
    if not k.counts["SYNCS"]:
        return "no barriers for its copies"
    told = [i for i, (_, text) in enumerate(k.code) if re.search(r"SYNCS\.ARRIVE\.TRANS64 ", text)]
    if len(told) != 1:
        return f"{len(told)} announcements of bytes, not 1"
    register = k.code[told[0]][1].split(", ")[-1]
    written = [text for _, text in k.code[: told[0]] if re.search(rf"^\S+ {register}, ", text)][-1:]
    size = (k.rows + k.columns) * TMA_DEPTH * BF16
    if not written or not written[0].endswith(f" {size:#x}"):
        return f"bytes announced by `{''.join(written)}`, not {size:#x}"


def products(k):
    """Products have bf16 operands, f32 accumulators and the one shape that the kernels are written for; enough of them for the tile."""
    wanted = f"HGMMA.64x{k.columns}x16.F32.BF16" if k.warpgroups else "HMMA.16816.F32.BF16"
    if other := [text for _, text in k.code if re.match(r"[A-Z]+MMA\b", name(text)) and name(text) != wanted]:
        return f"a product other than {wanted}: {other[0]}"
    if k.warpgroups and k.counts["HGMMA"] != TMA_DEPTH // 16:
        return f"{k.counts['HGMMA']} products a step, not {TMA_DEPTH // 16}"


def operands(k):
    """MN-major operands (wgrad) are transposed, both of them in every product, others are not. ldmatrix loads four matrices at a time, and
    exactly those that a warp's products need."""
    if k.warpgroups:
        for _, text in k.code:
            if matches(text, "HGMMA") and (".tnspA.tnspB" in text, "tnsp" in text) != (k.mn_major, k.mn_major):
                return f"wrong transposition: {text}"
        return None
    wanted = f"LDSM.16.{'MT88' if k.mn_major else 'M88'}.4"
    if other := [text for _, text in k.code if matches(text, "LDSM") and name(text) != wanted]:
        return f"a read other than {wanted}: {other[0]}"
    # A warp multiplies `down` times 16 rows and `right` times 8 columns.
    shares = [
        (down, right)
        for down in range(1, k.rows // 16 + 1)
        for right in range(2, k.columns // 8 + 1, 2)
        if k.rows % (16 * down) == k.columns % (8 * right) == 0 and k.rows // (16 * down) * (k.columns // (8 * right)) == WARPS
    ]
    slices = DEPTH // 16
    if (k.counts["HMMA"], k.counts["LDSM"]) not in {(slices * d * r, slices * (d + r // 2)) for d, r in shares}:
        return f"{k.counts['LDSM']} reads for {k.counts['HMMA']} products fit no division of the tile among {WARPS} warps"


def sums_in_flight(k):
    """Between the first WGMMA and the wait for all of them no other instruction names a register of the accumulators."""
    if not k.warpgroups:
        return None
    first = next(at for at, text in k.loop if matches(text, "HGMMA"))
    waits = [at for at, text in k.code if at > first and re.fullmatch(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x0", text)]
    if not waits:
        return "no wait for all products"
    sums = {re.search(r"HGMMA\S* R(\d+)", text).group(1) for _, text in k.loop if matches(text, "HGMMA")}
    if len(sums) != 1:
        return "products that add to different registers"
    start = int(sums.pop())
    registers = range(start, start + k.columns // 2)
    for at, text in k.code:
        if first < at < waits[0] and not matches(text, "HGMMA"):
            if used := [r for r in re.findall(r"\bR(\d+)", text) if int(r) in registers]:
                return f"R{used[0]}, an accumulator, is accessed while products are in flight: {text}"


def descriptors(k):
    """Descriptors are those of CUTLASS's rules, and their start addresses are right: operand b follows operand a; 16 depths further on is
    further along the swizzled row (K-major), or 16 rows further down (MN-major)."""
    if not k.warpgroups:
        return None
    layout = MN_MAJOR(TMA_DEPTH) if k.mn_major else K_MAJOR
    step = 16 * TMA_DEPTH * BF16 if k.mn_major else 16 * BF16
    fixed = gmma_descriptor(0, **layout)
    # Registers start as 0: thread 0, and an arbitrary start address.
    made = [s for s in Thread(k.architecture).run(k.loop).trace if matches(s["name"], "HGMMA")]
    start = None
    for i, product in enumerate(made):
        for operand, behind in (("a", 0), ("b", k.rows * TMA_DEPTH * BF16)):
            low, high = product[operand]
            if not isinstance(low, int) or not isinstance(high, int):
                return f"the descriptor of {operand} cannot be computed"
            descriptor, place = high << 32 | low, (low & 0x3FFF) << 4
            if descriptor & ~0x3FFF != fixed:
                return f"a descriptor {descriptor & ~0x3FFF:#x}, not {fixed:#x}"
            start = place if start is None else start
            if place != start + behind + i * step:
                return f"operand {operand} of product {i} starts {place - start} bytes behind the first, not {behind + i * step}"


def no_local_memory(k):
    """Nothing is spilled to local memory."""
    return "local memory" if count(k.code, "LDL") or count(k.code, "STL") else None


# ---- lints of every kernel


def not_early(architecture, code):
    """Global memory is not accessed before the previous kernels have ended (PDL)."""
    words = [name(text).split(".")[0] for _, text in code]
    waits = words.index("ACQBULK") if "ACQBULK" in words else len(words)
    if any(word in ("LDG", "STG", "LDGSTS", "UTMALDG", "ATOMG", "RED", "REDG", "LD", "ST") for word in words[:waits]):
        return "accesses memory before the previous kernels have ended"


def waits_once(architecture, code):
    """A kernel waits for the previous ones once, and lets the next one begin once; a kernel that is not for this GPU only traps."""
    if count(code, "BPT.TRAP"):
        return None
    for word in ("ACQBULK", "PREEXIT"):
        if (n := count(code, word)) != 1:
            return f"{n} instructions {word}, not 1"


def rounds_to_bf16(architecture, code):
    """Floats are converted to bf16 by the instruction that rounds to nearest even, and no other."""
    for _, text in code:
        if re.match(r"F2FP?\..*BF16", name(text)) and not re.fullmatch(r"F2FP\.BF16(\.F32)?\.PACK_AB", name(text)):
            return f"another conversion: {text}"


TENSOR_CORE = [
    has_a_loop, fed_by_ldmatrix, copies, tma_copies, products, operands, sums_in_flight, descriptors, no_local_memory,
]  # fmt: skip
EVERY = [not_early, waits_once, rounds_to_bf16]


def tensor_core_faults(k):
    """(lint, fault)."""
    for lint in TENSOR_CORE:
        if (k.loop or lint is has_a_loop) and (fault := lint(k)):
            yield lint.__name__, f"{k.kernel} on {k.architecture}: {fault}"


def every_faults(architecture, kernel, code):
    """(lint, fault), on GPUs with PDL."""
    for lint in EVERY:
        if fault := lint(architecture, code):
            yield lint.__name__, f"{kernel} on {architecture}: {fault}"


def size_faults(sizes, exceptions):
    """Kernels whose code is too large or smaller than listed. `sizes`: kernel -> bytes, the largest of all architectures; `exceptions`: the
    list."""
    for kernel, size in sorted(sizes.items()):
        if kernel not in exceptions and size > LARGE:
            yield f"{kernel}: {size} bytes of code, more than {LARGE}"
        elif kernel in exceptions and size > exceptions[kernel]:
            yield f"{kernel}: {size} bytes of code, more than the {exceptions[kernel]} of the list"
        elif kernel in exceptions and size < exceptions[kernel]:
            yield f"{kernel}: {size} bytes of code: " + ("write that into the list" if size > LARGE else "take it off the list")
    for kernel in sorted(exceptions.keys() - sizes.keys()):
        yield f"there is no kernel {kernel}: take it off the list"
