#!/bin/bash
# test_page_browser.sh: the page in a headless Chromium (tests/test_page_browser.py); a counted skip where no browser or no Python is installed. CHROMIUM
# names another browser. Screenshots go to build/page_*.png. Arguments: other parts of it (test_page_looks.sh).
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
export PYTHONDONTWRITEBYTECODE=1
skip() {
    echo "skipped: $1"
    [ "${STRICT:-}" = 1 ] && { echo '0 passed, 1 failed'; exit 1; }
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
}
command -v "$PYTHON" >/dev/null 2>&1 || skip 'the page in a browser: no Python is installed'
"$PYTHON" -c 'import sys; sys.path.insert(0, "tests"); from test_page_cdp import find_browser; sys.exit(0 if find_browser() else 1)' || skip 'the page in a browser: no Chromium is installed (Debian: apt install chromium)'
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-page-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
[ $# -gt 0 ] || set -- lab links inside experts orders pairs exports
# A browser that is driven from outside drops an event when the machine is busy: what fails is tried a second time, and both are shown.
mkdir "$tmp/first" "$tmp/second"
"$PYTHON" tests/test_page_browser.py "$tmp/first" "$@" >"$tmp/out" && cat "$tmp/out" && exit
sed 's/^/first try: /' "$tmp/out"
"$PYTHON" tests/test_page_browser.py "$tmp/second" "$@"
