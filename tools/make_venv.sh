#!/bin/sh
# Makes .venv from the first Python of this machine that is new enough and able to, or says what is missing.
# PYTHON, if it is set, is the only one that is tried. A .venv that works is left as it is.
set -eu

# Exits with 0 if this Python will do; otherwise prints what is wrong with it.
probe='
import sys
if sys.version_info < (3, 11):
    sys.exit("is %d.%d.%d" % sys.version_info[:3])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("is new enough, but has no venv (on Debian and Ubuntu: apt-get install python3-venv)")
'

# Without pip it is one whose making was interrupted.
if [ -x .venv/bin/python ] && .venv/bin/python -c "import pip$probe" >/dev/null 2>&1; then
    exit 0
fi

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.14 python3.13 python3.12 python3.11
fi

found=""
line_end="
"
for candidate in "$@"; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if complaint=$("$candidate" -c "$probe" 2>&1); then
        echo "Making .venv with $candidate, $("$candidate" --version) ..."
        exec "$candidate" -m venv --clear .venv
    fi
    found="$found$line_end  $candidate ${complaint%%"$line_end"*}"
done

cat >&2 <<END
Meteora needs Python 3.11 or later with its venv module. Found here:${found:-" none of $*"}
Install one, or name one: make PYTHON=/path/to/python3 ...
END
exit 1
