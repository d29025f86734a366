# shellcheck shell=bash
# What the scripts beside this file share: the Debian packages, the Python and the virtual environments.
# Sourced, never run. Needs nothing but bash and the base system.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# package | command or file that shows it is there | what wants it
debian_packages='
mosquitto         | mosquitto      | the tests speak to a real broker
mosquitto-clients | mosquitto_pub  | the broker as seen by other programs
nats-server       | nats-server    | the device on a NATS cluster
rabbitmq-server   | rabbitmq-server | the device on RabbitMQ
postgresql        | /usr/lib/postgresql | the tables of a fleet on a real server
pgbouncer         | pgbouncer      | those tables behind a pooler
iproute2          | ip             | controllers on hosts that the network separates
strace            | strace         | the tests watch which files a process opens and writes
softhsm2          | softhsm2-util  | device keys in a PKCS#11 token
opensc            | pkcs11-tool    | that token as another program sees it
swtpm             | swtpm          | device keys and the rollback counter in a TPM
libtss2-dev       | /usr/include/tss2/tss2_esys.h | builds tpm2-pytss, which has no wheels
pkg-config        | pkg-config     | builds tpm2-pytss
python3-dev       | python3-config | builds tpm2-pytss
gcc               | gcc            | builds tpm2-pytss, and a PKCS#11 library that fails on demand
mmdebstrap        | mmdebstrap     | a clean Debian to provision
systemd-container | systemd-nspawn | a real systemd for the service and provisioning
chromium          | chromium       | the tests click through the console
'

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null && [ "${VIGIL_SYSTEM_PACKAGES:-yes}" != no ] || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

# Runs a command as root and shows what it printed only when it fails.
quietly_as_root() {
    local output
    output=$(as_root "$@" 2>&1) || {
        say "$output"
        say "failed: $*"
        return 1
    }
}

# Installs Debian packages by name; those the archive does not know are left out. Never fails.
apt_install() {
    local known=() name
    quietly_as_root apt-get -qq update || say "going on with the package lists that are there"
    for name in "$@"; do
        if apt-cache show "$name" >/dev/null 2>&1; then known+=("$name"); else say "no Debian package named $name here"; fi
    done
    [ "${#known[@]}" -eq 0 ] ||
        quietly_as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${known[@]}" || true
}

# Installs what the tests use of the system, or says what is missing and goes on: those tests then skip.
system_packages() {
    local package command reason missing=() without=''
    while IFS='|' read -r package command reason; do
        package=${package// /} command=${command// /}
        if [ -z "$package" ] || [ -e "$command" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null; then continue; fi
        missing+=("$package")
        without+="  $package:$reason"$'\n'
    done <<<"$debian_packages"
    [ "${#missing[@]}" -gt 0 ] || return 0
    if may_install; then
        say "installing ${missing[*]}"
        apt_install "${missing[@]}"
    else
        printf 'missing on this system, the tests that want them will skip:\n%s' "$without" >&2
    fi
}

python_fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

# Prints the Python to use: VIGIL_PYTHON, or the first that fits on PATH.
find_python() {
    local candidate
    if [ -n "${VIGIL_PYTHON:-}" ]; then
        python_fits "$VIGIL_PYTHON" || fail "VIGIL_PYTHON=$VIGIL_PYTHON is not a Python from 3.10 to 3.13"
        command -v "$VIGIL_PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if python_fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Vigil needs Python 3.10 to 3.13. Install python3 and python3-venv, or set VIGIL_PYTHON."
}

require_64_bit() {
    "$1" -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
        fail "Vigil needs a 64-bit system: on 32-bit ARM there is no ONNX Runtime, OpenCV or NumPy to install."
}

# python_with_venv: prints a Python that can make virtual environments.
python_with_venv() {
    local python
    python=$(find_python) || exit 1
    require_64_bit "$python"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        ! may_install || apt_install python3-venv
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python cannot make virtual environments: install the package python3-venv"
    fi
    printf '%s\n' "$python"
}

# environment FOLDER LOCK: FOLDER holds exactly what LOCK names and this project, editable.
# Does nothing when the stamp says that this was done for the same lock, project file and Python; changes only what
# differs when it was done here with the same Python.
environment() {
    local folder=$1 lock=$2 python stamp before surplus
    python=$(python_with_venv) || exit 1
    stamp=$("$python" -VV && cat "$lock" "$root/pyproject.toml" | sha256sum && printf '%s\n' "$root")
    before=$(cat "$folder/stamp" 2>/dev/null || true)
    [ "$before" != "$stamp" ] || return 0
    say "setting up ${folder#"$root"/} from ${lock#"$root"/}"
    rm -f "$folder/stamp"
    [ "$(sed 2d <<<"$before")" = "$(sed 2d <<<"$stamp")" ] || "$python" -m venv --clear "$folder"
    pip_install "$folder" --require-hashes -r "$lock"
    pip_install "$folder" --no-deps --no-build-isolation -e "$root"
    surplus=$(comm -23 <("$folder/bin/python" -m pip list --format=freeze | package_names) \
        <({ cat "$lock" "$root/requirements-tpm.lock" && printf '%s==\n' pip setuptools vigil-agent; } | package_names))
    # shellcheck disable=SC2086 # several names
    [ -z "$surplus" ] || "$folder/bin/python" -m pip uninstall -qq -y $surplus >&2
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# The names before `==` or an extra, as the index writes them.
package_names() { sed -n 's/^\([[:alnum:]._-]*\)\(\[.*\]\)\{0,1\}==.*/\1/p' | tr 'A-Z_.' 'a-z--' | sort -u; }

pip_install() {
    local folder=$1
    shift
    "$folder/bin/python" -m pip --disable-pip-version-check install -qq "$@" >&2
}

test_environment() { environment "$root/.venv" "$root/requirements-dev.lock"; }

# Adds the TPM binding where its C library is installed; it is built here, in about 20 seconds, once. Never fails:
# the tests that want it skip.
tpm_environment() {
    local folder=$root/.venv lock=$root/requirements-tpm.lock
    "$folder/bin/python" -c 'import tpm2_pytss' 2>/dev/null && return 0
    if ! pkg-config --exists tss2-esys 2>/dev/null; then
        say "tpm2-tss is not installed: the tests of the TPM skip"
        return 0
    fi
    say "building tpm2-pytss from ${lock#"$root"/}"
    { pip_install "$folder" --require-hashes -r <(awk '/^[a-z]/ { keep = !/^tpm2-pytss/ } keep' "$lock") &&
        pip_install "$folder" --require-hashes --no-build-isolation -r "$lock"; } ||
        say "tpm2-pytss cannot be built: its tests skip"
}
