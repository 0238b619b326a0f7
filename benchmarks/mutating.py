"""Ways in which files go wrong: by chance, by being cut, and by somebody who knows their format.

Each is a function of a random number generator and the content, and returns other content.
"""

import gzip
import io
import json
import math
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import yaml

Mutation = Callable[[random.Random, bytes], bytes]
_LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)


def _values(chance: random.Random) -> Any:
    """Return something that stands in nobody's file at this place."""
    deep: Any = 0
    for _ in range(chance.choice((3, 30, 300))):
        deep = [deep]
    odd: tuple[Any, ...] = (
        *(None, "", 0, -1, 1.5, True, 10**9, 10**12, -(10**30), [], {}, math.nan, math.inf, "x" * 10**5, deep, "abc"),
        *([1, 2, 3], {"_target_": "darkroom.models.gan.Gan"}, "${oc.env:HOME}", "\ud7ff", "-", [None]),
    )
    return chance.choice(odd)


def _anywhere(chance: random.Random, content: Any) -> None:
    """Take a part of nested containers away, put something else in its place, or add something."""
    places: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting:
        value = waiting.pop()
        keys = list(value) if isinstance(value, dict) else list(range(min(len(value), 50)))
        places += [(value, key) for key in keys]
        waiting += [value[key] for key in keys if isinstance(value[key], dict | list)]
    if not places:
        return
    holder, key = chance.choice(places)
    action = chance.random()
    if action < 0.3:
        del holder[key]
    elif action < 0.9:
        holder[key] = _values(chance)
    elif isinstance(holder, dict):
        holder["unknown"] = holder[key]
    else:
        holder.append(holder[key])


# --- of any file


def flipped(chance: random.Random, content: bytes) -> bytes:
    """Turn a few bits over."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def headed(chance: random.Random, content: bytes) -> bytes:
    """Turn a few bits over near the beginning, where formats say what follows."""
    return flipped(chance, content[:256]) + content[256:]


def cut(chance: random.Random, content: bytes) -> bytes:
    """Lose the end."""
    return content[: chance.choice((0, 1, 7, len(content) // 2, len(content) - 1, chance.randrange(len(content) + 1)))]


def inserted(chance: random.Random, content: bytes) -> bytes:
    """Gain bytes somewhere: random ones, zeros, or a piece of itself."""
    place, size = chance.randrange(len(content) + 1), chance.choice((1, 4, 100, 4096))
    more = chance.choice((chance.randbytes(size), bytes(size), content[place : place + size]))
    return content[:place] + more + content[place:]


def forged(chance: random.Random, content: bytes) -> bytes:
    """Say another length, in four or eight bytes of either order, where one may stand."""
    width, order = chance.choice(("I", "Q")), chance.choice("<>")
    number = struct.pack(f"{order}{width}", chance.choice(_LENGTHS) & (2 ** (32 if width == "I" else 64) - 1))
    place = chance.randrange(min(len(content), chance.choice((64, 4096, 2**30))) + 1)
    return content[:place] + number + content[place + len(number) :]


def another(chance: random.Random, content: bytes) -> bytes:
    """Be something else."""
    return chance.choice((b"", b"\0" * 1000, b"\xff\xfe\x00a", chance.randbytes(500), b"PK\x05\x06" + bytes(18),
                          b"\x89PNG\r\n\x1a\n", b"GIF89a", b"{}", b"[]", b"null", b"\x1f\x8b\x08\x00"))  # fmt: skip


CHANCE = (flipped, headed, cut, inserted, forged, another)


# --- of texts


def of_json(chance: random.Random, content: bytes) -> bytes:
    """Change what a JSON file says."""
    parsed = json.loads(content)
    for _ in range(chance.choice((1, 1, 1, 3))):
        _anywhere(chance, parsed)
    return json.dumps(parsed).encode()


def of_yaml(chance: random.Random, content: bytes) -> bytes:
    """Change what a YAML file says, or how: a few lines that expand to millions, brackets, tags."""
    if chance.random() < 0.6:
        parsed = yaml.safe_load(content)
        for _ in range(chance.choice((1, 1, 3))):
            _anywhere(chance, parsed)
        header = content[: content.find(b"\n") + 1] * content.startswith(b"#")
        return header + str(yaml.safe_dump(parsed)).encode()
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8)
    )
    lines = (laughs, "a: " + "[" * 300 + "]" * 300, "a: " + "{b: " * 500, "a: &a [*a]", "a: !!python/name:os.system ",
             "a: *nowhere", "seed: " + "9" * 5000, "a: b: c", "\tseed: 1", "? [1, 2]\n: 3", "seed: !!int x",
             "defaults: 3", "seed: 2001-99-99", "- 1", "<<: 3", "'seed: 1", "a: \x07", "seed: !!binary '*'",
             "\n".join("  " * n + "a:" for n in range(300)))  # fmt: skip
    return content + f"\n{chance.choice(lines)}\n".encode()


def of_csv(chance: random.Random, content: bytes) -> bytes:
    """Change a cell, a column, a quote or the encoding of a table."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = chance.choice(rows)
    place = chance.randrange(len(row))
    row[place] = chance.choice(
        ("", '"', "²", "-1", "9" * 6000, "\0", "x" * 200_000, "a,b", "../../x", "nan", "é", "\r")
    )
    if chance.random() < 0.3:
        del row[place]
    text = "\n".join(",".join(cells) for cells in rows)
    return text.encode(chance.choice(("utf-8", "utf-8-sig", "utf-16", "latin-1")), errors="replace")


