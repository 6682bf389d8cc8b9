r"""The program of the example image: machine code as a listing, and the ELF file around it.

It needs no compiler and no C library, so the same bytes come out on every machine. It does this::

    write(1, the file /etc/greeting)
    for each argument: write(1, " "), write(1, argument)
    write(1, "!\n")
    exit(0)

A line of a listing is ``label: code | assembly``. Code is hex: bytes as they stand in memory for x86-64, 32-bit words
for AArch64. ``kind:label`` behind it puts the distance to a label into the instruction.
"""

from __future__ import annotations

import struct

AMD64 = """
start:  58                  | pop rax                 # argc
        58                  | pop rax                 # argv[0]
        48 89 e5            | mov rbp,rsp             # argv[1], ..., 0
        48 81 ec 00 01 00 00 | sub rsp,0x100
        b8 02 00 00 00      | mov eax,0x2             # open(
        48 8d 3d rel32:path | lea rdi,path            #   "/etc/greeting",
        31 f6               | xor esi,esi             #   O_RDONLY)
        0f 05               | syscall
        89 c7               | mov edi,eax             # read(it,
        31 c0               | xor eax,eax
        48 89 e6            | mov rsi,rsp             #   the room on the stack,
        ba 00 01 00 00      | mov edx,0x100           #   256)
        0f 05               | syscall
        48 63 d0            | movsxd rdx,eax          # what was read
        e8 rel32:write      | call write
next:   48 8b 5d 00         | mov rbx,[rbp+0x0]       # an argument
        48 85 db            | test rbx,rbx
        74 rel8:end         | je end
        48 83 c5 08         | add rbp,0x8
        48 8d 35 rel32:blank | lea rsi,blank
        ba 01 00 00 00      | mov edx,0x1
        e8 rel32:write      | call write
        31 d2               | xor edx,edx             # its length
count:  80 3c 13 00         | cmp [rbx+rdx*1],0x0
        74 rel8:found       | je found
        ff c2               | inc edx
        eb rel8:count       | jmp count
found:  48 89 de            | mov rsi,rbx
        e8 rel32:write      | call write
        eb rel8:next        | jmp next
end:    48 8d 35 rel32:tail | lea rsi,tail
        ba 02 00 00 00      | mov edx,0x2
        e8 rel32:write      | call write
        b8 3c 00 00 00      | mov eax,0x3c            # exit(
        31 ff               | xor edi,edi             #   0)
        0f 05               | syscall
write:  b8 01 00 00 00      | mov eax,0x1             # write(
        bf 01 00 00 00      | mov edi,0x1             #   standard output, rsi, edx)
        0f 05               | syscall
        c3                  | ret
"""

ARM64 = """
start:  910043f3            | add x19, sp, #16        // argv[1], ..., 0
        d10403ff            | sub sp, sp, #256
        92800c60            | mov x0, #-100           // openat(AT_FDCWD,
        10000001 adr:path   | adr x1, path            //   "/etc/greeting",
        d2800002            | mov x2, #0              //   O_RDONLY)
        d2800708            | mov x8, #56
        d4000001            | svc #0
        910003e1            | mov x1, sp              // read(it, the room on the stack,
        d2802002            | mov x2, #256            //   256)
        d28007e8            | mov x8, #63
        d4000001            | svc #0
        aa0003e2            | mov x2, x0              // write(1, what was read)
        d2800808            | mov x8, #64             // and from here on write only
        d2800020            | mov x0, #1
        d4000001            | svc #0
next:   f8408674            | ldr x20, [x19], #8      // an argument
        b4000014 cbz:end    | cbz x20, end
        d2800020            | mov x0, #1
        10000001 adr:blank  | adr x1, blank
        d2800022            | mov x2, #1
        d4000001            | svc #0
        d2800002            | mov x2, #0              // its length
count:  38626a83            | ldrb w3, [x20, x2]
        34000003 cbz:found  | cbz w3, found
        91000442            | add x2, x2, #1
        14000000 b:count    | b count
found:  aa1403e1            | mov x1, x20
        d2800020            | mov x0, #1
        d4000001            | svc #0
        14000000 b:next     | b next
end:    d2800020            | mov x0, #1
        10000001 adr:tail   | adr x1, tail
        d2800042            | mov x2, #2
        d4000001            | svc #0
        d2800000            | mov x0, #0              // exit(0)
        d2800ba8            | mov x8, #93
        d4000001            | svc #0
"""

DATA = {"path": b"/etc/greeting\0", "blank": b" ", "tail": b"!\n"}
LISTINGS = {"amd64": AMD64, "arm64": ARM64}
MACHINES = {"amd64": 62, "arm64": 183}
"""EM_X86_64 and EM_AARCH64 (System V ABI, ELF header, e_machine)."""

ORIGIN = 0x400000
HEADERS = 64 + 2 * 56
SIZES = {"rel8": 1, "rel32": 4, "adr": 0, "cbz": 0, "b": 0}


def build(architecture: str) -> bytes:
    """Return the program as a static ELF file."""
    code = assemble(LISTINGS[architecture]) + b"".join(DATA.values())
    size = HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, MACHINES[architecture], 1, ORIGIN + HEADERS, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, ORIGIN, ORIGIN, size, size, 0x10000)
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return header + load + stack + code


def assemble(listing: str) -> bytes:
    """Return the code of a listing with all distances filled in; the data is to follow it directly."""
    code = bytearray()
    labels: dict[str, int] = {}
    gaps: list[tuple[int, str, str]] = []
    for line in listing.strip().splitlines():
        label, _, rest = line.partition("|")[0].rpartition(": ")
        if label:
            labels[label.strip()] = len(code)
        for token in rest.split():
            kind, _, target = token.partition(":")
            if target:
                gaps.append((len(code), kind, target))
                code += bytes(SIZES[kind])
            else:
                code += bytes.fromhex(token)[::-1]
    place = len(code)
    for name, data in DATA.items():
        labels[name] = place
        place += len(data)
    for place, kind, target in gaps:
        fill(code, place, kind, labels[target])
    return bytes(code)


def fill(code: bytearray, place: int, kind: str, target: int) -> None:
    """Put the distance to ``target`` into the instruction before ``place`` (AArch64) or at it (x86-64)."""
    size = SIZES[kind]
    if size:
        code[place : place + size] = (target - place - size).to_bytes(size, "little", signed=True)
        return
    distance = target - (place - 4)
    word = int.from_bytes(code[place - 4 : place], "little")
    if kind == "adr":
        word |= (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5
    elif kind == "cbz":
        word |= (distance >> 2 & 0x7FFFF) << 5
    else:
        word |= distance >> 2 & 0x3FFFFFF
    code[place - 4 : place] = word.to_bytes(4, "little")
