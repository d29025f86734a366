# shellcheck shell=sh
# Does this machine suit? Everything that cannot work is said before anything is changed. Sourced by provision.sh.
# shellcheck disable=SC2154  # options are set by provision.sh

# The clock cannot be right before the day this was made; certificates would fail in ways nobody understands.
made=2026-11-01
disk_opt_mb=1500 # one environment, a second one for updates, and what pip unpacks
disk_var_mb=300
read_only_hint="on Raspberry Pi OS: sudo raspi-config nonint disable_overlayfs, reboot, provision, then enable it again; elsewhere: mount -o remount,rw /"

check_machine() {
    board=$(cat /proc/device-tree/model 2>/dev/null | tr -d '\0')
    [ -n "$board" ] || board=$(cat /sys/class/dmi/id/product_name 2>/dev/null || echo unknown)
    say "   board   $board, $(uname -m)"
    check_bits
    check_os
    check_python
    check_clock
    check_disk /opt "$disk_opt_mb"
    check_disk /var/lib "$disk_var_mb"
}

check_bits() {
    bits=$(getconf LONG_BIT 2>/dev/null || echo 64)
    [ "$bits" = 64 ] || fail "$EX_CONFIG" "this is a 32-bit system ($(uname -m))" \
        "on 32-bit ARM there is no ONNX Runtime, OpenCV or NumPy to install: write the 64-bit image of your system"
}

# Prints old, tried, new or unknown for an ID and VERSION_ID of os-release(5).
os_standing() {
    case $1:$2 in
    debian:12 | debian:13 | raspbian:12 | raspbian:13 | ubuntu:22.04 | ubuntu:24.04) echo tried ;;
    debian:[1-9] | debian:1[01] | raspbian:[1-9] | raspbian:1[01] | ubuntu:[4-9].* | ubuntu:1[0-9].* | ubuntu:20.* | ubuntu:21.*) echo old ;;
    debian:* | raspbian:* | ubuntu:*) echo new ;;
    *) echo unknown ;;
    esac
}

check_os() {
    # shellcheck disable=SC1091  # the system's own file
    found=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}") || found='unknown '
    id=${found%% *} version=${found#* }
    standing=$(os_standing "$id" "$version")
    say "   system  $id $version: $standing"
    [ "$force_os" = no ] || return 0
    case $standing in
    old) fail "$EX_CONFIG" "$id $version is too old: its Python is below 3.10" \
        "install Debian 12 or 13, Raspberry Pi OS 12 or 13 (64 bit), JetPack 6 or 7 (Ubuntu 22.04, 24.04)" ;;
    new) fail "$EX_CONFIG" "$id $version is newer than anything Vigil was tried on" \
        "take Debian 12 or 13, Ubuntu 22.04 or 24.04, or say --force-os to try" ;;
    unknown) fail "$EX_CONFIG" "this system is not Debian, Raspberry Pi OS or Ubuntu ($id)" \
        "use the container (docs/deployments.md), or say --force-os to try" ;;
    esac
}

check_python() {
    if ! command -v python3 >/dev/null; then
        say "   python  not there yet, will be installed"
        return 0
    fi
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "   python  $version"
    case $version in
    3.1[0-3]) ;;
    *) fail "$EX_CONFIG" "python3 is $version, and Vigil needs 3.10 to 3.13" "no libraries were built for others; use a system that brings one" ;;
    esac
}

check_clock() {
    now=$(date +%s)
    oldest=$(date -d "$made" +%s)
    if [ "$now" -lt "$oldest" ] && [ "$dry_run" = no ] && command -v timedatectl >/dev/null; then
        timedatectl set-ntp true >/dev/null 2>&1 || true
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ ! -e /run/systemd/timesync/synchronized ] || break
            sleep 1
        done
        now=$(date +%s)
    fi
    say "   clock   $(date '+%Y-%m-%d %H:%M %Z')"
    [ "$now" -ge "$oldest" ] || fail "$EX_TEMPFAIL" "the clock is wrong: it says $(date +%Y-%m-%d), before this software was made ($made)" \
        "connect a network with a time server, or set it: date -s 'YYYY-MM-DD HH:MM'; a board without a clock battery needs one of them at each boot"
    [ "$now" -lt $((oldest + 10 * 366 * 86400)) ] || fail "$EX_CONFIG" "the clock is wrong: it says $(date +%Y-%m-%d), ten years ahead" \
        "set it: date -s 'YYYY-MM-DD HH:MM'"
}

check_disk() { # FOLDER MIB
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    # What is installed already does not need its room again.
    [ "$1" != /opt ] || [ ! -e /opt/vigil/current ] || set -- "$1" $(($2 / 2))
    [ "$free" -ge "$2" ] || fail "$EX_CONFIG" "too little room on the disk: $1 has $free MiB free, $2 MiB are needed" \
        "make room (df -h, apt-get clean), or use a bigger card"
}

require_writable() {
    for folder in /opt /etc /var/lib; do
        # A write is the only honest test: overlays and ACLs know no flag.
        if ! (: >"$folder/.vigil-write") 2>/dev/null; then
            case $(LC_ALL=C sh -c ": >$folder/.vigil-write" 2>&1) in
            *"No space left"*) fail "$EX_CONFIG" "the disk is full: nothing can be written to $folder" "make room (df -h shows where) and run this again" ;;
            *) fail "$EX_CONFIG" "$folder is read-only" "$read_only_hint" ;;
            esac
        fi
        rm -f "$folder/.vigil-write"
    done
}
