"""Lints of probes.cu's machine code: each function of inline PTX has the right instruction, with the right operands.

The expected values are taken from the PTX manual's and CUTLASS's definitions, none of them from kernels/.
"""

from .machine_code import SHARED, Thread, generation

# On sm_90, relative to the start of the parameters at 0x210: a tensor map that is the first parameter, and the constant with the address of
# the parameters in memory.
MAP, TELLS = 0x280 - 0x210, 0x198 - 0x210
# The values of the probes' pointers, and the address of their parameters: far apart, so that a sum shows which of them it contains.
IN, MORE, OUT, LIE = 0x10000000, 0x20000000, 0x30000000, 0x40000000
LOADED = lambda pointer, i: ("loaded", pointer + 4 * i)


def gmma_descriptor(start, leading, stride, swizzled=1):
    """The descriptor of an operand in shared memory, with the fields of cute::SM90::GMMA::GmmaDescriptor: start address in bits 0-13, leading
    dimension's byte offset in 16-29, stride dimension's in 32-45, all in units of 16 bytes, base offset 0 in 49-51, layout type in 62-63
    (1: B128, swizzled within 128 bytes)."""
    return (start >> 4 & 0x3FFF) | (leading >> 4) << 16 | (stride >> 4) << 32 | swizzled << 62


# B128 canonical layouts of bf16: rows of 128 bytes in groups of eight. K-major: a group is 8 rows of the product, the stride is the distance
# to the next group; the leading offset is not used, CUTLASS writes 1 unit. MN-major: a group is 8 depths of 64 rows of the product, the
# stride is the distance to the next 8 depths, the leading offset that to the next 64 rows.
ROW_BYTES, GROUP = 128, 8
K_MAJOR = {"leading": 16, "stride": GROUP * ROW_BYTES}
MN_MAJOR = lambda depth: {"leading": depth * ROW_BYTES, "stride": GROUP * ROW_BYTES}


def words(*values):
    """Parameters of a kernel, 4 bytes each; a pointer is two."""
    return {4 * i: value for i, value in enumerate(values)}


def behind_map(*values):
    """Parameters after a tensor map of 128 bytes, which starts at a multiple of 64."""
    return {TELLS: LIE} | {MAP + 128 + at: value for at, value in words(*values).items()}


def only(thread, first):
    """The one instruction of this name that was executed; a fault where there are more or none."""
    found = [seen for seen in thread.trace if seen["name"].split(".")[0] == first]
    assert len(found) == 1, f"{len(found)} instructions {first} instead of one"
    return found[0]


def wanted(what, got, expected):
    show = lambda value: hex(value) if isinstance(value, int) else repr(value)
    assert got == expected, f"{what} is {show(got)}, not {show(expected)}"


def stored(thread):
    """Address -> what was stored there."""
    return {seen["address"]: seen["value"] for seen in thread.trace if seen["name"].startswith("STG")}


def conversion(arch, code, high):
    """cvt: the second input is the upper half; rounded to nearest even."""
    thread = Thread(arch, words(IN, 0, OUT, 0)).run(code)
    _, called, *inputs = stored(thread)[OUT]
    wanted("the conversion", set(called.split(".")) - {"F32"}, {"F2FP", "BF16", "PACK_AB"})
    wanted("its upper and lower input", inputs, [high, LOADED(IN, 0)])


def to_bf16(arch, code):
    conversion(arch, code, 0)


def pack_bf16(arch, code):
    conversion(arch, code, LOADED(IN, 1))


def cp_async(arch, code):
    """cp.async: size, cache and direction. Of 16 bytes `bytes` are copied and the rest is zeroed; the machine code adds the number of missing
    bytes to the address."""
    for given in (16, 8, 1, 0):
        seen = only(Thread(arch, words(IN, 0, given)).run(code), "LDGSTS")
        suffixes = seen["name"].split(".")
        wanted("a copy of 16 bytes", "128" in suffixes, True)
        wanted("whether the copy bypasses L1", "BYPASS" in suffixes, True)
        wanted("zeros behind the bytes", "ZFILL" in suffixes, True)
        wanted("the place in shared memory", seen["shared"], SHARED(arch) + 0x100)
        wanted(f"whether {given} bytes are copied", seen["copies"], int(given > 0))
        wanted(f"the place of {given} bytes", seen["address"], IN + (16 - given) % 16)


