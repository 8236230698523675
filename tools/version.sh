#!/bin/sh
# version.sh VERSION COMPILER FILE: writes the header with the version, the commit and the compiler, if it differs from FILE.
commit=unknown
# Only a checkout of this project counts, not one that happens to lie around an unpacked archive.
if [ "$(git rev-parse --show-prefix 2>/dev/null; echo $?)" = "
0" ] && commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
    git diff --quiet HEAD 2>/dev/null || commit="$commit-dirty"
else
    commit=unknown
fi
compiler=$($2 --version 2>/dev/null | head -n 1 | tr -d '"\\')
text="/* Written by tools/version.sh at build time. */
#ifndef STRATA_VERSION_H
#define STRATA_VERSION_H

#define STRATA_VERSION \"$1\"
#define STRATA_COMMIT \"$commit\"
#define STRATA_COMPILER \"${compiler:-unknown}\"

#endif"
mkdir -p "$(dirname "$3")"
printf '%s\n' "$text" | cmp -s - "$3" || printf '%s\n' "$text" > "$3"
