#!/usr/bin/env bash
# Firecracker's getting-started sequence against kvmsharp: five PUTs by curl boot a kernel with its root file system, then a configuration file does the same.
#
#   docs/examples/firecracker.sh VMLINUX ROOTFS
#
# VMLINUX is a kernel with virtio-mmio, ROOTFS an ext4 image whose init powers off or reboots by itself. KVMSHARP names the program, ENGINE what runs the
# guest (auto), TAP an interface of this host for the network card, which is left out without it.
set -euo pipefail

kernel=${1:?usage: firecracker.sh VMLINUX ROOTFS}
rootfs=${2:?usage: firecracker.sh VMLINUX ROOTFS}
kvmsharp=${KVMSHARP:-kvmsharp}
engine=${ENGINE:-auto}
folder=$(mktemp -d)
socket=$folder/firecracker.socket
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null || true; rm -rf "$folder"' EXIT

boot_args='console=ttyS0 reboot=k panic=1 pci=off'

# A request, whose status has to be 204.
put() {
    local status
    status=$(curl --silent --show-error --output "$folder/answer" --write-out '%{http_code}' --unix-socket "$socket" -X PUT "http://localhost/$1" --data "$2")
    echo "PUT /$1: $status"
    [ "$status" = 204 ] || { cat "$folder/answer" >&2; exit 1; }
}

# Under the name that Firecracker's clients start.
ln -s "$(command -v "$kvmsharp")" "$folder/firecracker"

echo '== by requests'
"$folder/firecracker" --api-sock "$socket" --engine "$engine" </dev/null &
vm=$!
# The socket appears when the program listens.
until [ -S "$socket" ]; do
    kill -0 "$vm"
    sleep 0.05
done

put logger "{\"log_path\": \"$folder/log\", \"level\": \"Debug\", \"show_level\": true, \"show_log_origin\": true}"
put boot-source "{\"kernel_image_path\": \"$kernel\", \"boot_args\": \"$boot_args\"}"
put drives/rootfs "{\"drive_id\": \"rootfs\", \"path_on_host\": \"$rootfs\", \"is_root_device\": true, \"is_read_only\": false}"
if [ -n "${TAP:-}" ]; then
    put network-interfaces/net1 "{\"iface_id\": \"net1\", \"guest_mac\": \"06:00:AC:10:00:02\", \"host_dev_name\": \"$TAP\"}"
else
    put machine-config '{"vcpu_count": 1, "mem_size_mib": 128}'
fi
put actions '{"action_type": "InstanceStart"}'
curl --silent --unix-socket "$socket" http://localhost/
echo
wait "$vm"
vm=
echo '== the log'
cat "$folder/log"

echo '== by a configuration file'
cat > "$folder/vm.json" <<END
{
  "boot-source": { "kernel_image_path": "$kernel", "boot_args": "$boot_args" },
  "drives": [ { "drive_id": "rootfs", "path_on_host": "$rootfs", "is_root_device": true, "is_read_only": false } ],
  "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 }
}
END
"$folder/firecracker" --no-api --config-file "$folder/vm.json" --engine "$engine" </dev/null
echo '== both ended well'
