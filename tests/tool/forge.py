# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings and packs that a stranger could have made.

docs/replay.txt, section 6, describes the format of a recording.
"""

import hashlib
import json
import struct
import uuid
import warnings
import zipfile

UUID = uuid.UUID('12345678-9abc-def0-1234-56789abcdef0')
CRC32C_POLYNOMIAL = 0x82f63b78
KEY_MAX_BYTES = 4096


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC32C_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xffffffff


def varint(number):
    out = b''
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def escaped(argument):
    """An argument as a description has it."""
    return ''.join(char if char.isprintable() and char != '\\' else
                   ''.join(f'\\x{byte:02x}' for byte in char.encode())
                   for char in argument)


def command(argv):
    """The pairs of a description that say how QEMU was called."""
    pairs = {}
    for number, argument in enumerate(argv):
        text = escaped(argument)
        pieces = [text[at:at + KEY_MAX_BYTES]
                  for at in range(0, len(text), KEY_MAX_BYTES)] or ['']
        for piece, part in enumerate(pieces):
            key = f'info.argv.{number}' + (f'.{piece}' if piece else '')
            pairs[key] = part
    return pairs


def chunk(kind, number, payload):
    """A chunk before which there are no instructions, events and packets."""
    header = struct.pack('<HHIIIQQQ4sI', kind, 0, number, len(payload),
                         len(payload), 0, 0, 0, UUID.bytes[:4],
                         crc32c(payload))
    return header + struct.pack('<I', crc32c(header)) + payload


def recording(pairs, events=b''):
    """The bytes of a recording that has a description, and is cut behind it or
    behind one chunk of events.
    """
    payload = b''.join(varint(len(text.encode())) + text.encode()
                       for pair in pairs.items() for text in pair)
    header = struct.pack('<8sII16sI', b'\x89QRR\r\n\x1a\n', 1, 0, UUID.bytes, 0)
    header += struct.pack('<I', crc32c(header))
    return header + chunk(1, 0, payload) + (events and chunk(2, 1, events))


def with_other_end(data, change):
    """A complete recording whose end chunk has another payload: what
    change(payload) returns, of the same length.
    """
    at = int.from_bytes(data[-8:], 'little')
    payload = change(data[at + 52:])
    header = data[at:at + 44] + struct.pack('<I', crc32c(payload))
    return data[:at] + header + struct.pack('<I', crc32c(header)) + payload


def entry(name, content, **more):
    """What a manifest says about a file."""
    return {'name': name, 'role': 'file', 'path': name, 'bytes': len(content),
            'sha256': hashlib.sha256(content).hexdigest(), **more}


def manifest(files, **more):
    return {'format': 'qemu-replay-pack', 'version': 1, 'qemu': '7.2',
            'uuid': str(UUID), 'command': [], 'files': files, **more}


def write_pack(path, entries):
    """Write the file @path with these entries: (name or ZipInfo, bytes)."""
    with warnings.catch_warnings(), \
            zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as pack:
        warnings.simplefilter('ignore')     # two entries of one name
        for name, content in entries:
            if isinstance(content, dict):
                content = json.dumps(content).encode()
            pack.writestr(name, content)
    return path


def pack_of(path, argv, files=(), pairs=(), **more):
    """Write a pack whose manifest is as it should be.

    @files: (name, bytes, further keys of the manifest) of each file
    """
    record = recording({'qemu': '7.2', 'info.qemu': '7.2',
                        'icount.shift': 'auto', **dict(pairs),
                        **command(argv)})
    files = [('recording.rr', record, {'role': 'recording'}), *files]
    return write_pack(path, [
        ('manifest.json', manifest([entry(name, content, **keys)
                                    for name, content, keys in files],
                                   **more)),
        *((name, content) for name, content, keys in files
          if not keys.get('left-out'))])


def qcow2(backing='', features=0, backing_format='raw'):
    """The header of an image; it has no data."""
    name = backing.encode()
    extension = struct.pack('>II8s', 0xe2792aca, len(backing_format),
                            backing_format.encode()) if backing else b''
    at = 104 + len(extension) + 8
    header = struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3,
                         at if name else 0, len(name), 16, 1 << 20, 0, 1,
                         0x30000, 0x10000, 1, 0, 0, features, 0, 0, 4, 104)
    return header + extension + bytes(8) + name
