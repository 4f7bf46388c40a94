#!/usr/bin/env bash
# Two machines: made, started, one paused, the other stopped gracefully, both listed as text and as JSON.
# usage: docs/examples/lifecycle.sh KERNEL [OPTIONS OF kvmsharp create]     KERNEL is a guest that powers off when its power button is
# pressed, with --initrd FILE where it needs one. $KVMSHARP is the program, kvmsharp on the PATH where it is not set.
set -euo pipefail

kvmsharp=${KVMSHARP:-kvmsharp}
kernel=${1:?usage: docs/examples/lifecycle.sh KERNEL [OPTIONS]}
shift

clean_up() { "$kvmsharp" rm --force one >/dev/null 2>&1 || true; "$kvmsharp" rm --force two >/dev/null 2>&1 || true; }
trap clean_up EXIT

"$kvmsharp" create "$kernel" --name one "$@"
"$kvmsharp" create "$kernel" --name two "$@"
"$kvmsharp" start one
"$kvmsharp" start two

# Whoever presses the power button of a kernel that is still booting is not heard.
if [ -n "${READY:-}" ]; then
    grep -m 1 -F "$READY" < <("$kvmsharp" logs --follow two) >/dev/null
fi

"$kvmsharp" pause one
"$kvmsharp" stop two --timeout 60s

"$kvmsharp" ps --all
"$kvmsharp" ps --all --json
"$kvmsharp" events
