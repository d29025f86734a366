# shellcheck shell=sh
# What is installed: the source that is kept for later boots, the account, Debian packages, the environment.
# Sourced by provision.sh.
# shellcheck disable=SC2154  # options are set by provision.sh

opt=/opt/vigil
kept=$opt/provisioning
checkout_parts='agent device_profiles pyproject.toml README.md LICENSE requirements.lock requirements-tpm.lock systemd scripts/provision.sh scripts/provisioning'

# Where the agent comes from: a checkout, a folder with a wheel and its lock, or a wheel beside its lock.
find_source() {
    [ -n "$source" ] || source=$(dirname "$here")
    case $source in *.whl) folder=$(dirname "$source") ;; *) folder=$source ;; esac
    [ -f "$folder/requirements.lock" ] || fail "$EX_CONFIG" "$folder has no requirements.lock" "give --source a checkout or a release folder"
    [ -z "$wheels" ] && [ -d "$folder/wheels" ] && wheels=$folder/wheels
    [ -z "$wheels" ] || [ -d "$wheels" ] || fail "$EX_CONFIG" "there is no folder $wheels"
    if [ -f "$folder/SHA256SUMS" ]; then
        (cd "$folder" && sha256sum --quiet --strict -c SHA256SUMS >/dev/null 2>&1) ||
            fail "$EX_CONFIG" "files in $folder are not what its SHA256SUMS says" "copy it anew"
    fi
}

the_wheel() { # FOLDER: prints its wheel; empty for a checkout
    find "$1" -maxdepth 1 -name 'vigil_agent-*.whl' | sort | tail -n 1
}

fingerprint() { # FOLDER: of everything there that is installed
    (cd "$1" && find agent device_profiles pyproject.toml requirements.lock ./*.whl -type f ! -path '*/__pycache__/*' 2>/dev/null |
        LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
}

has_kept() {
    find_source
    [ "$folder" = "$kept" ] || {
        [ "$(options_text)" = "$(cat "$state/options" 2>/dev/null)" ] && [ -e "$kept/complete" ] && [ "$(cat "$kept/complete")" = "$(fingerprint "$folder")" ]
    }
}

keep_source() {
    mkdir -p "$opt" "$state"
    chmod 700 "$state"
    rm -rf "$kept.new"
    mkdir -p "$kept.new"
    if [ -f "$folder/pyproject.toml" ]; then
        (cd "$folder" && tar -cf - --exclude=__pycache__ $checkout_parts) | tar -xf - -C "$kept.new"
    else
        wheel=$(the_wheel "$folder")
        case $source in *.whl) wheel=$source ;; esac
        [ -n "$wheel" ] || fail "$EX_CONFIG" "$folder has neither pyproject.toml nor a wheel of vigil-agent"
        cp "$wheel" "$folder/requirements.lock" "$kept.new/"
        cp -r "$(dirname "$here")/systemd" "$kept.new/"
        mkdir "$kept.new/scripts"
        cp -r "$here/provision.sh" "$library" "$kept.new/scripts/"
    fi
    chown -R root:root "$kept.new"
    fingerprint "$folder" >"$kept.new/complete"
    rm -rf "$kept.old"
    [ ! -e "$kept" ] || mv "$kept" "$kept.old"
    mv "$kept.new" "$kept"
    rm -rf "$kept.old"
    source=$kept folder=$kept
    options_text | write_file "$state/options" 600
    : >"$state/pending"
}

has_account() {
    id vigil >/dev/null 2>&1 && [ -d /var/lib/vigil ] && [ -d /etc/vigil ]
}

make_account() {
    getent group vigil >/dev/null || groupadd --system vigil
    id vigil >/dev/null 2>&1 ||
        useradd --system --gid vigil --home-dir /var/lib/vigil --no-create-home --shell /usr/sbin/nologin vigil
    for group in video render gpio; do
        if getent group "$group" >/dev/null; then usermod -a -G "$group" vigil; fi
    done
    install -d -o vigil -g vigil -m 700 /var/lib/vigil
    install -d -o vigil -g vigil -m 750 /etc/vigil
}

on_jetson() { [ -e /etc/nv_tegra_release ] || grep -qsa 'nvidia,tegra' /proc/device-tree/compatible; }
on_raspberry() { grep -qsa 'raspberrypi,' /proc/device-tree/compatible; }

wanted_packages() {
    echo python3 python3-venv ca-certificates
    if on_jetson; then echo python3-numpy python3-opencv python3-libnvinfer; fi
    if on_raspberry; then echo python3-picamera2; fi
    if [ -e /dev/tpmrm0 ]; then echo libtss2-dev libtss2-tcti-device0 pkg-config python3-dev gcc; fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

has_packages() {
    for package in $(wanted_packages); do
        installed "$package" || [ -e "$state/without-$package" ] || return 1
    done
}

install_packages() {
    run "apt-get update" apt-get -qq -o DPkg::Lock::Timeout=300 update || say "   going on with the package lists that are there"
    names=''
    for package in $(wanted_packages); do
        if apt-cache show "$package" >/dev/null 2>&1; then
            names="$names $package"
        else
            case $package in python3 | python3-venv | ca-certificates) names="$names $package" ;; *)
                say "   this system has no package $package: going without"
                : >"$state/without-$package"
                ;;
            esac
        fi
    done
    # A power cut inside dpkg leaves packages half configured.
    run "dpkg --configure -a" dpkg --configure -a || true
    # shellcheck disable=SC2086  # a list of words
    if ! run "apt-get install$names" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $names; then
        last_lines
        postpone "Debian packages could not be installed ($(echo $names))" "is there a network? the lines above and $log say more"
    fi
    check_python
}

# System packages shine through where only the system has them: TensorRT and OpenCV of JetPack, the Pi's cameras.
needs_system_packages() { on_jetson || { on_raspberry && installed python3-picamera2; }; }

stamp() {
    python3 -VV
    fingerprint "$kept"
    needs_system_packages && echo system || echo own
}

# The environment in use: a or b. The launcher notes it after the agent updated itself.
in_use() {
    found=$(sed -n '1s/.*"current": "\([ab]\)".*/\1/p' "$opt/state/slots.json" 2>/dev/null || true)
    echo "${found:-$(readlink "$opt/current" 2>/dev/null || true)}"
}

has_environment() {
    slot=$(in_use)
    command -v python3 >/dev/null && [ -n "$slot" ] && [ -x "$opt/$slot/bin/vigil" ] && [ -x "$opt/bin/vigil" ] || return 1
    # What came by a signed update is not replaced by the older source that is kept here.
    [ -e "$opt/$slot/complete" ] || return 0
    [ "$(cat "$opt/$slot/complete")" = "$(stamp)" ]
}

# The slot that does not run: a, unless a does.
free_slot() {
    case $(in_use) in a) echo b ;; *) echo a ;; esac
}

