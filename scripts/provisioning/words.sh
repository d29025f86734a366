# shellcheck shell=sh
# How provisioning speaks, fails, steps and keeps others out. Sourced by provision.sh.
# shellcheck disable=SC2154  # options are set by provision.sh

EX_TEMPFAIL=75
EX_CONFIG=78
state=/var/lib/vigil-provision
log=/var/log/vigil-provision.log
step_name=start
finished=no

if [ -t 1 ]; then
    green=$(printf '\033[32m') yellow=$(printf '\033[33m') red=$(printf '\033[31m') plain=$(printf '\033[0m')
else
    green='' yellow='' red='' plain=''
fi

record() { # TEXT: into the log, where there is one already
    [ ! -w "$log" ] || printf '%s %s\n' "$(date '+%Y-%m-%dT%H:%M:%S')" "$*" >>"$log" 2>/dev/null || true
}

say() {
    printf '%s\n' "$*"
    record "$*"
}

fail() { # STATUS WHAT [WHAT TO DO]
    finished=yes
    printf '%s%s%s\n' "$red" "provision: $2" "$plain" >&2
    [ -z "${3:-}" ] || printf '           %s\n' "$3" >&2
    record "failed ($1): $2"
    exit "$1"
}

# postpone WHY [WHAT TO DO]: not now; the unit tries again after a minute and at every boot.
postpone() {
    finished=yes
    printf '%snot finished yet: %s%s\n' "$yellow" "$1" "$plain"
    [ -z "${2:-}" ] || printf '  %s\n' "$2"
    if [ -e "$state/pending" ] && [ "$dry_run" = no ]; then
        printf '%s\n' "$1" >"$state/pending" 2>/dev/null || true
        say "  vigil-provision.service goes on by itself, at the latest at the next boot; or run this again"
    fi
    record "postponed: $1"
    exit "$EX_TEMPFAIL"
}

on_exit() {
    status=$?
    release_stick
    [ "$finished" = yes ] || [ "$status" -eq 0 ] || {
        printf '%sprovision: stopped in step "%s" (status %s)%s\n' "$red" "$step_name" "$status" "$plain" >&2
        printf '           run it again: it goes on there; the log is %s\n' "$log" >&2
        record "stopped in $step_name with $status"
    }
}

# step NAME TITLE IS_DONE DO [DO_IN_DRY_RUN]
step() {
    step_name=$1
    if [ "$3" != no ] && "$3"; then
        say "== $1: $2: already done"
    elif [ "$dry_run" = yes ]; then
        say "== $1: $2: would be done"
        [ -z "${5:-}" ] || [ "$1" = keep ] || "$5"
    else
        say "== $1: $2"
        "$4"
    fi
}

# run WHAT COMMAND…: its output goes to the log and into `output`; returns its status.
run() {
    what=$1
    shift
    if output=$("$@" 2>&1); then
        record "$what: ok"
        return 0
    else
        code=$?
    fi
    record "$what: $output"
    # Programs that start others often keep the reason to themselves.
    if ! (head -c 1048576 /dev/zero >/opt/vigil/.room) 2>/dev/null && [ -d /opt/vigil ]; then output="$output
No space left on device"; fi
    rm -f /opt/vigil/.room
    case $output in
    *"No space left on device"*) fail 1 "$what: the disk is full" "make room (df -h shows where) and run this again" ;;
    *"Read-only file system"*) fail "$EX_CONFIG" "$what: the file system is read-only" "$read_only_hint" ;;
    *"DO NOT MATCH THE HASHES"*)
        printf '%s\n' "$output" | tail -n 12 >&2
        fail "$EX_CONFIG" "$what: a package is not the one that the lock names" "nothing was installed from it; find out who serves it"
        ;;
    esac
    return "$code"
}

last_lines() { printf '%s\n' "$output" | tail -n 4 | cut -c1-200 | sed 's/^/    /'; }

write_file() { # PATH MODE, content on standard input: all of it or nothing
    cat >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1"
}

# Only one provisioning at a time; its output begins a new part of the log.
begin_alone() {
    trap on_exit EXIT
    [ "$dry_run" = no ] || return 0
    require_writable
    mkdir -p /run/lock
    exec 9>/run/lock/vigil-provision.lock
    flock -n 9 || fail "$EX_TEMPFAIL" "another provisioning is running on this machine" "wait for it: tail -f $log"
    (umask 077 && : >>"$log")
    record "begin: mode $mode, key store $key_store"
}

saved='bundle source wheels cameras key_store key_options mode force_os'

# Paths and names only; the token stays in the bundle. A later boot finds the source where it was kept.
options_text() {
    for name in $saved; do
        case $name in
        source) printf 'source=%s\n' "$kept" ;;
        *) eval "printf '%s\n' \"$name=\$$name\"" ;;
        esac
    done
}

read_options() {
    [ -r "$state/options" ] || fail "$EX_CONFIG" "nothing to resume: $state/options is not there" "run provision.sh with options"
    while IFS='=' read -r name value; do
        case " $saved " in *" $name "*) eval "$name=\$value" ;; esac
    done <"$state/options"
    # An image's first boot is a device like any other.
    mode=device
}
