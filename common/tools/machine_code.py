"""Machine code in the files that nvcc makes."""

import struct


def code_sections(elf):
    """The bytes of every `.text.<kernel>` of a 64-bit ELF file."""
    table, = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3a)
    # Of a section header: name, type, flags, address, offset, size.
    sections = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    names = sections[names_index][4]
    code = {}
    for section in sections:
        start = names + section[0]
        name = elf[start:elf.index(b"\0", start)].decode()
        if name.startswith(".text."):
            code[name[len(".text."):]] = elf[section[4]:section[4] + section[5]]
    return code
