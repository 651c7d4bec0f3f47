# Sourced by scripts/edgecls and scripts/test, which set `root`, the checkout. `set_up` makes $root/.venv:
# edgecls (editable) and what it needs, in the versions of constraints.txt. Once that is done it returns in
# milliseconds. All that is said goes to stderr; stdout belongs to results.
#
# EDGECLS_PYTHON names the Python to make .venv with; without it the first on PATH that fits is taken.

venv=$root/.venv
stamp=$venv/complete      # what .venv was made from; written last, so an incomplete .venv has none
log=$root/.venv.log       # what pip complained of; locked during a set-up

set_up() {
    wanted="$root $(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)"
    is_complete && return
    find_python
    (: >>"$log") 2>/dev/null || fail "cannot write in $root; check its permissions and the free space (2 GB)"
    exec 8>&2 9>>"$log"
    trap 'fail "interrupted; the next start sets up anew" 130' INT
    "$python" -I -c "$wait_for_lock"
    is_complete || install
    trap - INT
    exec 8>&- 9>&-
}

is_complete() {
    [ -x "$venv/bin/edgecls" ] && [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
}

install() {
    say "setting up $venv (once; 2 GB, a few minutes)"
    if [ -f "$stamp" ] && [ -x "$venv/bin/python" ]; then
        rm "$stamp"       # complete, but of other versions or for another folder: brought up to date
    else
        run "$python" -I -m venv --clear "$venv"
    fi
    pip_install "$(grep '^setuptools==' "$root/constraints.txt")"     # builds edgecls
    pip_install --no-build-isolation --editable "$root[test]"
    printf '%s\n' "$wanted" >"$stamp" || fail "set-up failed: cannot write $stamp"
    say "set up"
}

pip_install() {
    run "$venv/bin/python" -I -m pip install --disable-pip-version-check --no-input \
        --constraint "$root/constraints.txt" "$@"
}

# Run a command: its progress goes to our stderr (8), its complaints to $log, one line of them to our stderr.
run() {
    errors=$("$@" 2>&1 >&8) && return
    (printf '%s\n' "$errors" >"$log") 2>/dev/null || :
    case $errors in
    *"No space left"* | *"quota exceeded"*)
        reason="the disk is full; $root needs 2 GB, ${TMPDIR:-/tmp} 1 GB meanwhile" ;;
    *"connection broken"* | *"Max retries"* | *"timed out"*) reason="a download did; check the network" ;;
    *) reason=$(printf '%s\n' "$errors" | grep -i '^error' | head -n 1) ;;
    esac
    fail "set-up failed: ${reason:-$* did not work} (details in $log)"
}

# Set `python` to the first that fits.
find_python() {
    if [ -n "${EDGECLS_PYTHON:-}" ]; then
        set -- "$EDGECLS_PYTHON"
    else
        set -- python3.13 python3.12 python3.11 python3 python
    fi
    unfit=
    for python; do
        reason=$("$python" -I -c "$why_unfit" 2>/dev/null) && return
        unfit="$unfit${reason:+; $python $reason}"
    done
    fail "no Python 3.11 to 3.13 among $*$unfit; install one, or name it: EDGECLS_PYTHON=/path/to/it $0"
}

why_unfit='
import sys
version = "%d.%d" % sys.version_info[:2]
if version not in ("3.11", "3.12", "3.13"):
    print("is " + version)
    sys.exit(1)
try:
    import ensurepip, venv
except ImportError:
    print("lacks its venv module (Debian, Ubuntu: apt install python%s-venv)" % version)
    sys.exit(1)
'

# The lock belongs to the open file 9 of this shell and of what it starts: when they are gone it is gone.
wait_for_lock='
import fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.stderr.write("edgecls: waiting for another set-up to finish\n")
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    sys.stderr.write("edgecls: this file system has no locks; do not start a second set-up beside this one\n")
'

say() {
    printf 'edgecls: %s\n' "$1" >&2
}

# fail MESSAGE [EXIT CODE]
fail() {
    say "$1"
    exit "${2:-1}"
}
