# Sourced by peers that are made of Debian packages. Needs apt-get and dpkg-deb; no root rights.

# debian_root SUITE ARCHITECTURE FOLDER PACKAGE...
# Unpacks packages of another suite or architecture, with what they need, into FOLDER; no maintainer script runs.
# The mirror is the one that this machine's apt uses.
debian_root() {
    suite=$1 architecture=$2 folder=$3
    shift 3
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "needs apt-get and dpkg-deb, of Debian"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -f "$keyring" ] || fail "needs $keyring (Debian, Ubuntu: apt install debian-archive-keyring)"
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || fail "apt knows no mirror of Debian in /etc/apt"
    apt=$folder.apt
    mkdir -p "$folder" "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [arch=$architecture signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
    cat >"$apt/conf" <<CONF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Debug::NoLocking "true";
CONF
    APT_CONFIG=$apt/conf
    export APT_CONFIG
    quietly apt-get -q update
    quietly apt-get -q install -y --download-only "$@"
    unset APT_CONFIG
    for directory in bin sbin lib lib64; do # packages expect these links and bring none
        mkdir -p "$folder/usr/$directory"
        [ -e "$folder/$directory" ] || ln -s "usr/$directory" "$folder/$directory"
    done
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder" --keep-directory-symlink --no-same-owner ||
            fail "cannot unpack ${package##*/} into $folder"
    done
    rm -rf "$apt"
}

debian_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' | grep '/debian/*$' | head -n 1
}

# Run a command; what it prints is shown, its last line, only where it fails.
quietly() {
    said=$("$@" 2>&1) && return
    fail "$1 failed: $(printf '%s\n' "$said" | grep '^E:' | tail -n 1)"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}
