#!/usr/bin/env bash
# A network and a pool: a volume cloned for each of three machines, which are started on the network; who has which address; a volume kept, broken and set back.
# usage: docs/examples/pools.sh KERNEL [OPTIONS OF kvmsharp create]     KERNEL is a guest, with --initrd FILE where it needs one. $KVMSHARP is the program,
# kvmsharp on the PATH where it is not set; $POOL a folder for the pool, one in the temporary folder where it is not set.
set -euo pipefail

kvmsharp=${KVMSHARP:-kvmsharp}
kernel=${1:?usage: docs/examples/pools.sh KERNEL [OPTIONS]}
shift
work=$(mktemp -d)
pool=${POOL:-$work/pool}

clean_up() {
    for name in web1 web2 web3; do "$kvmsharp" rm --force $name; done
    "$kvmsharp" net rm --force example
    "$kvmsharp" pool rm --force example
    rm -rf "$work"
} >/dev/null 2>&1
trap 'clean_up || true' EXIT

cat >"$work/example.json" <<'EOF'
{
  "name": "example",
  "subnet": "10.77.0.0/24",
  "domain": "example",
  "machines": [ { "name": "web1" }, { "name": "web2" }, { "name": "web3", "address": "10.77.0.33" } ]
}
EOF
"$kvmsharp" net define "$work/example.json"
"$kvmsharp" net start example

"$kvmsharp" pool define example "$pool" --quota 10G
head -c 1M /dev/urandom >"$work/gold.raw"
"$kvmsharp" volume upload "$work/gold.raw" example/gold
for name in web1 web2 web3; do
    "$kvmsharp" volume clone example/gold example/$name
    "$kvmsharp" create "$kernel" --name $name --disk example/$name --net network=example "$@"
    "$kvmsharp" start $name
done

"$kvmsharp" net inspect example
"$kvmsharp" pool inspect example

# A volume that a guest has stands still first.
"$kvmsharp" kill web1
"$kvmsharp" volume snapshot example/web1@good
file=$("$kvmsharp" volume ls example --json | sed -n '/"name": "example\/web1"/,/"file"/ s/.*"file": "\(.*\)",/\1/p')
"$kvmsharp" volume download example/web1 "$work/before.raw"
: >"$file"
"$kvmsharp" pool inspect example
"$kvmsharp" start web1 || echo "broken, as expected"
"$kvmsharp" volume restore example/web1@good
"$kvmsharp" volume download example/web1 "$work/after.raw"
cmp "$work/before.raw" "$work/after.raw" && echo "web1 is as it was"
"$kvmsharp" start web1
