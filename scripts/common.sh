# common.sh - the shared part of scripts/demo and scripts/test: the packages, and the build. Sourced, not run.

# The one list of Debian packages: those of the program, then those of its tests alone.
QKSCOPE_PACKAGES="autoconf automake autoconf-archive pkg-config make gcc libc6-dev libncurses-dev
    libopenblas-dev liblapacke-dev libcjson-dev nettle-dev libpcre2-dev libutf8proc-dev zlib1g-dev
    libcurl4-openssl-dev"
QKSCOPE_TEST_PACKAGES="clang libclang-rt-14-dev libcmocka-dev tmux python3 python3-numpy python3-yaml man-db nginx-light"

# at_exit COMMAND - runs the command when this shell ends, also by a signal, which dash does not do by itself.
at_exit() {
    # shellcheck disable=SC2064
    trap "$1" EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# install_packages NAME... - installs with apt-get the packages that dpkg lacks. Its output goes to stderr.
install_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "installing:$missing" >&2
    $sudo apt-get update -qq >&2
    # Tests run servers of their own, so the package's must not start. This file prevents that, and must not stay after
    # any end. The traps of a subshell leave the caller's alone.
    (
        policy=${QKSCOPE_POLICY:-/usr/sbin/policy-rc.d}
        if [ ! -e "$policy" ]; then
            at_exit "$sudo rm -f '$policy'"
            { printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null && $sudo chmod +x "$policy"; } || exit
        fi
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >&2
    )
}

# configure_in FOLDER [ARGUMENT...] - configures the sources in $top for a build in FOLDER, unless it is configured.
configure_in() {
    folder=$1
    shift
    mkdir -p "$folder"
    if [ ! -x "$top/configure" ] || [ "$top/configure.ac" -nt "$top/configure" ] || [ "$top/Makefile.am" -nt "$top/Makefile.in" ]; then
        "$top/scripts/bootstrap"
    fi
    if [ ! -f "$folder/Makefile" ] || [ "$top/configure" -nt "$folder/Makefile" ]; then
        (cd "$folder" && "$top/configure" --quiet "$@")
    fi
}
