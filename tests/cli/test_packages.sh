#!/bin/sh
# test_packages.sh - installing packages for the scripts: the file that keeps servers from starting never stays.
. "$srcdir/tests/cli/common.sh"
PATH=$work/stubs:/usr/bin:$PATH
QKSCOPE_POLICY=$work/policy-rc.d
began=$work/began
export PATH QKSCOPE_POLICY began

# Nothing is ever installed: the three commands that would do it are stubs.
mkdir "$work/stubs"
printf '#!/bin/sh\nexit 1\n' >"$work/stubs/dpkg-query"
printf '#!/bin/sh\nexec "$@"\n' >"$work/stubs/sudo"
cat >"$work/stubs/apt-get" <<'STUB'
#!/bin/sh
[ "$1" = install ] || exit 0
[ ! -x "$QKSCOPE_POLICY" ] || "$QKSCOPE_POLICY" || echo "the policy is $?" >"$began"
[ -z "${linger-}" ] || sleep "$linger"
exit "${result:-0}"
STUB
chmod +x "$work/stubs"/*
# shellcheck disable=SC2016
install='. "$srcdir/scripts/common.sh"; install_packages one two; code=$?; echo "ended: $code"; exit $code'

# install SETTING... - runs the script with these variables.
install() {
    rm -f "$began"
    out=$work/printed
    err=$work/messages
    env "$@" sh -c "$install" >"$out" 2>"$err" </dev/null
    code=$?
}

# interrupted SIGNAL WHO - signals the script alone, or its whole group as a terminal does, while apt-get runs.
interrupted() {
    rm -f "$began"
    linger=1 python3 - "$1" "$2" "$install" <<'PYTHON'
import glob, os, signal, subprocess, sys, time
def runs(group):  # what ended and was not waited for by its parent is over
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                state, _, of = file.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state not in "ZX":
            return True
    return False
number = getattr(signal, "SIG" + sys.argv[1])
child = subprocess.Popen(["sh", "-c", sys.argv[3]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True,
                         preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
while not os.path.exists(os.environ["began"]):
    time.sleep(0.01)
(os.killpg if sys.argv[2] == "group" else os.kill)(child.pid, number)
code = child.wait(timeout=60)
while runs(child.pid):  # what still runs after the script ends
    time.sleep(0.01)
sys.exit(code == 0)
PYTHON
}

install linger=
check "packages are installed" ended 0
check "  while servers may not start" grep -q 'the policy is 101' "$began"
check "  and may afterwards" [ ! -e "$QKSCOPE_POLICY" ]
install result=100
check "a failure is the script's" ended 100
check "  which goes on" grep -q 'ended: 100' "$out"
check "  and leaves nothing" [ ! -e "$QKSCOPE_POLICY" ]
for signal in INT TERM HUP; do
    check "$signal from a terminal ends the script" interrupted $signal group
    check "  and leaves nothing" [ ! -e "$QKSCOPE_POLICY" ]
    [ $signal != INT ] || continue # which terminals send to all of the group
    check "$signal to the script alone ends it" interrupted $signal script
    check "  and leaves nothing" [ ! -e "$QKSCOPE_POLICY" ]
done
printf '#!/bin/sh\nexit 7\n' >"$QKSCOPE_POLICY"
chmod +x "$QKSCOPE_POLICY"
check "a policy of the machine's own" interrupted INT group
check "  stays" grep -q 'exit 7' "$QKSCOPE_POLICY"
done_testing
