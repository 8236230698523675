#!/bin/sh
# test_library.sh: installs into a folder of its own and builds tests/library_user.c against what was installed there, as a user
# of the library does: pkg-config (or, without it, the flags strata.pc holds), none of our folders in the search path.
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
finish() {
    echo "$1"
    exit "$2"
}
if [ ! -f engine/strata.h ]; then
    echo 'skipped: there is no engine/strata.h yet'
    [ "${STRICT:-}" = 1 ] && finish '0 passed, 1 failed, 0 skipped' 1
    finish '0 passed, 0 failed, 1 skipped' 0
fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-library-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
fail() {
    echo "failed: $1"
    finish '0 passed, 1 failed, 0 skipped' 1
}

# BUILD's own flags hold (a sanitizer's build links its run time): they are those the objects were made with.
flags=$(sed 's/^[^ ]* //' "$BUILD/flags.stamp" 2>/dev/null | tr ' ' '\n' | grep '^-fsanitize=' | tr '\n' ' ')
root=$(pwd)
make --no-print-directory -s install PREFIX="$tmp/usr" >"$tmp/log" 2>&1 || { cat "$tmp/log"; fail 'make install'; }
for file in bin/strata lib/libstrata.a lib/pkgconfig/strata.pc include/strata.h; do
    [ -f "$tmp/usr/$file" ] || fail "$file was not installed"
done
PKG_CONFIG_PATH=$tmp/usr/lib/pkgconfig
export PKG_CONFIG_PATH
if command -v pkg-config >/dev/null 2>&1; then
    cflags=$(pkg-config --cflags strata) || fail 'pkg-config --cflags strata'
    libs=$(pkg-config --libs strata) || fail 'pkg-config --libs strata'
else
    cflags=-I$tmp/usr/include
    libs=$(sed -n "s|^Libs: ||p" "$tmp/usr/lib/pkgconfig/strata.pc" | sed "s|\${prefix}|$tmp/usr|g")
fi
cp tests/library_user.c "$tmp/" || exit 1
# shellcheck disable=SC2086
(cd "$tmp" && ${CC:-gcc} -std=c11 -Wall -Wextra -Werror $flags $cflags library_user.c -o user $libs) || fail 'the program does not build'
"$tmp/user" "$root" || fail "the program ended with status $?"
make --no-print-directory -s uninstall PREFIX="$tmp/usr" >/dev/null || fail 'make uninstall'
[ -z "$(find "$tmp/usr" -type f)" ] || fail 'make uninstall left files behind'
finish '1 passed, 0 failed, 0 skipped' 0
