#!/bin/sh
# Makes a Debian, Raspberry Pi OS or JetPack machine a Vigil device: checks it, installs the agent, gives it an
# identity, starts the service. Run it again at any time: what is done is left alone, what was cut off is finished.
#
#   sudo scripts/provision.sh --bundle /media/stick      from `vigil fleet enrol-token`, see docs/provisioning.md
#
# Exit status: 0 all done; 75 not all done, finishes by itself (network, admission); 78 needs a person; 1 failed.
set -eu
umask 022

here=$(cd "$(dirname "$0")" && pwd)
library=$here/provisioning
# shellcheck source=scripts/provisioning/words.sh
. "$library/words.sh"
# shellcheck source=scripts/provisioning/checks.sh
. "$library/checks.sh"
# shellcheck source=scripts/provisioning/software.sh
. "$library/software.sh"
# shellcheck source=scripts/provisioning/identity.sh
. "$library/identity.sh"
# shellcheck source=scripts/provisioning/service.sh
. "$library/service.sh"

usage() {
    cat <<'TEXT'
usage: provision.sh [options]            as root; an option's value follows it or stands behind "="

  --bundle FOLDER     invitation from `vigil fleet enrol-token` (it holds the one-time token); without it,
                      looked for on a stick labelled VIGIL and in /boot/firmware/vigil, /boot/vigil, /etc/vigil/bundle
  --source PATH       checkout, folder with a wheel and requirements.lock, or wheel beside its lock;
                      otherwise the checkout that this script lies in
  --wheels FOLDER     install from these wheels, without a package index
  --cameras FILE      YAML list of cameras for vigil.yaml (a file, because addresses may hold passwords)
  --key-store NAME    auto, tpm2, pkcs11, credential or file; and --key-option NAME=VALUE, repeatable
  --image             prepare an image: install everything, no identity; the first boot makes it
  --resume            finish what an earlier run began, with its options
  --dry-run           say what would be done, change nothing
  --uninstall         remove the agent; keeps /etc/vigil and /var/lib/vigil
  --purge             with --uninstall: remove those too, keys and models
  --yes               ask nothing
  --force-os          go on with a system that nobody has tried
TEXT
}

bundle='' source='' wheels='' cameras='' key_store=auto key_options='' mode=device
dry_run=no yes=no purge=no force_os=no uninstall=no resume=no

require_value() { # OPTION [VALUE…]: refuses an option without its value
    [ -n "${2:-}" ] || fail "$EX_CONFIG" "$1 needs a value" "see provision.sh --help"
}

# What is mistyped is said before anything is installed; of a resumed run, a stick may be gone by now.
check_options() {
    [ "$purge" = no ] || [ "$uninstall" = yes ] || fail "$EX_CONFIG" "--purge goes with --uninstall only" "nothing was removed"
    [ -z "$cameras" ] || [ -r "$cameras" ] || fail "$EX_CONFIG" "--cameras: $cameras cannot be read" "give the YAML list of cameras"
    [ -z "$bundle" ] || [ -e "$configuration" ] || has_invitation "$bundle" ||
        fail "$EX_CONFIG" "$bundle holds no invitation.json" "make one on the controller: vigil fleet enrol-token"
    case $key_store in
    auto | tpm2 | pkcs11 | credential | file) ;;
    *) fail "$EX_CONFIG" "--key-store: expected auto, tpm2, pkcs11, credential or file, found $key_store" ;;
    esac
    for option in $key_options; do
        case $option in ?*=*) ;; *) fail "$EX_CONFIG" "--key-option: expected NAME=VALUE, found $option" ;; esac
    done
}

absolute() {
    case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s/%s\n' "$(pwd)" "$1" ;; esac
}

while [ $# -gt 0 ]; do
    case $1 in
    --bundle=* | --source=* | --wheels=* | --cameras=* | --key-store=* | --key-option=*)
        given=$1
        shift
        set -- "${given%%=*}" "${given#*=}" "$@"
        continue
        ;;
    --bundle) require_value "$@"; bundle=$(absolute "$2"); shift ;;
    --source) require_value "$@"; source=$(absolute "$2"); shift ;;
    --wheels) require_value "$@"; wheels=$(absolute "$2"); shift ;;
    --cameras) require_value "$@"; cameras=$(absolute "$2"); shift ;;
    --key-store) require_value "$@"; key_store=$2; shift ;;
    --key-option) require_value "$@"; key_options="$key_options $2"; shift ;;
    --image) mode=image ;;
    --resume) resume=yes ;;
    --dry-run) dry_run=yes ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --yes) yes=yes ;;
    --force-os) force_os=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "$EX_CONFIG" "unknown option $1" ;;
    esac
    shift
done

[ "$(id -u)" -eq 0 ] || fail "$EX_CONFIG" "provisioning changes the system and needs root" "run it with sudo"
if [ "$resume" = yes ]; then read_options; else check_options; fi
begin_alone
if [ "$uninstall" = yes ]; then
    remove_everything
    exit 0
fi

step check "this machine suits" no check_machine check_machine
step keep "what later steps and boots need" has_kept keep_source keep_source
step account "user vigil and its folders" has_account make_account
# Before anything that wants a network, so that the next boot can go on.
step units "systemd units" has_units install_units
step packages "Debian packages" has_packages install_packages
step environment "the agent, from its lock" has_environment make_environment
if [ "$mode" = image ]; then
    end_image
    exit 0
fi
step enrol "identity and fleet" has_joined enrol
step configure "cameras" has_cameras write_cameras
step access "the devices that the board needs" has_access write_access
step start "the service" has_started start_service
end_device
