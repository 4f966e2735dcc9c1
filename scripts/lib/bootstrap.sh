# shellcheck shell=bash
# Installs what a fresh Debian or Ubuntu machine lacks, then creates the checkout's .venv. Sourced by the other scripts:
#     bootstrap run|demo|test
# Packages are installed only without a prompt (as root, or by sudo without a password); else they are listed.
# Quiet if nothing is missing; messages go to stderr. Sets ROOT and VENV to absolute paths.

ROOT=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")")
VENV=$ROOT/.venv

# PROGRAM:PACKAGE. All programs that tests need, except those of any Debian (tests/packaging/test_suite.py).
DEMO_PROGRAMS=(ffmpeg:ffmpeg ffprobe:ffmpeg)
TEST_PROGRAMS=(
    rsync:rsync setfacl:acl getfacl:acl getfattr:attr strace:strace flac:flac metaflac:flac
    ffmpeg:ffmpeg ffprobe:ffmpeg mpd:mpd mpc:mpc losetup:mount pivot_root:util-linux-extra fallocate:util-linux ionice:util-linux mount:mount umount:mount stress-ng:stress-ng
    mkfs.ext4:e2fsprogs mkfs.vfat:dosfstools mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs
    mksquashfs:squashfs-tools mkfs.erofs:erofs-utils xorriso:xorriso
    bindfs:bindfs mergerfs:mergerfs sshfs:sshfs ssh-keygen:openssh-client rclone:rclone faketime:faketime zsh:zsh fish:fish mandoc:mandoc man:man-db groff:groff
    entr:entr tini:tini inotifywait:inotify-tools chromium:chromium chromedriver:chromium-driver
    restic:restic borg:borgbackup mutagen-inspect:python3-mutagen mid3v2:python3-mutagen beet:beets sox:sox mpv:mpv
)
# Servers that tests start themselves. On a machine run by systemd their packages would start them too, and have them
# listen: they are installed only without systemd, or if CI is set. systemd itself is there, or here.
SERVER_PROGRAMS=(
    systemd-analyze:systemd
    smbd:samba smbclient:smbclient minidlnad:minidlna rpcbind:rpcbind nfs-ls:libnfs-utils nfs-cat:libnfs-utils nfs-cp:libnfs-utils ip:iproute2
    ganesha.nfsd:$'nfs-ganesha\nnfs-ganesha-vfs' sshd:openssh-server
    glusterd:glusterfs-server gluster:glusterfs-server glusterfs:glusterfs-client mount.glusterfs:glusterfs-client
)

bootstrap() {
    local group=run current='' programs=(fusermount3:fuse3)
    case $1 in
        demo) programs+=("${DEMO_PROGRAMS[@]}") ;;
        test) group=dev ;;
    esac
    if venv_is_sound && venv_is_current "$group"; then current=yes; fi
    require < <(
        lacking "${programs[@]}"
        [[ $current ]] || lacking_to_build
    )
    [[ $group != dev ]] || want < <(lacking "${TEST_PROGRAMS[@]}")
    [[ $group != dev || (-d /run/systemd/system && ! ${CI-}) ]] || want < <(lacking "${SERVER_PROGRAMS[@]}")
    [[ $current ]] || install_into_venv "$group"
}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$@"
    exit 2
}

# --- Packages: what is lacking goes down a pipe, one package a line ---

lacking() {
    local pair
    for pair; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done | sort -u
}

lacking_to_build() {
    lacking gcc:gcc pkg-config:pkg-config
    gcc -E -include stdlib.h -x c /dev/null &>/dev/null || echo libc6-dev
    pkg-config --exists fuse3 2>/dev/null || echo libfuse3-dev
    find_python >/dev/null || printf '%s\n' python3 python3-venv python3-dev
}

require() {
    local packages
    mapfile -t packages
    apt_install "${packages[@]}" || die "missing: ${packages[*]}. Type: sudo apt-get install ${packages[*]}"
}

# A package that this distribution does not have, or cannot install, keeps none of the others away.
want() {
    local packages package known=() unknown=()
    mapfile -t packages
    apt_install "${packages[@]}" && return
    for package in "${packages[@]}"; do
        if apt-get --simulate install "$package" &>/dev/null; then known+=("$package"); else unknown+=("$package"); fi
    done
    if ((${#known[@]} && ${#unknown[@]})) && apt_install "${known[@]}"; then packages=("${unknown[@]}"); fi
    say "missing, and what needs them is skipped: ${packages[*]}. Type: sudo apt-get install ${packages[*]}"
}

# The first try is silent: on a machine that never fetched its package lists it is bound to fail.
apt_install() {
    (($#)) || return 0
    command -v apt-get >/dev/null || return 1
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    local install=(install --yes --no-install-recommends "$@")
    if ((EUID)); then
        sudo -n true 2>/dev/null || return 1
        apt=(sudo -n "${apt[@]}")
    fi
    say "installing: $*"
    "${apt[@]}" "${install[@]}" &>/dev/null </dev/null || {
        "${apt[@]}" update && "${apt[@]}" "${install[@]}"
    } >/dev/null </dev/null
}

# --- The environment ---

# The first python3 in PATH need not be the system's: it counts only with its own venv and headers.
find_python() {
    local python
    for python in python3 /usr/bin/python3 python3.{14,13,12,11}; do
        "$python" -I - 2>/dev/null <<'PYTHON' && return
import ensurepip, os, sys, sysconfig, venv
if sys.version_info < (3, 11) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit(1)
print(sys._base_executable)
PYTHON
    done
    return 1
}

# A venv is broken by a move of the checkout, by the loss of its python, and by a new libfuse under pyfuse3.
venv_is_sound() {
    [[ $(cat -- "$VENV/checkout" 2>/dev/null) == "$ROOT" ]] && "$VENV/bin/python" -I -c 'import pyfuse3' 2>/dev/null
}

venv_is_current() { [[ $(cat -- "$VENV/installed-$1" 2>/dev/null) == "$(sha256sum <"$ROOT/pyproject.toml")" ]]; }

create_venv() {
    local python
    python=$(find_python) || die "missing: a python3 of 3.11 or later, with its venv module and its headers"
    say "making $VENV with $python"
    rm -rf -- "$VENV"
    "$python" -m venv "$VENV" >&2
    printf '%s\n' "$ROOT" >"$VENV/checkout"
}

# pyfuse3 is compiled here; one from pip's cache may be of an older libfuse, and is then compiled again.
install_into_venv() (
    venv_is_sound || create_venv
    cd -- "$ROOT" || exit
    pip=("$VENV/bin/python" -m pip --disable-pip-version-check -qq install)
    what=(--editable .)
    say "installing mmirrorfs into $VENV"
    if [[ $1 == dev ]]; then
        "${pip[@]}" --upgrade 'pip>=25.1' >&2 # the first that knows --group
        what+=(--group dev)
    fi
    "${pip[@]}" "${what[@]}" >&2
    venv_is_sound || "${pip[@]}" --no-cache-dir --force-reinstall --no-deps pyfuse3 >&2
    sha256sum <pyproject.toml | tee -- "$VENV/installed-run" "$VENV/installed-$1" >/dev/null
)
