# shellcheck shell=sh
# systemd units, the service's access to devices, the end of a run, and the way back. Sourced by provision.sh.
# shellcheck disable=SC2154  # options are set by provision.sh

units=/etc/systemd/system
access=$units/vigil.service.d/10-access.conf
backoff=$units/vigil.service.d/20-backoff.conf
units_of_ours='vigil.service vigil-revive.service vigil-revive.timer vigil-provision.service'
unit_files="$units_of_ours vigil.service.d/30-launcher.conf"

with_systemd() { [ -d /run/systemd/system ]; }

reload_units() { if with_systemd; then run "systemctl daemon-reload" systemctl daemon-reload; fi; }

has_units() {
    for unit in $unit_files; do
        cmp -s "$kept/systemd/$unit" "$units/$unit" || return 1
    done
    [ -e "$units/multi-user.target.wants/vigil-provision.service" ]
}

install_units() {
    mkdir -p "$units/vigil.service.d"
    for unit in $unit_files; do
        write_file "$units/$unit" 644 <"$kept/systemd/$unit"
    done
    write_backoff
    reload_units
    run "systemctl enable vigil-provision" systemctl enable vigil-provision.service
}

# From systemd 254 on, the pause between restarts can grow; older ones would call the keys unknown.
write_backoff() {
    if [ "$(systemctl --version | awk 'NR == 1 { print $2 + 0 }')" -ge 254 ]; then
        printf '[Service]\nRestartSteps=5\nRestartMaxDelaySec=60\n' | write_file "$backoff" 644
    fi
}

has_access() { [ -e "$access" ] && "$vigil" provision drop-in 2>/dev/null | cmp -s - "$access"; }

write_access() {
    mkdir -p "$units/vigil.service.d"
    run "vigil provision drop-in" "$vigil" provision drop-in || { last_lines; fail "$EX_CONFIG" "the service's access cannot be worked out"; }
    printf '%s\n' "$output" | write_file "$access" 644
    reload_units
}

# What the running service was started from.
started_from() { cat "$opt/$(in_use)/complete" "$units/vigil.service" "$access" "$configuration" 2>/dev/null | sha256sum; }

has_started() {
    with_systemd && systemctl -q is-active vigil.service && [ "$(cat "$state/started" 2>/dev/null)" = "$(started_from)" ]
}

start_service() {
    run "systemctl enable" systemctl enable vigil.service || { last_lines; fail 1 "the service cannot be enabled"; }
    if ! with_systemd; then
        say "   systemd does not run here: the service starts at the next boot"
        return 0
    fi
    systemctl reset-failed vigil.service 2>/dev/null || true
    if ! run "systemctl restart" systemctl restart vigil.service; then
        last_lines
        journalctl -u vigil.service -n 5 -o cat --no-pager 2>/dev/null | sed 's/^/    /' || true
        fail 1 "the service does not start" "journalctl -u vigil.service says why"
    fi
    started_from | write_file "$state/started" 600
}

disarm() {
    rm -f "$state/pending"
    finished=yes
}

end_device() {
    if [ "$dry_run" = yes ]; then
        say "nothing was changed"
        return 0
    fi
    run "summary" "$vigil" provision summary || { last_lines; fail 1 "the installed configuration cannot be read"; }
    disarm
    printf '%s\n' "$green"
    say "This is a Vigil device."
    say "$output"
    say "  log       $log; journalctl -u vigil.service"
    printf '%s' "$plain"
}

end_image() {
    finished=yes
    printf '%s\n' "$green"
    say "The image is ready, without an identity."
    say "  agent      $("$vigil" --version 2>/dev/null || echo 'not installed (dry run)') in $opt"
    say "  first boot takes the invitation from a stick labelled VIGIL, /boot/firmware/vigil, /boot/vigil or"
    say "             /etc/vigil/bundle, makes the device's keys and starts the service"
    printf '%s' "$plain"
}

ask() { # QUESTION
    [ "$yes" = no ] || return 0
    [ -t 0 ] || fail "$EX_CONFIG" "$1 Nobody can answer here." "say --yes if you mean it"
    printf '%s [y/N] ' "$1"
    read -r answer
    case $answer in y | Y | yes) ;; *) fail "$EX_CONFIG" "nothing was removed" ;; esac
}

remove_everything() {
    step_name=uninstall
    what="$opt, the units, $state"
    [ "$purge" = no ] || what="$what, keys, configuration and models"
    if [ "$dry_run" = yes ]; then
        say "would remove: $what"
        return 0
    fi
    ask "Remove $what?"
    for unit in $units_of_ours; do
        if with_systemd && [ "$resume" = no ]; then systemctl -q stop "$unit" 2>/dev/null || true; fi
        systemctl -q disable "$unit" 2>/dev/null || true
        rm -f "$units/$unit"
    done
    rm -rf "$units/vigil.service.d" "$state"
    reload_units || true
    # Links and environments; a controller's own environment in /opt/vigil is not ours to remove.
    for part in a b current bin launch state provisioning; do rm -rf "${opt:?}/$part"; done
    rmdir "$opt" 2>/dev/null || true
    rm -f /usr/local/bin/vigil
    if [ "$purge" = yes ]; then
        rm -rf /etc/vigil /var/lib/vigil /etc/credstore.encrypted/vigil-device-key
        if id vigil >/dev/null 2>&1; then userdel vigil || true; fi
    else
        say "kept: /etc/vigil (keys, configuration) and /var/lib/vigil (models); --purge removes them"
    fi
    finished=yes
    say "removed: $what"
    [ "$purge" = no ] || rm -f "$log"
}
