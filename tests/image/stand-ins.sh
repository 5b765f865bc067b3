# Stand-ins for the base images that the Dockerfile names. Sourced by run.

# The packages of distroless/cc.
base_packages=(base-files netbase tzdata ca-certificates libc6 libgcc-s1)

# image_of NAME FOLDER...: makes an image of folders, each given as FROM:TO, and of settings for buildah config.
image_of() {
    local name=$1 container
    shift
    container=$(buildah from scratch)
    while [ $# -gt 0 ] && [[ $1 = /*:* ]]; do
        buildah add -q "$container" "${1%%:*}" "${1#*:}" >/dev/null
        shift
    done
    if [ $# -gt 0 ]; then buildah config "$@" "$container"; fi
    buildah commit -q --rm "$container" "$name" >/dev/null
}

# The roots are kept; they take a few minutes.
debian_root() {
    if [ -d "$work/debian" ]; then return; fi
    step "making the root of a Debian $release"
    rm -rf "$work/debian.unfinished"
    debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates,busybox "$release" "$work/debian.unfinished" \
        >"$work/debootstrap.log" || missing "debootstrap failed: see $work/debootstrap.log"
    mv "$work/debian.unfinished" "$work/debian"
}

base_root() {
    if [ -d "$work/base" ]; then return; fi
    step "making the root of the base image of ${base_packages[*]}"
    local root=$work/base.unfinished package
    rm -rf "$root"
    mkdir -p "$root"
    chroot "$work/debian" sh -c "cd /tmp && apt-get -q download ${base_packages[*]}" >/dev/null
    for package in "$work"/debian/tmp/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm "$work"/debian/tmp/*.deb
    cp -a "$work/debian/etc/ssl" "$root/etc/"
    printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$root/etc/passwd"
    mv "$root" "$work/base"
}

stand_ins() {
    debian_root
    base_root
    local rust settings=()
    rust=$(rustc --print sysroot)
    step "making the stand-ins $rust_image, of $(rustc --version), and $base_image"
    if $quick; then
        settings=(--env CARGO_PROFILE_RELEASE_OPT_LEVEL=0 --env CARGO_PROFILE_RELEASE_LTO=off --env CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16)
    fi
    # One for each Rust, and for quick.
    rust_stand_in=localhost/planet-rust-$quick:$(rustc --version | cut -d ' ' -f 2)
    base_stand_in=localhost/planet-base:$release
    if ! is_image "$base_stand_in"; then image_of "$base_stand_in" "$work/base:/" --user 65532; fi
    if ! is_image "$service_image"; then image_of "$service_image" "$work/debian:/"; fi
    if ! is_image "$rust_stand_in"; then
        image_of "$rust_stand_in" "$work/debian:/" "$rust/bin:/usr/local/bin" "$rust/lib:/usr/local/lib" \
            --env CARGO_HOME=/usr/local/cargo --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${settings[@]}"
    fi
    buildah tag "$rust_stand_in" "$rust_image"
    buildah tag "$base_stand_in" "$base_image"
}
is_image() { buildah inspect --type image "$1" >/dev/null 2>&1; }
