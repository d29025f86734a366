# shellcheck shell=sh
# Who this device is: the bundle, keys and certificate, and its configuration. Sourced by provision.sh.
# shellcheck disable=SC2154  # options are set by provision.sh

configuration=/etc/vigil/vigil.yaml
stick=/run/vigil-stick
vigil=$opt/bin/vigil

release_stick() {
    if [ "${stick_mounted:-no}" = yes ]; then
        sync
        umount "$stick" 2>/dev/null || true
        stick_mounted=no
    fi
}

has_invitation() { [ -e "$1/invitation.json" ]; }

# Sets `bundle` to a folder with an invitation, or leaves it empty.
find_bundle() {
    if [ -n "$bundle" ]; then
        if has_invitation "$bundle"; then return 0; fi
        [ "$resume" = yes ] || fail "$EX_CONFIG" "$bundle holds no invitation.json" "make one on the controller: vigil fleet enrol-token"
        bundle=''
    fi
    for place in /boot/firmware/vigil /boot/vigil /etc/vigil/bundle; do
        if has_invitation "$place"; then bundle=$place; return 0; fi
    done
    [ -e /dev/disk/by-label/VIGIL ] || return 0
    mkdir -p "$stick"
    mount -o nosuid,nodev,noexec /dev/disk/by-label/VIGIL "$stick" && stick_mounted=yes || return 0
    for place in "$stick" "$stick/vigil" "$stick/stick"; do
        if has_invitation "$place"; then bundle=$place; return 0; fi
    done
}

has_joined() {
    [ -e "$configuration" ] && [ -e /etc/vigil/identity/device.crt ] || return 1
    # An invitation for another device must not be passed over in silence.
    [ -z "$bundle" ] || ! has_invitation "$bundle" || check_invitation
}

check_invitation() {
    if ! run "invitation" "$vigil" provision invitation "$bundle"; then
        last_lines
        fail "$EX_CONFIG" "the invitation in $bundle cannot be used" "have a new one made: vigil fleet enrol-token"
    fi
    device=$output
}

join_fleet() { # runs `vigil enroll` once; key options are names and paths, never secrets
    set -- --bundle "$bundle" --folder /etc/vigil --key-store "$key_store"
    for option in $key_options; do set -- "$@" --key-option "$option"; done
    joined=0
    (umask 077 && run "vigil enroll" "$vigil" enroll "$@" && record "$output") || joined=$?
    [ "$joined" -ne 0 ] || return 0
    tail -n 3 "$log" | cut -c1-300 | sed 's/^/    /'
    [ "$joined" -ne "$EX_TEMPFAIL" ] || postpone "the controller cannot be reached" "is there a network? the lines above say where it was looked for"
    fail "$EX_CONFIG" "this device cannot join with what is in $bundle" "nothing was changed on the controller; the lines above say what is wrong"
}

own_identity() {
    chown -R vigil:vigil /etc/vigil
    chmod 700 /etc/vigil/identity
}

enrol() {
    find_bundle
    [ -n "$bundle" ] || postpone "there is no invitation for this device" \
        "put the folder from \`vigil fleet enrol-token\` on a stick labelled VIGIL or into /boot/firmware/vigil"
    check_invitation
    say "   invited as $device"
    join_fleet
    own_identity
    if [ ! -e "$bundle/device.crt" ]; then
        sync
        postpone "$device waits to be admitted by the controller" \
            "carry $bundle to the controller, run \`vigil fleet admit FLEET $bundle\` there (it refuses a used or unknown token), bring it back"
    fi
    # With the certificate in the bundle, the same command takes it.
    [ -e "$configuration" ] || join_fleet
    own_identity
    say "   joined as $device"
}

has_cameras() { [ -z "$cameras" ] || [ "$(cat "$state/cameras" 2>/dev/null)" = "$(sha256sum <"$cameras")" ]; }

write_cameras() {
    if ! run "cameras" "$vigil" provision cameras "$cameras"; then
        last_lines
        fail "$EX_CONFIG" "$cameras is no list of cameras" "the configuration was not changed"
    fi
    own_identity
    sha256sum <"$cameras" | write_file "$state/cameras" 600
}