# The lock without what the system brings, whose NumPy 1 and OpenCV belong together.
lock_for_system() {
    if on_jetson; then
        awk '/^[a-z]/ { keep = !/^(numpy|opencv-python-headless)==/ } keep' "$kept/requirements.lock"
    else
        cat "$kept/requirements.lock"
    fi
}

make_environment() {
    slot=$opt/$(free_slot)
    rm -rf "$slot"
    system=''
    if needs_system_packages; then system=--system-site-packages; fi
    # shellcheck disable=SC2086  # empty or one word
    run "python3 -m venv" python3 -m venv $system "$slot" || { last_lines; fail 1 "no virtual environment can be made in $slot"; }
    lock_for_system >"$slot/requirements.lock"
    say "   installing what requirements.lock names; this takes minutes on a small board"
    pip_install "libraries" --require-hashes -r "$slot/requirements.lock"
    wheel=$(the_wheel "$kept")
    pip_install "vigil-agent" --no-deps --no-build-isolation "${wheel:-$kept}"
    add_tpm
    run "vigil --version" "$slot/bin/vigil" --version || { last_lines; fail 1 "the installed agent does not start"; }
    say "   vigil $output"
    stamp >"$slot/complete"
    sync
    install_launcher
    ln -sfn "$(basename "$slot")" "$opt/current.new"
    mv -fT "$opt/current.new" "$opt/current"
    mkdir -p "$opt/bin"
    write_file "$opt/bin/vigil" 755 <<'SH'
#!/bin/sh
slot=$(sed -n '1s/.*"current": "\([ab]\)".*/\1/p' /opt/vigil/state/slots.json 2>/dev/null)
exec "/opt/vigil/${slot:-current}/bin/vigil" "$@"
SH
    ln -sf "$opt/bin/vigil" /usr/local/bin/vigil
}

# The agent's own updates want a launcher outside of both environments, and may write these; see docs/self-update.md.
install_launcher() {
    launcher=$(find "$slot/lib" -path '*/agent/update/selfupdate/launcher.py' | head -n 1)
    [ -n "$launcher" ] || return 0
    write_file "$opt/launch" 755 <"$launcher"
    mkdir -p "$opt/a" "$opt/b" "$opt/state"
    run "slots.json" python3 - "$launcher" "$opt/state/slots.json" "$(basename "$slot")" <<'PY' || { last_lines; fail 1 "the launcher's state cannot be written"; }
import pathlib, runpy, sys
launcher, path = runpy.run_path(sys.argv[1]), pathlib.Path(sys.argv[2])
files = launcher["_Files"]()
launcher["save"](files, path, {**launcher["load"](files, path), "current": sys.argv[3], "candidate": None})
PY
    chown -R vigil:vigil "$opt/a" "$opt/b" "$opt/state"
}

pip_install() { # WHAT ARGUMENTS…
    title=$1
    shift
    if [ -n "$wheels" ]; then set -- --no-index -f "$wheels" "$@"; fi
    if ! run "pip install $title" "$slot/bin/python" -m pip --disable-pip-version-check --no-input install -q --no-cache-dir "$@"; then
        last_lines
        postpone "the $title could not be installed" "is there a network, and a package index behind it? $log says more"
    fi
}

# Never fails: without it the key goes to the next best store.
add_tpm() {
    [ -e /dev/tpmrm0 ] && [ -z "$wheels" ] && [ -f "$kept/requirements-tpm.lock" ] || return 0
    awk '/^[a-z]/ { keep = !/^tpm2-pytss/ } keep' "$kept/requirements-tpm.lock" >"$slot/tpm.lock"
    { run "what builds tpm2-pytss" "$slot/bin/python" -m pip install -q --require-hashes -r "$slot/tpm.lock" &&
        run "tpm2-pytss" "$slot/bin/python" -m pip install -q --require-hashes --no-build-isolation -r "$kept/requirements-tpm.lock"; } ||
        say "   tpm2-pytss cannot be built: the TPM is not used"
}
