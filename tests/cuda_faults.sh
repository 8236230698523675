#!/bin/bash
# cuda_faults.sh [all]: what the emulation of CUDA would let pass. Each fault of tests/cuda_emu/faults.txt is put into a copy of a kernel
# (a missing barrier, a wrong mask, a missing tail, ...), the kernel's own test is linked with the copy, and that test must fail; a test of the
# table (test_cuda_ops, with the one of its tests that is meant) opens a library that holds the copy. Without `all` those marked quick. `all` ends with a table of what caught each: a report of the emulation, or a value that is wrong.
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
list=tests/cuda_emu/faults.txt
passed=0 failed=0
finish() {
    echo "$passed passed, $failed failed, ${1:-0} skipped"
    [ "$failed" = 0 ]
    exit
}
cxx=${EMU_CXX:-$(command -v g++ || command -v c++ || command -v clang++)}
if [ -z "$cxx" ]; then
    echo 'skipped: no C++ compiler for the CUDA kernels'
    [ "${STRICT:-}" = 1 ] && { failed=1; finish; }
    finish 1
fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/strata-faults-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
flags='-std=c++17 -O0 -g1 -fPIC -pthread -Itests/cuda_emu -Itests/cuda_emu/include -ffp-contract=off -w -DSTRATA_CUDA_EMU'
libs="$(tools/flags.sh libs) -lm -pthread -ldl"
support=("$build"/tests/kernel_harness.o "$build"/tests/byte_tokenizer.o)
table=() # objects of the table's library, but for kernels
for part in tests/cuda_emu/*.cc; do [ "$part" = tests/cuda_emu/operands.cc ] || table+=("$build/emu/${part%.cc}.o"); done
for part in engine/base/{error,utf8,dtype,pool}.c kernels/convert*.c; do table+=("$build/cuda/${part%.c}.o"); done
sanitizers=$(sed 's/^[^ ]* //' "$build/flags.stamp" 2>/dev/null | tr ' ' '\n' | grep '^-fsanitize=' | tr '\n' ' ')

# change FROM TO FILE: white space in FROM stands for any in the file, so that a piece may span lines.
change() {
    awk -v from="$1" -v to="$2" '
        function escaped(s,   i, c, out) {
            out = ""
            for (i = 1; i <= length(s); i++) {
                c = substr(s, i, 1)
                out = out (c ~ /[][\\.^$*+?(){}|\/]/ ? "\\" c : c)
            }
            gsub(/[ \n]+/, "[ \\n]+", out)
            return out
        }
        { text = text $0 "\n" }
        END {
            sub(/^ +/, "", from)
            if (!match(text, escaped(from))) exit 1
            printf "%s%s%s", substr(text, 1, RSTART - 1), to, substr(text, RSTART + RLENGTH)
        }' "$3"
}

# The program that runs a test with DIR/unit.o in place of the unit's own object.
link() {
    local dir=$1 unit=$2 test=$3 kernel kernels=()
    if [ -e "tests/$test.cc" ]; then
        # shellcheck disable=SC2086
        "$cxx" $sanitizers -o "$dir/test" "$build/emu/tests/$test.o" "$dir/unit.o" "${support[@]}" "$build/libcudaemu.a" "$build/libobjects.a" $libs
        return
    fi
    for kernel in kernels/cuda/*.cu; do [ "$kernel" = "kernels/cuda/$unit" ] || kernels+=("$build/emu/${kernel%.cu}.o"); done
    # shellcheck disable=SC2086
    "$cxx" $sanitizers -shared -o "$dir/table.so" "$dir/unit.o" "${kernels[@]}" "${table[@]}" -pthread -Wl,-Bsymbolic &&
        ln -s "$(cd "$build" && pwd)/tests/$test" "$dir/test"
}

# One fault: prints what caught it.
one() {
    local name=$1 file=$2 unit=$3 test=${4%% *} part=${4#"${4%% *}"} from=$5 to=$6 dir
    dir=$(mktemp -d "$tmp/one-XXXXXX") || return 1
    mkdir -p "$dir/kernels/cuda"
    if ! change "$from" "$to" "kernels/cuda/$file" >"$dir/kernels/cuda/$file"; then
        echo "failed: $name: nothing to change in $file"
        return 1
    fi
    [ "$unit" = "$file" ] || cp "kernels/cuda/$unit" "$dir/kernels/cuda/"
    # shellcheck disable=SC2086
    if ! "$cxx" -I"$dir" -I. $flags -x c++ -c "$dir/kernels/cuda/$unit" -o "$dir/unit.o" 2>"$dir/log" || ! link "$dir" "$unit" "$test" 2>>"$dir/log"; then
        echo "failed: $name: does not build: $(head -n 3 "$dir/log")"
        return 1
    fi
    # shellcheck disable=SC2086
    STRATA_CUDA_LIB=$dir/table.so STRATA_EMU_STOP=1 timeout 300 "$dir/test" $part >"$dir/log" 2>&1 </dev/null
    local status=$?
    if [ $status = 0 ] || [ $status = 124 ]; then
        echo "failed: $name: $test$part does not notice (status $status)"
        return 1
    fi
    local report values
    report=$(grep -m 1 '^emu: ' "$dir/log" | sed -e 's/^emu: //; s/block (\([^)]*\)) thread (\([^)]*\)): //; s|/tmp/[^ ]*/kernels|kernels|g' -e "s|$PWD/||g")
    values=$(grep -m 1 ', expected ' "$dir/log" | sed 's/ is .*//; s/^[^ ]*: failed: fabs((double)(\([^)]*\)).*/\1/')
    rm -rf "$dir"
    echo "caught | $name | ${report:-value of $values}"
}

run() {
    local kind= name= file= unit= test= from= line
    while IFS= read -r line; do
        case $line in
        'fault '* | 'quick '*) kind=${line%% *} name=${line#* } ;;
        'in '*)
            line=${line#in } test=${line##* by } line=${line% by *}
            file=${line%% *} unit=${line##* }
            ;;
        -*) from=${line#-} ;;
        +*)
            [ "$1" = all ] || [ "$kind" = quick ] || continue
            one "$name" "$file" "$unit" "$test" "$from" "${line#+}" >"$tmp/result"
            cat "$tmp/result"
            if grep -q '^caught' "$tmp/result"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
            ;;
        esac
    done <"$list"
}
run "${1:-quick}"
finish
