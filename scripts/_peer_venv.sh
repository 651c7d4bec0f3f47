# Sourced by the scripts peer_* that need Python packages: `peer_venv NAME REQUIREMENT...` makes a virtual environment
# with these, and nothing of edgecls, in ${XDG_CACHE_HOME:-~/.cache}/edgecls-peers/NAME, and prints that folder. Once
# that is done it returns in milliseconds. EDGECLS_PYTHON names the Python to make it with.

root=$(dirname "$(dirname "$(readlink -f "$0")")")
. "$root/scripts/_setup.sh"

peer_venv() {
    peer=${XDG_CACHE_HOME:-$HOME/.cache}/edgecls-peers/$1
    shift
    if [ "$(cat "$peer/complete" 2>/dev/null)" = "$*" ]; then
        echo "$peer"
        return
    fi
    find_python
    mkdir -p "${peer%/*}" 2>/dev/null || fail "cannot write in ${peer%/*}"
    new=$(mktemp -d "$peer.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    say "setting up $peer (once)"
    "$python" -I -m venv "$new" || fail "$python cannot make a virtual environment"
    if ! "$new/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input "$@" >"$new/log" 2>&1; then
        fail "cannot install $*: $(grep -i '^error' "$new/log" | head -n 1)"
    fi
    printf '%s\n' "$*" >"$new/complete"
    rm -rf "$peer"
    mv "$new" "$peer"
    trap - EXIT
    echo "$peer"
}