def cp_async_valid(arch, code):
    """cp.async with a flag: copies all bytes if it is set, else writes zeros."""
    for valid in (0, 1):
        seen = only(Thread(arch, words(IN, 0, valid)).run(code), "LDGSTS")
        wanted("whether it copies", seen["copies"], valid)
        if valid:
            wanted("the place of all 16 bytes", seen["address"], IN)


def cp_async_groups(arch, code):
    """A group is committed after its copy, and the wait leaves the given number of groups in flight."""
    thread = Thread(arch, words(IN, 0)).run(code)
    wanted("the order", [seen["name"].split(".")[0] for seen in thread.trace], ["LDGSTS", "LDGDEPBAR", "DEPBAR"])
    wanted("the groups left", thread.trace[2]["operands"], ["SB0", "0x5"])


def ldmatrix(matrices, transposed):
    """ldmatrix: the number of matrices, transposed or not, in order."""

    def lint(arch, code):
        thread = Thread(arch, words(OUT, 0)).run(code)
        seen = only(thread, "LDSM")
        wanted("the form", seen["name"], f"LDSM.16.{'MT88' if transposed else 'M88'}.{matrices}")
        wanted("the address", seen["address"], SHARED(arch) + 0x100)
        wanted("the matrices", stored(thread), {OUT + 4 * i: ("matrix", i) for i in range(matrices)})

    return lint


def mma(arch, code):
    """mma, d += a b: the shape, the types, and the order of each operand's registers."""
    thread = Thread(arch, words(IN, 0, MORE, 0, OUT, 0)).run(code)
    seen = only(thread, "HMMA")
    wanted("the form", seen["name"], "HMMA.16816.F32.BF16")
    for operand, pointer, n in (("a", IN, 4), ("b", MORE, 2), ("c", OUT, 4)):
        wanted(f"operand {operand}", seen[operand], [LOADED(pointer, i) for i in range(n)])
    wanted("the sums", stored(thread), {OUT + 4 * i: ("product", i) for i in range(4)})


def wgmma(mn_major):
    """wgmma, d += a b: shape and types, transposition, descriptors, the order of the accumulators, signs, and the groups waited for."""

    def lint(arch, code):
        thread = Thread(arch, words(OUT, 0)).run(code)
        seen = only(thread, "HGMMA")
        wanted("the form", seen["name"], "HGMMA.64x128x16.F32.BF16")
        wanted("the flags", seen["flags"], ".tnspA.tnspB" if mn_major else "")
        layout = MN_MAJOR(64) if mn_major else K_MAJOR
        for operand, place in (("a", 0x4000), ("b", 0x24000)):  # beyond 128 KiB, for the highest bit of a place
            low, high = seen[operand]
            wanted(f"the descriptor of {operand}", high << 32 | low, gmma_descriptor(SHARED(arch) + place, **layout))
        # A product that overwrites d instead of adding to it has a predicate as a further operand.
        wanted("what follows the sums", seen["operands"][3:], ["gsb0"])
        wanted("the sums before", seen["c"], [LOADED(OUT, i) for i in range(64)])
        wanted("the sums after", stored(thread), {OUT + 4 * i: ("product", i) for i in range(64)})
        order = [" ".join([seen["name"], *seen["operands"]]) for seen in thread.trace if seen["name"].startswith("WARPGROUP")]
        wanted("fence and waits", order, ["WARPGROUP.ARRIVE", "WARPGROUP.DEPBAR.LE gsb0 0x5", "WARPGROUP.DEPBAR.LE gsb0 0x0"])

    return lint


