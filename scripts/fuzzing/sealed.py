"""Fuzzes `agent.trust.sealed.open_sealed`: any bytes end in TrustError, or in exactly what was sealed.

The mutator knows the layout. Half of its inputs are mended after the damage: lengths fit the size and the
commitment fits the key, so that they get past the header into the chunks, as an attacker who knows the key but not
what was sealed could send them. Whatever opens must be one of the plaintexts that were sealed.

    PYTHONPATH=. python scripts/fuzzing/sealed.py SECONDS SEED
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if find_spec("atheris"):
    import atheris

    with atheris.instrument_imports(include=["agent.trust.sealed", "agent.host.memfd"]):
        from agent.trust import sealed
else:
    from agent.trust import sealed

from agent.errors import TrustError

DEK = bytes(range(32))
RELEASE = "shop/yolo/1"
PLAINTEXTS = (b"x", b"weights" * 9, bytes(1000))
SEEDS = [sealed.seal(text, DEK, RELEASE, cipher) for text in PLAINTEXTS for cipher in sealed.Cipher]
CIPHER_AT, LENGTH_AT, SALT_AT, COMMITMENT_AT = 7, 12, 20, 52
INTERESTING = (0, 1, 2, 15, 16, 17, 2**20, 2**31, 2**32 - 1, 2**36, 2**36 + 1, 2**62, 2**64 - 1)
REPORT_EVERY = 2**16
CRASH_FILE = Path("fuzz-crash.bin")


class Tally:
    """How the inputs ended, and that no descriptor stayed open."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.began_s = time.monotonic()
        self.descriptors = _descriptors()

    def judge(self, data: bytes) -> None:
        """Feed one input; anything but a refusal or an authentic plaintext is a crash."""
        try:
            end = self._open(data)
        except BaseException:
            CRASH_FILE.write_bytes(data)
            print(f"CRASH after {self.total} inputs; the input is in {CRASH_FILE}", flush=True)
            raise
        self.ends[end] += 1
        if self.total % REPORT_EVERY == 0:
            self.report()

    @property
    def total(self) -> int:
        """Inputs so far."""
        return sum(self.ends.values())

    def report(self) -> None:
        """Print the counts; a descriptor that stayed open is a crash too."""
        seconds = time.monotonic() - self.began_s
        ends = " ".join(f"{end}={count}" for end, count in sorted(self.ends.items()))
        print(f"inputs={self.total} crashes=0 seconds={seconds:.0f} {ends}", flush=True)
        if _descriptors() > self.descriptors + 4:  # atheris opens some
            raise AssertionError("descriptors stay open")

    def _open(self, data: bytes) -> str:
        try:
            fd = sealed.open_sealed(data, DEK, RELEASE)
        except TrustError as error:
            return error.code
        with os.fdopen(fd, "rb") as file:
            if file.read() not in PLAINTEXTS:
                raise AssertionError("an input opened that nobody sealed")
        return "opened"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return `data` damaged in one to four places, and mended in half of the cases."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        rng.choice(DAMAGES)(changed, rng)
    if rng.random() < 0.5:  # noqa: PLR2004 - a half
        mend(changed)
    return bytes(changed)


def mend(data: bytearray) -> None:
    """Make length and commitment fit, where there is a whole header of a known cipher."""
    if len(data) <= sealed.HEADER_BYTES + sealed.TAG_BYTES or data[CIPHER_AT] not in (1, 2):
        return
    body = len(data) - sealed.HEADER_BYTES
    chunks = -(-body // (sealed.CHUNK_BYTES + sealed.TAG_BYTES))
    struct.pack_into(">Q", data, LENGTH_AT, body - chunks * sealed.TAG_BYTES)
    info = b"vigil/sealed/1" + bytes([data[CIPHER_AT]])
    salt = bytes(data[SALT_AT:COMMITMENT_AT])
    derived = HKDF(hashes.SHA256(), 71, salt, info).derive(DEK)
    data[COMMITMENT_AT : COMMITMENT_AT + 32] = derived[32:64]


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.randint(1, 40)] = rng.randbytes(rng.randint(0, 40))


def _number(data: bytearray, rng: random.Random) -> None:
    size, code = rng.choice(((4, ">I"), (8, ">Q")))
    at = rng.randrange(max(len(data) - size, 1))
    if len(data) >= at + size:
        struct.pack_into(code, data, at, rng.choice(INTERESTING) % 2 ** (8 * size))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _grow(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.randint(1, 64))


def _splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(SEEDS)
    at = rng.choice((0, CIPHER_AT, LENGTH_AT, SALT_AT, COMMITMENT_AT, sealed.HEADER_BYTES))
    data[at:] = other[at:]


DAMAGES = (_flip, _flip, _overwrite, _number, _cut, _grow, _splice)


def random_inputs(tally: Tally, seconds: float, seed: int) -> None:
    """Mutate the seeds until the time is over."""
    rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(256):
            tally.judge(mutate(rng.choice(SEEDS), rng))


def guided_inputs(tally: Tally, seconds: float, seed: int) -> None:
    """Let atheris choose by coverage, with our mutator in every second step; ends the process."""

    def mutator(data: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311 - repeatable on purpose
        ours = rng.random() < 0.5  # noqa: PLR2004 - a half
        return (mutate(data, rng) if ours else atheris.Mutate(data, max_size))[:max_size]

    corpus = Path(os.environ.get("TMPDIR", "/tmp")) / f"vigil-fuzz-sealed-{os.getpid()}"  # noqa: S108
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(data)
    options: list[Any] = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], tally.judge, custom_mutator=mutator)
    with contextlib.suppress(SystemExit):
        atheris.Fuzz()


def main() -> None:
    """Fuzz for so many seconds and print the counts."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    tally = Tally()
    run = guided_inputs if find_spec("atheris") else random_inputs
    print(f"engine={'atheris' if find_spec('atheris') else 'random'} seed={seed}", flush=True)
    run(tally, seconds, seed)
    tally.report()


if __name__ == "__main__":
    main()
