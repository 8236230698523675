#!/bin/sh
# run.sh: runs every test program and every test script, two at a time, and ends with one line of counts. A program that does
# not end with its own line of counts, or ends with another status than it says, is one failure.
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
export BUILD
# Results are those of the processor wherever the tests run; make gpu-test is for a GPU.
export CUDA_VISIBLE_DEVICES=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-tests-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

# One program, its output into a file, its status and seconds into another.
cat > "$tmp/one" <<'END'
#!/bin/sh
name=$(basename "$2")
begin=$(date +%s)
if command -v timeout >/dev/null 2>&1; then
    timeout "${TEST_TIMEOUT:-900}" "$2" >"$1/$name.out" 2>&1 </dev/null
else
    "$2" >"$1/$name.out" 2>&1 </dev/null
fi
echo "$? $(($(date +%s) - begin))" >"$1/$name.status"
END
chmod +x "$tmp/one"

set --
for source in tests/test_*.c tests/test_*.cc; do
    [ -e "$source" ] && set -- "$@" "$BUILD/${source%.c*}"
done
for script in tests/*.sh; do
    case $script in
    tests/run.sh | tests/check.sh) ;;
    *) [ -e "$script" ] && set -- "$@" "$script" ;;
    esac
done
[ $# -gt 0 ] && printf '%s\n' "$@" | xargs -P 2 -n 1 "$tmp/one" "$tmp"

passed=0 failed=0 skipped=0
for program; do
    name=$(basename "$program")
    read -r status seconds <"$tmp/$name.status" || status=missing seconds=0
    counts=$(tail -n 1 "$tmp/$name.out" 2>/dev/null |
        sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed\(, \([0-9][0-9]*\) skipped\)\{0,1\}$/\1 \2 0\4/p')
    p=0 f=0 s=0
    if [ -n "$counts" ]; then
        p=${counts%% *} s=${counts##* } f=${counts#* } f=${f% *} s=${s#0} s=${s:-0}
    fi
    # No counts at all, or a bad end (a sanitizer's report, a crash on exit) that the counts do not tell.
    if [ -z "$counts" ] || { [ "$status" != 0 ] && [ "$f" = 0 ]; }; then
        f=$((f + 1))
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$f" -gt 0 ]; then
        echo "---- $name: failed (exit status $status)"
        tail -n 200 "$tmp/$name.out"
        echo "---- end of $name"
    else
        line="$name: $p passed"
        [ "$s" -gt 0 ] && line="$line, $s skipped"
        echo "$line ($seconds s)"
        grep '^skipped: ' "$tmp/$name.out"
    fi
done
line="$passed passed, $failed failed"
[ "$skipped" -gt 0 ] && line="$line, $skipped skipped"
[ $((passed + failed + skipped)) -gt 0 ] || line='0 passed, 1 failed'
echo "$line"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
