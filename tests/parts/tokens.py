"""Real key stores: a SoftHSM2 token, a software TPM, and a PKCS#11 library with faults built in.

token = SoftToken(tmp_path); token.config            # PKCS#11, PIN in a file
tpm = SoftTpm(tmp_path); tpm.start(); tpm.config; tpm.kill()
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.host.ports import free_port
from agent.schema.keystore import Pkcs11KeyConfig, Tpm2KeyConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN = "2468"
LABEL = "vigil-test"
FLOOR_INDEX = 0x1500016
_LIBRARIES = [
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    *Path("/usr/lib").glob("*/softhsm/libsofthsm2.so"),
]
_START_S = 10.0

# Passes everything on to SoftHSM2, except what the file named by VIGIL_TEST_FAULT asks for:
# "crash" and "hang" when a secret is derived, "locked" and "last try" as the token's state, "no login".
_FAULTY = r"""
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
typedef unsigned long (*call)(unsigned long, ...);
struct list { unsigned char version[8]; call at[68]; };
static struct list ours, *theirs;
enum { TOKEN_INFO = 6, LOGIN = 18, DERIVE = 62 };

static int fault(const char *name) {
    char found[32] = "";
    FILE *file = fopen(getenv("VIGIL_TEST_FAULT"), "r");
    if (file) { if (!fgets(found, sizeof found, file)) found[0] = 0; fclose(file); }
    return strcmp(found, name) == 0;
}
static unsigned long token_info(unsigned long slot, unsigned char *info) {
    unsigned long result = theirs->at[TOKEN_INFO](slot, info), *flags = (unsigned long *)(info + 96);
    if (fault("locked")) *flags |= 0x40000;
    if (fault("last try")) *flags |= 0x20000;
    return result;
}
static unsigned long login(unsigned long session, unsigned long user, char *pin, unsigned long size) {
    return fault("no login") ? 0xA4 : theirs->at[LOGIN](session, user, pin, size);
}
static unsigned long derive(unsigned long s, void *m, unsigned long k, void *t, unsigned long n, void *o) {
    if (fault("crash")) raise(SIGSEGV);
    if (fault("hang")) sleep(600);
    if (fault("gone")) return 0xE0;
    return theirs->at[DERIVE](s, m, k, t, n, o);
}
unsigned long C_GetFunctionList(struct list **out) {
    unsigned long (*get)(struct list **) = dlsym(dlopen(SOFTHSM, RTLD_NOW), "C_GetFunctionList");
    unsigned long result = get(&theirs);
    ours = *theirs;
    ours.at[TOKEN_INFO] = (call)token_info;
    ours.at[LOGIN] = (call)login;
    ours.at[DERIVE] = (call)derive;
    *out = &ours;
    return result;
}
"""


class SoftToken:
    """A SoftHSM2 token with a PIN file; put SOFTHSM2_CONF in the environment before it is used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.settings = folder / "softhsm2.conf"
        self.settings.write_text(f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self.pin_file = folder / "pin"
        self.write_pin(PIN)
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN]
        subprocess.run(
            [*command, "--so-pin", "13579"],
            env={"SOFTHSM2_CONF": str(self.settings), "PATH": "/usr/bin:/bin"},
            check=True,
            capture_output=True,
        )

    @property
    def config(self) -> Pkcs11KeyConfig:
        """The key store that the token is."""
        return Pkcs11KeyConfig(
            module=str(softhsm_library()), token=LABEL, pin_file=str(self.pin_file)
        )

    def write_pin(self, pin: str) -> None:
        """Writes the PIN file."""
        self.pin_file.write_text(f"{pin}\n")
        self.pin_file.chmod(0o600)

    def pull_out(self) -> None:
        """Takes the token away."""
        self.tokens.rename(self.folder / "pulled-out")
        self.tokens.mkdir()

    def put_back(self) -> None:
        """Brings the token back."""
        self.tokens.rmdir()
        (self.folder / "pulled-out").rename(self.tokens)


def softhsm_library() -> Path:
    """The PKCS#11 library of SoftHSM2."""
    return next(path for path in _LIBRARIES if path.exists())


def faulty_library(folder: Path) -> Path:
    """Compiles a PKCS#11 library that fails on demand; the test skips where nothing can compile it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a faulty PKCS#11 library with")
    source, library = folder / "faulty.c", folder / "faulty.so"
    source.write_text(_FAULTY)
    define = f'-DSOFTHSM="{softhsm_library()}"'
    command = [compiler, "-shared", "-fPIC", "-w", define, "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


class SoftTpm:
    """A swtpm on two free ports; what it knows survives a kill, as with a real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "tpm"
        self.state.mkdir(parents=True)
        self.pin_file = folder / "tpm-pin"
        self.write_pin(PIN)
        self.port = _two_free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Tpm2KeyConfig:
        """The key store that the TPM is."""
        return Tpm2KeyConfig(
            blob=str(self.folder / "device.tpm"),
            tcti=f"swtpm:host=127.0.0.1,port={self.port}",
            pin_file=str(self.pin_file),
            floor_index=FLOOR_INDEX,
        )

    def write_pin(self, pin: str) -> None:
        """Writes the file with the key's own secret."""
        self.pin_file.write_text(f"{pin}\n")
        self.pin_file.chmod(0o600)

    def start(self) -> None:
        """Starts it and waits until it listens."""
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}"]
        command += ["--server", f"type=tcp,port={self.port},bindaddr=127.0.0.1"]
        command += ["--ctrl", f"type=tcp,port={self.port + 1},bindaddr=127.0.0.1"]
        command += ["--flags", "not-need-init,startup-clear"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port + 1)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail("swtpm did not start")

    def kill(self) -> None:
        """Takes the TPM away."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_START_S)


def _two_free_ports() -> int:
    """Two neighbours below the range that the kernel gives to outgoing connections."""
    for _ in range(50):
        port = free_port()  # even in tests, so that the next one is nobody's
        with socket.socket() as second:
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    pytest.fail("no two free ports beside each other")


@pytest.fixture
def soft_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    """A SoftHSM2 token in this test's own folder."""
    if shutil.which("softhsm2-util") is None or importlib.util.find_spec("pkcs11") is None:
        pytest.skip("needs softhsm2 and python-pkcs11")
    token = SoftToken(tmp_path / "softhsm")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.settings))
    return token


@pytest.fixture
def soft_tpm(tmp_path: Path) -> Iterator[SoftTpm]:
    """A software TPM that ends with the test."""
    if shutil.which("swtpm") is None or importlib.util.find_spec("tpm2_pytss") is None:
        pytest.skip("needs swtpm and tpm2-pytss")
    tpm = SoftTpm(tmp_path / "swtpm")
    tpm.start()
    yield tpm
    tpm.kill()
