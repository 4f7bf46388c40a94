# Shared by every script here: where things are, what must be installed, and progress on whatever takes long.
# Sourced, never run; the caller has `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${KVMSHARP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvmsharp}
logs=$root/artifacts/logs
guest=$root/artifacts/guest
mkdir -p "$logs"

# The SDK needs no ICU library and asks nothing of anybody.
export MSBUILDDISABLENODEREUSE=1
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1

# say LINE…
say() { printf '%s\n' "$@" >&2; }

# fail WHAT [WHAT TO TYPE]: three lines at most, exit code 1.
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# progress NAME SENTENCE COMMAND…: runs the command with its output in artifacts/logs/NAME.log. What takes over two
# seconds is shown: seconds counting on a terminal, a line every thirty elsewhere; the end of the log where it fails.
progress() {
    local name=$1 sentence=$2 log pid start status=0 shown=0 seconds
    shift 2
    log=$logs/$name.log
    start=$SECONDS
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        seconds=$((SECONDS - start))
        if [ -t 2 ] && [ "$seconds" -ge 2 ]; then
            printf '\r%s … %d s ' "$sentence" "$seconds" >&2
        elif [ ! -t 2 ] && [ "$seconds" -ge 2 ] && [ $((seconds - shown)) -ge 30 -o "$shown" = 0 ]; then
            printf '%s … %d s\n' "$sentence" "$seconds" >&2
            shown=$seconds
        fi
        sleep 0.2
    done
    wait "$pid" || status=$?
    seconds=$((SECONDS - start))
    if [ "$status" != 0 ]; then
        [ -t 2 ] && printf '\r\033[K' >&2
        tail -n 20 "$log" >&2
        say "$sentence: failed after $seconds s (exit code $status). The whole log: $log"
    elif [ "$seconds" -ge 2 ]; then
        [ -t 2 ] && printf '\r' >&2
        say "$sentence: done in $seconds s. "
    fi
    return "$status"
}

# have WHAT: a command on the PATH, a file where WHAT begins with a slash, a shared library where it looks like one.
have() {
    case $1 in
        /*) [ -e "$1" ] ;;
        lib*.so.*) PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -F "$1 " >/dev/null ;; # -q would end ldconfig by SIGPIPE
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# need_packages WHAT=PACKAGE…: installs Debian's PACKAGE for each WHAT that is not here.
need_packages() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return 0
    install_packages "${missing[@]}"
    for pair in "$@"; do
        have "${pair%%=*}" || fail "${pair%%=*} is still missing after the installation of ${pair#*=}."
    done
}

install_packages() {
    local as_root=()
    have apt-get || fail "Missing here: $*. These are the names of Debian's packages: install what your distribution calls them, then run this again."
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "Missing here: $*. Neither root nor sudo is at hand to install them." "Type, as root:  apt-get install $*"
        as_root=(sudo)
    fi
    say "Installing with apt-get what is missing here: $*."
    # sudo may ask for a password: once, before its output goes to a log.
    [ ${#as_root[@]} = 0 ] || sudo -v || fail "sudo was refused." "Type, as root:  apt-get install $*"
    progress apt-install "Installing $*" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" && return 0
    progress apt-update "Fetching the list of packages" "${as_root[@]}" apt-get update || true
    progress apt-install "Installing $*" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@" ||
        fail "The packages could not be installed; is this machine offline?" "Type, once it is online:  ${as_root[*]:+sudo }apt-get install $*"
}

# need_dotnet: an SDK that fits global.json, from the PATH, from ~/.dotnet, or by Microsoft's install script.
need_dotnet() {
    dotnet_fits && return 0
    if [ -x "$HOME/.dotnet/dotnet" ]; then
        export DOTNET_ROOT=$HOME/.dotnet PATH=$HOME/.dotnet:$PATH
        dotnet_fits && return 0
    fi
    local version script=$root/artifacts/dotnet-install.sh
    version=$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' "$root/global.json")
    say "No .NET SDK that fits global.json ($version) is here: installing it with Microsoft's install script into $HOME/.dotnet."
    have curl || have wget || need_packages curl=curl
    need_packages /etc/ssl/certs/ca-certificates.crt=ca-certificates
    progress dotnet-script "Fetching the install script" fetch https://dot.net/v1/dotnet-install.sh "$script" ||
        fail "Microsoft's install script could not be fetched; is this machine offline?" \
            "Type, once it is online:  curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --version $version --install-dir ~/.dotnet"
    progress dotnet-install "Installing .NET $version into $HOME/.dotnet" bash "$script" --version "$version" --install-dir "$HOME/.dotnet" --no-path ||
        fail "The .NET SDK could not be installed." "Type:  bash $script --version $version --install-dir ~/.dotnet"
    export DOTNET_ROOT=$HOME/.dotnet PATH=$HOME/.dotnet:$PATH
    dotnet_fits || fail "The SDK in $HOME/.dotnet does not fit global.json." "Type:  dotnet --list-sdks"
}

# `dotnet --version` resolves global.json of the folder it runs in, and fails where no SDK fits.
dotnet_fits() {
    have dotnet && (cd "$root" && dotnet --version) >/dev/null 2>&1
}

# fetch ADDRESS FILE
fetch() {
    if have curl; then
        curl -fsSL --retry 2 -o "$2" "$1"
    else
        wget -q -O "$2" "$1"
    fi
}

# hash_of FOLDER|FILE…: one hash over the names and contents of every source file under them.
hash_of() {
    (cd "$root" && find "$@" -type f -not -path '*/bin/*' -not -path '*/obj/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
        sha256sum | cut -c1-16
}

# number FILE MEMBER: the first number of that name in a JSON document written a member a line; nothing where there is none.
number() { awk -v m="\"$2\":" '$1 == m && $2 ~ /^[-0-9]/ { sub(/,$/, "", $2); print $2; exit }' "$1"; }

# one_at_a_time NAME: two runs in one checkout wait for each other instead of writing over each other.
one_at_a_time() {
    mkdir -p "$root/artifacts"
    exec {lock}>"$root/artifacts/$1.lock"
    # A build server that outlives the script has the descriptor too: unlocked, it keeps nobody waiting.
    trap 'flock -u "$lock"' EXIT
    flock -n "$lock" && return 0
    say "Another run of scripts/$1 is at work in this folder: waiting for it."
    flock "$lock"
}
