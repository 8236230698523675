# cli.bash: what the tests of the command line share. Sourced in the repository's root, with the test's name: STRATA, MODEL, TEXT, a folder
# $tmp that is removed at the end, and counts; finish prints them as tests/run.sh reads them.
STRATA=${BUILD:-build}/strata
MODEL=tools/demo/model
TEXT=tools/demo/wikitext-2-excerpt.txt
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-$1-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
ok() {
    passed=$((passed + 1))
}
bad() {
    failed=$((failed + 1))
    echo "failed: $1"
    [ -s "$tmp/err" ] && sed 's/^/    /' "$tmp/err" | head -5
}
# refuses STATUS TEXT ARGUMENT...: the command exits with STATUS and says one line that holds TEXT.
refuses() {
    local status=$1 text=$2
    shift 2
    "$STRATA" "$@" >"$tmp/out" 2>"$tmp/err"
    local got=$?
    if [ $got = "$status" ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -qF -- "$text" "$tmp/err"; then
        ok
    else
        bad "strata $* exits $got, expected $status with one line about \"$text\""
    fi
}
# works NAME COMMAND...
works() {
    local name=$1
    shift
    if "$@" >"$tmp/out" 2>"$tmp/err"; then ok; else bad "$name: exit $?"; fi
}
skip() {
    skipped=$((skipped + 1))
    echo "skipped: $1"
}
# The last line; a skip is a failure under STRICT=1.
finish() {
    [ "${STRICT:-}" = 1 ] && failed=$((failed + skipped)) skipped=0
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed = 0 ]
}
