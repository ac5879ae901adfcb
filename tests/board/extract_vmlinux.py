#!/usr/bin/env python3
"""extract_vmlinux.py BZIMAGE OUT: take the uncompressed x86-64 kernel out of Debian's bzImage.

QEMU boots an ELF kernel directly (PVH), without firmware and without the slow self-extraction under emulation.
"""
import lzma
import struct
import subprocess
import sys
import zlib


def main(source: str, target: str) -> None:
    image = open(source, "rb").read()
    setup_sectors = image[0x1F1] or 4
    # Linux x86 boot protocol 2.08: payload_offset and payload_length, from the start of the protected-mode code.
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ"):
        kernel = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        # The last four bytes are the size that the kernel's build appends, not zstd's.
        kernel = subprocess.run(["zstd", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
    elif payload.startswith(b"\x1f\x8b"):
        kernel = zlib.decompressobj(31).decompress(payload)
    else:
        sys.exit(f"{source}: the kernel's compression is not supported: {payload[:4].hex()}")
    with open(target, "wb") as out:
        out.write(kernel)


if __name__ == "__main__":
    main(*sys.argv[1:])