def mbarrier(arch, code):
    """mbarriers: each operation with its barrier and its count, bytes or parity; the wait polls until the phase has ended. The fence after the
    initialisation becomes a NOP."""
    texts = [text.split()[0] for _, text in code]
    made, arrives = texts.index("SYNCS.EXCH.64"), texts.index("SYNCS.ARRIVE.TRANS64.A1T0")
    wanted("the fence behind the making", "NOP" in texts[made:arrives], True)
    arrivals, size, parity = 5, 0x1230, 1
    for answers in ([True], [False, False, True]):
        thread = Thread(arch, words(arrivals, size, parity), answers).run(code)
        seen = [(s["name"], s["address"] - SHARED(arch), s["value"]) for s in thread.trace if s["name"].startswith("SYNCS")]
        # A barrier counts up from 2^20 - arrivals: pending in the lower word from bit 1, expected in the upper one from bit 11.
        left = (1 << 20) - arrivals
        ask = ("SYNCS.PHASECHK.TRANS64.TRYWAIT", 8 * 35, parity << 31)
        expected = [("SYNCS.EXCH.64", 8 * 32, [left << 1, left << 11]), ("SYNCS.ARRIVE.TRANS64.A1T0", 8 * 33, 0),
                    ("SYNCS.ARRIVE.TRANS64", 8 * 34, size)] + [ask] * len(answers)
        for got, want in zip(seen + [None] * len(expected), expected):
            wanted("a barrier's use", got, want)
        wanted("the number of uses", len(seen), len(expected))


def tma_rows(arch, code):
    """TMA copy of a box of a matrix: map, address, barrier, column, row."""
    x, y = 0x111, 0x222
    seen = only(Thread(arch, behind_map(x, y)).run(code), "UTMALDG")
    wanted("the form", seen["name"], "UTMALDG.2D")
    wanted("the map", seen["map"], [LIE + MAP, 0])
    wanted("place, barrier, column, row", seen["copy"][:4], [SHARED(arch) + 0x400, SHARED(arch) + 0x100, x, y])


def tma_windows(arch, code):
    """TMA copy of pixels of windows: map, address, barrier, channel, column, row, image, and the tap's offsets, column first."""
    at, (s, r) = [0x111, 0x222, 0x333, 0x444], (0x5, 0x6)
    seen = only(Thread(arch, behind_map(*at, s, r)).run(code), "UTMALDG")
    wanted("the form", seen["name"], "UTMALDG.4D.IM2COL")
    wanted("the map", seen["map"], [LIE + MAP, 0])
    wanted("place, barrier, channel, column, row, image", seen["copy"], [SHARED(arch) + 0x400, SHARED(arch) + 0x100, *at])
    wanted("the tap's offsets", seen["offsets"], s | r << 8)


def kernels_before(arch, code):
    """PDL: before its first access the kernel waits for the previous ones and lets the next one begin."""
    names = [seen["name"].split(".")[0] for seen in Thread(arch, words(IN, 0, OUT, 0)).run(code).trace]
    wanted("the order", names, ["PREEXIT", "ACQBULK", "LDG", "STG"] if generation(arch) >= 90 else ["LDG", "STG"])


LINTS = {
    "to_bf16": to_bf16,
    "pack_bf16": pack_bf16,
    "cp_async16": cp_async,
    "cp_async16_valid": cp_async_valid,
    "cp_async_groups": cp_async_groups,
    "ldmatrix_x2": ldmatrix(2, False),
    "ldmatrix_x2_trans": ldmatrix(2, True),
    "ldmatrix_x4": ldmatrix(4, False),
    "ldmatrix_x4_trans": ldmatrix(4, True),
    "mma": mma,
    "wgmma_k_major": wgmma(False),
    "wgmma_mn_major": wgmma(True),
    "mbarrier": mbarrier,
    "tma_rows": tma_rows,
    "tma_windows": tma_windows,
    "kernels_before": kernels_before,
}


def faults(found):
    """The faults of an image of probes.cu: (lint, fault)."""
    for (architecture, kernel), code in found.items():
        lint = kernel.removeprefix("probe_")
        try:
            LINTS[lint](architecture, code)
        except (AssertionError, RuntimeError, KeyError, ValueError) as fault:
            yield lint, f"{lint} on {architecture}: {fault}"
