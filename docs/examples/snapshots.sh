#!/usr/bin/env bash
# A guest that counts: saved while it counts, restored, seen to go on from the saved count; begun three times beside one another, each with a
# network address of its own; backed up while it runs, everything deleted, and the backup restored from one file.
# usage: docs/examples/snapshots.sh KERNEL INITRD [OPTIONS OF kvmsharp run]     KERNEL and INITRD are those of scripts/guest-kernel, whose guest
# counts by kvmsharp.run=count. $KVMSHARP is the program, kvmsharp on the PATH where it is not set.
set -euo pipefail

kvmsharp=${KVMSHARP:-kvmsharp}
kernel=${1:?usage: docs/examples/snapshots.sh KERNEL INITRD [OPTIONS]}
initrd=${2:?usage: docs/examples/snapshots.sh KERNEL INITRD [OPTIONS]}
shift 2
guest=(--initrd "$initrd" --append kvmsharp.run=count "$@")

work=$(mktemp -d)
export KVMSHARP_STATE=$work/state KVMSHARP_RUNTIME=$work/run
running=()
clean_up() {
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    "$kvmsharp" template drop counting >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

# begin LOG ARGUMENTS: runs a guest with its console in LOG; its process is the last of $running.
begin() {
    local log=$1
    shift
    "$kvmsharp" "$@" </dev/null >"$log" 2>&1 &
    running+=($!)
}
# The first and the last number on a console, and waiting until it has one above another.
first() { grep -ao 'COUNT [0-9]*' "$1" | head -n 1 | cut -d' ' -f2; }
last() { grep -ao 'COUNT [0-9]*' "$1" | tail -n 1 | cut -d' ' -f2; }
wait_above() {
    for _ in $(seq 1200); do
        now=$(last "$1" || true)
        [ "${now:-0}" -gt "$2" ] && return
        sleep 0.1
    done
    echo "the guest does not count on: $(tail -n 5 "$1")" >&2
    exit 1
}
# end: ends the last guest that began.
end() {
    kill "${running[-1]}"
    wait "${running[-1]}" || true
    unset 'running[-1]'
}
# between WHAT NUMBER LEAST MOST
between() {
    [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] || { echo "$1 is $2, not $3 to $4" >&2; exit 1; }
    echo "$1: $2 ($3 to $4 is right)"
}

echo "== a guest counts, on its console and on its disk; it is saved, and counts on"
"$kvmsharp" disk create "$work/disk.qcow2" 64M
begin "$work/one" run "$kernel" "${guest[@]}" --name counter --disk "$work/disk.qcow2,backing=allow"
wait_above "$work/one" 3
least=$(last "$work/one")
"$kvmsharp" snapshot create counter saved
most=$(last "$work/one")
wait_above "$work/one" $((most + 10))
end

echo "== restored it goes on from the saved count, with the disk of that moment"
begin "$work/two" restore saved
wait_above "$work/two" "$least"
between "the first number after the snapshot" "$(first "$work/two")" "$least" $((most + 2))

echo "== backed up while it runs, with its memory, into one file; everything else is deleted"
least=$(last "$work/two")
backup=$("$kvmsharp" backup create counter --memory --json | grep -o '"name":"[^"]*"' | cut -d'"' -f4)
most=$(last "$work/two")
"$kvmsharp" snapshot export "$backup" "$work/counter.kvmsnap" --store "$KVMSHARP_STATE/backups"
end
rm -rf "$KVMSHARP_STATE" "$work"/disk*
begin "$work/three" restore "$work/counter.kvmsnap" --disks "$work/restored"
wait_above "$work/three" "$least"
between "the first number after the backup" "$(first "$work/three")" "$least" $((most + 2))
end

echo "== three guests from one that is ready, each with an address of its own"
"$kvmsharp" template build counting "$kernel" "${guest[@]}" --net "switch=counting" --ready-match "COUNT 3"
for name in a b c; do
    begin "$work/$name" run --from counting --name "$name" --verbose
done
for name in a b c; do
    wait_above "$work/$name" 5
    between "the first number of $name" "$(first "$work/$name")" 3 6
done
addresses=$(grep -ahoE '([0-9a-f]{2}:){5}[0-9a-f]{2}' "$work/a" "$work/b" "$work/c" | sort -u | wc -l)
[ "$addresses" -ge 3 ] || { echo "the guests share addresses: $addresses" >&2; exit 1; }
echo "addresses: $addresses"
echo "== done"
