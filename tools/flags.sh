#!/bin/sh
# flags.sh cflags|libs: what the compiler needs for OpenBLAS, cJSON, cairo, zlib, libcurl and libmicrohttpd. pkg-config knows where it is present;
# otherwise the usual names. Headers of others are system headers (-isystem): their warnings are not ours.
pkg=${PKG_CONFIG:-pkg-config}
have=0
command -v "$pkg" >/dev/null 2>&1 && have=1
out=
for entry in openblas:-lopenblas: libcjson:-lcjson:/usr/include/cjson cairo:-lcairo:/usr/include/cairo zlib:-lz: libcurl:-lcurl: libmicrohttpd:-lmicrohttpd:; do
    name=${entry%%:*}
    rest=${entry#*:}
    if [ "$have" = 1 ] && "$pkg" --exists "$name" 2>/dev/null; then
        if [ "$1" = cflags ]; then
            out="$out $("$pkg" --cflags "$name")"
        else
            out="$out $("$pkg" --libs "$name")"
        fi
    elif [ "$1" = cflags ]; then
        [ -d "${rest#*:}" ] && out="$out -I${rest#*:}"
    else
        out="$out ${rest%%:*}"
    fi
done
line=
for word in $out; do
    case $word in
    -I/usr/include | -I/usr/include/*-linux-gnu) continue ;; # as -isystem it would break the compiler's own search order
    -I*) [ "$1" = cflags ] && word="-isystem ${word#-I}" ;;
    esac
    case " $line " in
    *" $word "*) ;;
    *) line="$line $word" ;;
    esac
done
echo "${line# }"
