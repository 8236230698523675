#!/bin/sh
# setup.sh: installs the system packages that Strata is built with, where they are missing and apt is there; otherwise prints
# the line to type. setup.sh --check only looks. What counts is whether a program that uses a library compiles and links.
cd "$(dirname "$0")/.." || exit 1
packages="gcc make libc6-dev libopenblas-dev libcjson-dev libcairo2-dev zlib1g-dev libcurl4-openssl-dev libmicrohttpd-dev pkg-config fonts-dejavu-core"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-setup-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

includes() {
    case $1 in
    openblas) echo '#include <cblas.h>' ;;
    cjson) printf '#if __has_include(<cjson/cJSON.h>)\n#include <cjson/cJSON.h>\n#else\n#include <cJSON.h>\n#endif\n' ;;
    cairo) printf '#include <cairo.h>\n#include <cairo-svg.h>\n#include <cairo-pdf.h>\n' ;;
    zlib) echo '#include <zlib.h>' ;;
    curl) echo '#include <curl/curl.h>' ;;
    microhttpd) echo '#include <microhttpd.h>' ;;
    esac
}
uses() {
    case $1 in
    compiler) echo 'if (argc > 99) printf("%s", argv[0]);' ;;
    openblas) echo 'if (argc > 99) { float x = 0; cblas_sgemm(101, 111, 111, 1, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1); }' ;;
    cjson) echo 'if (argc > 99) cJSON_Delete(cJSON_Parse(argv[0]));' ;;
    cairo) echo 'if (argc > 99) cairo_surface_destroy(cairo_svg_surface_create(argv[0], 1, 1) ? cairo_pdf_surface_create(argv[0], 1, 1) : 0);' ;;
    zlib) echo 'if (argc > 99) gzclose(gzopen(argv[0], "rb"));' ;;
    curl) echo 'if (argc > 99) curl_easy_cleanup(curl_easy_init());' ;;
    microhttpd) echo 'if (argc > 99) MHD_stop_daemon(0);' ;;
    esac
}

# A program that uses all of $@ compiles and links.
links() {
    {
        echo '#include <stdio.h>'
        for library; do includes "$library"; done
        echo 'int main(int argc, char **argv) { (void)argv;'
        for library; do uses "$library"; done
        echo 'return 0; }'
    } > "$tmp/probe.c"
    libs=$all_libs
    for only in openblas cjson cairo zlib curl microhttpd; do # a library that was not asked for must not fail the link
        case " $* " in
        *" $only "*) ;;
        *) case $only in zlib) name=z ;; *) name=$only ;; esac
            libs=$(printf ' %s ' "$libs" | sed "s/ -l$name / /") ;;
        esac
    done
    # shellcheck disable=SC2086
    $cc -std=c11 -w -O0 $all_cflags "$tmp/probe.c" -o "$tmp/probe" $libs >"$tmp/log" 2>&1
}

has_fonts() {
    for folder in /usr/share/fonts /usr/local/share/fonts /usr/share/X11/fonts "$HOME/.fonts" "$HOME/.local/share/fonts" \
        /Library/Fonts /System/Library/Fonts; do
        [ -d "$folder" ] && [ -n "$(find -L "$folder" -name '*.[to]t[fc]' -print 2>/dev/null | head -n 1)" ] && return 0
    done
    return 1
}

look() {
    missing=
    cc=${CC:-gcc}
    command -v "${cc%% *}" >/dev/null 2>&1 || cc=cc
    all_cflags=$(tools/flags.sh cflags)
    all_libs=$(tools/flags.sh libs)
    if ! links compiler openblas cjson cairo zlib curl microhttpd; then # one by one only when not all are there
        if links compiler; then
            for library in openblas cjson cairo zlib curl microhttpd; do
                links compiler $library || missing="$missing $library"
            done
        else
            missing="$missing compiler"
        fi
    fi
    command -v make >/dev/null 2>&1 || missing="$missing make"
    has_fonts || missing="$missing fonts"
    missing=${missing# }
    [ -z "$missing" ]
}

print_lines() {
    cat <<END
Strata needs: $missing. To install, type the line of your system:
  Debian, Ubuntu   sudo apt-get update && sudo apt-get install -y $packages
  Fedora           sudo dnf install -y gcc make openblas-devel cjson-devel cairo-devel zlib-devel libcurl-devel libmicrohttpd-devel pkgconf-pkg-config dejavu-sans-fonts
  Arch             sudo pacman -S --needed gcc make openblas cblas cjson cairo zlib curl libmicrohttpd pkgconf ttf-dejavu
  openSUSE         sudo zypper install -y gcc make openblas-devel cJSON-devel cairo-devel zlib-devel libcurl-devel libmicrohttpd-devel pkg-config dejavu-fonts
  Alpine           sudo apk add build-base openblas-dev cjson-dev cairo-dev zlib-dev curl-dev libmicrohttpd-dev pkgconf font-dejavu
  macOS            brew install openblas cjson cairo zlib curl libmicrohttpd pkgconf
END
}

look && exit 0
if [ "$1" = --check ] || ! command -v apt-get >/dev/null 2>&1; then
    print_lines >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
    [ -t 0 ] || as_root='sudo -n' # nobody is there to type a password
else
    print_lines >&2
    exit 1
fi
echo "Strata needs: $missing. Installing by apt-get: $packages"
# An update that fails in part (one mirror away) may still do: the installation decides.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null >"$tmp/apt" 2>&1
# shellcheck disable=SC2086
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages </dev/null >>"$tmp/apt" 2>&1; then
    tail -n 15 "$tmp/apt" >&2
    print_lines >&2
    exit 1
fi
if ! look; then
    cat "$tmp/log" >&2
    print_lines >&2
    exit 1
fi
echo 'Everything that Strata needs is installed.'
