# shellcheck shell=bash
# The contents of the Debian package, below $stage; sourced by scripts/package-deb after bootstrap.sh.
# Sets version and architecture. Libraries are built for /usr/bin/python3, whatever python3 is in PATH.

PYTHON=/usr/bin/python3
PRIVATE=usr/lib/mmirrorfs
DOC=usr/share/doc/mmirrorfs

lacking_to_package() {
    lacking dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev strip:binutils gzip:gzip
    lacking_to_build
    "$PYTHON" -I - 2>/dev/null <<'EOF' || printf '%s\n' python3 python3-dev
import os, sys, sysconfig
sys.exit(sys.version_info < (3, 11) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
EOF
}

# Recompile what was compiled for an older libfuse.
stage_program() {
    local library=${stage:?}/$PRIVATE
    install_libraries || die "the libraries cannot be installed"
    "$PYTHON" -IS -c 'import sys; sys.path[:0] = sys.argv[1:]; import pyfuse3' "$library" 2>/dev/null ||
        install_libraries --no-cache-dir --upgrade
    rm -rf -- "${library:?}/bin"
    find "$library" -depth \( -name _tests -o -name __pycache__ -o -name direct_url.json \) -exec rm -rf -- {} +
    find "$library" -type d -exec chmod 755 -- {} +
    find "$library" -type f -exec chmod 644 -- {} +
    find "$library" -name '*.so' -exec strip --strip-unneeded --remove-section=.comment -- {} +
    put 755 "$ROOT/packaging/deb/launcher" usr/bin/mmirrorfs
    mkdir -p -- "$stage/usr/sbin"
    ln -s ../bin/mmirrorfs "$stage/usr/sbin/mount.fuse.mmirrorfs"
    ln -s ../bin/mmirrorfs "$stage/usr/sbin/mount.mmirrorfs"
    put 644 "$ROOT/mmirrorfs/cli/mmirrorfs@.service" usr/lib/systemd/system/mmirrorfs@.service
}

# A separate cache: wheels compiled by other Pythons look for libraries in their own paths.
install_libraries() {
    local cache=$ROOT/build/debian
    "$VENV/bin/python" -m pip --disable-pip-version-check --python "$PYTHON" --cache-dir "$cache" -qq \
        install --no-compile "$@" \
        --target "$stage/$PRIVATE" "$ROOT" >&2
}

# The release is part of the version: the package for the next one has to count as newer.
stage_documents() {
    local page
    # shellcheck disable=SC1091
    version=$(installed -c 'import mmirrorfs; print(mmirrorfs.__version__)')-1~$(. /etc/os-release && echo "$ID${VERSION_ID-}")
    architecture=$(dpkg --print-architecture)
    page=$(mktemp)
    installed -m mmirrorfs.cli.manual >"$page"
    put 644 "$page" usr/share/man/man8/mmirrorfs.8
    ln -s mmirrorfs.8.gz "$stage/usr/share/man/man8/mount.fuse.mmirrorfs.8.gz"
    ln -s mmirrorfs.8.gz "$stage/usr/share/man/man8/mount.mmirrorfs.8.gz"
    debian_changelog >"$page"
    put 644 "$page" $DOC/changelog.Debian
    rm -- "$page"
    put 644 "$ROOT/CHANGELOG.md" $DOC/changelog
    gzip -9n "$stage/usr/share/man/man8/mmirrorfs.8" "$stage/$DOC/changelog" "$stage/$DOC/changelog.Debian"
    put 644 "$ROOT/packaging/deb/copyright" $DOC/copyright
    put 644 "$ROOT/packaging/fstab.example" $DOC/examples/fstab
    put 644 "$ROOT/packaging/high.conf.example" $DOC/examples/high.conf
    put 644 "$ROOT/packaging/deb/lintian-overrides" usr/share/lintian/overrides/mmirrorfs
}

stage_completions() {
    local shell
    mkdir -p -- "$stage"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    for shell in bash/bash-completion/completions/mmirrorfs zsh/zsh/vendor-completions/_mmirrorfs \
        fish/fish/vendor_completions.d/mmirrorfs.fish; do
        _MMIRRORFS_COMPLETE=${shell%%/*}_source installed -m mmirrorfs >"$stage/usr/share/${shell#*/}"
    done
}

stage_control() {
    local script python depends size
    python=$("$PYTHON" -c 'import sys; print(f"python3 (>= 3.{sys.version_info[1]}), python3 (<< 3.{sys.version_info[1] + 1})")')
    depends="fuse3, $python, $(library_dependencies)"
    size=$(du -sk --apparent-size -- "$stage" | cut -f1)
    mkdir -- "$stage/DEBIAN"
    sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/; s/@DEPENDS@/$depends/" \
        "$ROOT/packaging/deb/control" >"$stage/DEBIAN/control"
    for script in postinst prerm postrm; do put 755 "$ROOT/packaging/deb/$script" "DEBIAN/$script"; done
    (cd -- "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
}

# dpkg-shlibdeps wants a source package around it.
library_dependencies() (
    cd -- "$(mktemp -d)" || exit
    trap 'rm -rf -- "$PWD"' EXIT
    mkdir debian
    printf 'Source: mmirrorfs\n\nPackage: mmirrorfs\nArchitecture: any\n' >debian/control
    find "$stage/$PRIVATE" -name '*.so' -exec dpkg-shlibdeps -O {} + | sed 's/^shlibs:Depends=//'
)

debian_changelog() {
    printf 'mmirrorfs (%s) unstable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n' "$version"
    printf ' -- mmirrorfs contributors <mmirrorfs@localhost>  %s\n' "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
}

installed() { PYTHONPATH=$stage/$PRIVATE PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -SP "$@"; }

put() { install -D -m "$1" -- "$2" "$stage/$3"; }
