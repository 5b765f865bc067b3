# The tools, and what the checks are written with. Sourced by run.

step() { printf '\n== %s\n' "$*"; }
missing() {
    printf 'tests/image/run: %s\n' "$*" >&2
    exit 1
}

failures=0
# expect WHAT EXPECTED CAME: prints a line, and remembers if the two differ.
expect() {
    if [ "$2" = "$3" ]; then
        printf 'ok    %s: %s\n' "$1" "$3"
    else
        printf 'WRONG %s: expected %s, and it is %s\n' "$1" "$2" "$3"
        failures=$((failures + 1))
    fi
}
verdict() {
    if [ "$failures" != 0 ]; then
        step "$failures promises are not kept, after $SECONDS s"
        exit 1
    fi
    step "all is well, after $SECONDS s"
}

# quietly COMMAND...: without what it says, of timers of systemd, for example, where there is no systemd.
quietly() { "$@" >/dev/null 2>>"$work/log" || missing "$* failed: see $work/log"; }

# within SECONDS COMMAND...: tries a command until it succeeds, and says yes, or no when the time is over.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $until ]; then
            echo no
            return
        fi
        sleep 0.1
    done
    echo yes
}

# The code that a command ends with.
code_of() {
    local code=0
    "$@" >/dev/null 2>&1 || code=$?
    echo "$code"
}

install_tools() {
    [ "$(id -u)" = 0 ] || missing "it makes base images with chroot, and looks into images: run it as root"
    command -v cargo >/dev/null || missing "cargo is not installed; see https://rustup.rs"
    export PATH=$PATH:/usr/sbin
    local packages=() pair
    for pair in buildah:buildah podman:podman runc:runc debootstrap:debootstrap curl:curl nsenter:util-linux; do
        command -v "${pair%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    # The program of the container that holds a pod's network.
    [ -x /usr/libexec/podman/catatonit ] || [ -x /usr/bin/catatonit ] || packages+=(catatonit)
    if [ ${#packages[@]} -gt 0 ]; then
        command -v apt-get >/dev/null || missing "these are not installed, as packages of Debian are called: ${packages[*]}"
        step "installing ${packages[*]}"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
    fi
    mkdir -p "$work"
    # In a container of continuous integration there is no systemd, and limits may be lowered and not raised. crun does not start where both
    # versions of control groups are mounted.
    cat >"$work/containers.conf" <<END
[containers]
default_ulimits = ["nofile=1024:20000", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
END
    export CONTAINERS_CONF=$work/containers.conf
    storage=(--root "$work/storage" --runroot "$work/run" --storage-driver overlay)
}

buildah() { nice "$(type -P buildah)" "${storage[@]}" "$@"; }
podman() { "$(type -P podman)" "${storage[@]}" "$@"; }

# No container stays, and no mount, so that cargo clean can remove the images.
put_away() {
    podman pod rm --all --force --time 0 >/dev/null 2>&1 || true
    podman volume rm --all --force >/dev/null 2>&1 || true
    buildah rm --all >/dev/null 2>&1 || true
    findmnt --raw --noheadings --output TARGET | grep "^$work/storage/" | sort --reverse | xargs --no-run-if-empty umount || true
}