def of_words(chance: random.Random, content: bytes) -> bytes:
    """Change a setting that is typed."""
    key, _, value = content.decode().partition("=")
    bomb = "[" * chance.choice((10, 200)) + "1"
    odd = (
        *("", "null", "[]", "{}", "-1", "0", "1e400", "nan", "9" * 5000, "x" * 60_000, "[1,2", "{a:1}", "${seed}", "'"),
        *("é", "${oc.env:NOPE}", "1,2", "!", bomb, f"[{','.join('1' * 5000)}]", "true", "choice(1,2)", "glob(*)"),
    )
    lines = (
        *(f"{key}={chance.choice(odd)}", f"{key}{chance.choice('=+~@.[')}{value}", f"+{key}.x={value}"),
        *(f"~{key}", key, f"{key}.{key}={value}", f"++{key}={chance.choice(odd)}"),
    )
    return chance.choice(lines).encode()


# --- of archives and tensors


def of_checkpoint(chance: random.Random, content: bytes) -> bytes:
    """Change what a checkpoint holds: its description, its weights, its state of training."""
    checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    kind = chance.random()
    weights = checkpoint["state_dict"]
    name = chance.choice(list(weights))
    if kind < 0.6:
        _anywhere(chance, checkpoint["darkroom"] if kind < 0.35 else checkpoint)
    elif kind < 0.75:
        weights[name] = chance.choice(
            (weights[name].float() * math.nan, weights[name].float() / 0, torch.zeros(3, 5), weights[name][None], None,
             torch.zeros(1).expand(10**6, 10**6), weights[name].to(torch.complex64))
        )  # fmt: skip
    elif kind < 0.85:
        _anywhere(chance, checkpoint["callbacks"] if chance.random() < 0.5 else checkpoint["loops"])
    elif kind < 0.95:
        _anywhere(chance, checkpoint["optimizer_states"])
    else:
        checkpoint["darkroom"] = {"config": {"model": {"_target_": "os.system"}}}
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def repacked(chance: random.Random, content: bytes) -> bytes:
    """Change one file of an archive, with a checksum that is right; or pack, double, or drop it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    number = chance.randrange(len(parts)) if chance.random() < 0.5 else 0
    name, inside = parts[number]
    action = chance.random()
    if action < 0.7:
        parts[number] = (name, chance.choice((flipped, cut, inserted, forged))(chance, inside))
    elif action < 0.8:
        del parts[number]
    elif action < 0.9:
        parts.append(chance.choice(parts))
    else:
        parts[number] = (name, inside + bytes(2**20))
    buffer = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, inside in parts:
            archive.writestr(name, inside)
    return buffer.getvalue()


def of_arrays(chance: random.Random, content: bytes) -> bytes:
    """Change the arrays of an ``.npz``: type, shape, what their headers say; or let one unpack to gigabytes."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    images = arrays["images"]
    buffer = io.BytesIO()
    choice = chance.randrange(9)
    if choice < 6:
        arrays["images"] = (images.astype(np.float32), images[:, :3], images[:0], np.array([{}], object),
                            np.asfortranarray(images), np.array("x"))[choice]  # fmt: skip
        np.savez(buffer, **arrays)
        return buffer.getvalue()
    if choice == 6:
        arrays["labels"] = chance.choice((np.full(len(images), 99), np.full(len(images), -1), np.zeros(3), np.array(1)))
        np.savez(buffer, **arrays)
        return buffer.getvalue()
    count = chance.choice((10**6, 10**12, -1, len(images), 50_000_000 // images[0].size))
    header = (
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {', '.join(map(str, images.shape[1:]))}), }}"
    )
    told = header.ljust(117) + "\n"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told.encode())
        for _ in range(1 if choice == 7 else 256):
            file.write(bytes(2**20))
    return buffer.getvalue()


def of_safetensors(chance: random.Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, and what a judge says in it."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    told = header.get("__metadata__", {})
    if chance.random() < 0.6 and "judge" in told:
        facts = json.loads(told["judge"])
        _anywhere(chance, facts)
        told["judge"] = json.dumps(facts)
    else:
        _anywhere(chance, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def of_gzip(chance: random.Random, content: bytes) -> bytes:
    """Change what is packed; or let it unpack to a gigabyte."""
    if chance.random() < 0.1:
        return gzip.compress(gzip.decompress(content) + bytes(2**28), compresslevel=1)
    return gzip.compress(chance.choice((flipped, headed, cut, inserted, forged))(chance, gzip.decompress(content)))
