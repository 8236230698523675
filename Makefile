# Strata. `make` builds build/strata, `make demo` shows it at work, `make test` runs the tests, `make help` lists the rest.

VERSION := 0.1.0
BUILD   ?= build
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
ifeq ($(origin CC),default)
CC      := $(if $(shell command -v gcc),gcc,cc)
endif
export BUILD CC

ARCH    := $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)
AR      := $(or $(shell $(CC) -print-prog-name=ar 2>/dev/null),ar)
LD      := $(or $(shell $(CC) -print-prog-name=ld 2>/dev/null),ld)
OBJCOPY := $(or $(shell $(CC) -print-prog-name=objcopy 2>/dev/null),objcopy)
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith
# -ffp-contract=off: an a*b+c in the source stays two roundings on every processor; fused ones are written fma().
# -fno-tree-slp-vectorize: gcc 12 at -O2 drops the rounding of (double)(float)x where two such values are stored side by side.
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -I. -I$(BUILD)/generated $(shell tools/flags.sh cflags) -ffp-contract=off -fno-math-errno \
              -fno-tree-slp-vectorize \
              -pthread $(WARN) $(CFLAGS)
LIBS    := $(shell tools/flags.sh libs) -lm -pthread

ROOMS   := engine/base kernels kernels/ref kernels/cpu kernels/cuda kernels/exact loaders engine experiments tools/web
SOURCES := $(sort $(wildcard $(addsuffix /*.c,$(ROOMS))))
TOOLS   := $(sort $(wildcard tools/*.c))
TAGGER  := $(sort $(wildcard tools/tagger/*.c))
TESTS   := $(sort $(wildcard tests/test_*.c))
BENCHES := $(sort $(wildcard bench/bench_*.c))
TEST_SUPPORT  := $(filter-out $(TESTS) tests/library_user.c,$(sort $(wildcard tests/*.c)))
BENCH_SUPPORT := $(filter-out $(BENCHES),$(sort $(wildcard bench/*.c)))

objects = $(1:%.c=$(BUILD)/%.o)
OBJECTS := $(call objects,$(SOURCES))
ALL_OBJECTS := $(OBJECTS) $(call objects,$(TAGGER) $(TOOLS) $(TESTS) $(TEST_SUPPORT) $(BENCHES) $(BENCH_SUPPORT) tests/prove/prove_functions.c)
TEST_PROGRAMS  := $(TESTS:%.c=$(BUILD)/%)
BENCH_PROGRAMS := $(BENCHES:%.c=$(BUILD)/%)
VERSION_H := $(BUILD)/generated/strata_version.h

.DEFAULT_GOAL := all
all: $(BUILD)/strata

# Vector flags reach kernel files only, by their names.
ifeq ($(ARCH),x86_64)
$(BUILD)/kernels/cpu/%_avx2.o $(BUILD)/kernels/exact/%_avx2.o: SIMD := -mavx2 -mfma -mf16c
$(BUILD)/tests/%_avx2.o: SIMD := -mavx2 -mfma -mf16c -Wno-psabi
$(BUILD)/kernels/cpu/%_avx512.o $(BUILD)/kernels/exact/%_avx512.o: SIMD := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
endif

# A stamp is written when its text differs from what it holds: changed flags, or a file more or less, rebuild what depends on it.
stamp = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(1))' > $@

$(BUILD)/flags.stamp: FORCE
	$(call stamp,$(CC) $(ALL_CFLAGS))
$(BUILD)/link.stamp: FORCE
	$(call stamp,$(CC) $(CFLAGS) $(LDFLAGS) $(LIBS) $(OBJECTS) $(TOOLS) $(TEST_SUPPORT) $(BENCH_SUPPORT))
$(VERSION_H): FORCE
	@tools/version.sh "$(VERSION)" "$(CC)" $@
# Says what to install instead of failing at some header.
$(BUILD)/setup.stamp:
	@tools/setup.sh --check
	@mkdir -p $(@D) && touch $@

$(BUILD)/%.o: %.c $(BUILD)/flags.stamp | $(VERSION_H) $(BUILD)/setup.stamp
	@mkdir -p $(@D)
	@echo "CC $<"
	@$(CC) $(ALL_CFLAGS) $(SIMD) -MMD -MP -c $< -o $@

# The model of the part-of-speech tagger is part of this object (.incbin).
$(BUILD)/experiments/tagger_model.o: tools/tagger/english.tagger
$(BUILD)/experiments/diff_excerpt.o: tools/demo/wikitext-2-excerpt.txt
# So are the lexicon and the templates of pairs.
$(BUILD)/experiments/pair_data.o: $(wildcard experiments/pairs/*.txt)
$(BUILD)/experiments/pair_prompts.o: $(wildcard experiments/pairs/prompts/*.txt)

# Likewise the page of strata audit.
$(BUILD)/experiments/audit_page.o: experiments/audit_page.html

# So are the files of the page.
PAGE := $(sort $(shell find tools/web/page -type f ! -name '.*' 2>/dev/null))
PAGE_TABLE := $(BUILD)/generated/web_page_table.h
$(BUILD)/page.stamp: FORCE
	$(call stamp,$(PAGE))
$(PAGE_TABLE): tools/web/embed.sh $(BUILD)/page.stamp
	@mkdir -p $(@D) && tools/web/embed.sh $@ $(PAGE)
$(BUILD)/tools/web/web_page.o: $(PAGE_TABLE) $(PAGE)

# The tests see every function.
$(BUILD)/libobjects.a: $(OBJECTS) $(BUILD)/link.stamp
	@rm -f $@
	@$(AR) rcs $@ $(OBJECTS)

# Users of the library see strata_* alone: one object in which every other symbol is local.
$(BUILD)/libstrata.a: $(OBJECTS) $(BUILD)/link.stamp
	@rm -f $@
	@$(LD) -r -o $(BUILD)/strata_merged.o $(OBJECTS)
	@$(OBJCOPY) -w --keep-global-symbol='strata_*' $(BUILD)/strata_merged.o
	@$(AR) rcs $@ $(BUILD)/strata_merged.o

$(BUILD)/strata: $(call objects,$(TOOLS)) $(BUILD)/libstrata.a $(BUILD)/link.stamp
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(call objects,$(TOOLS)) $(BUILD)/libstrata.a $(LIBS)
	@echo "$(CUDA_NOTE)"

$(TEST_PROGRAMS): %: %.o $(call objects,$(TEST_SUPPORT)) $(BUILD)/libobjects.a $(BUILD)/link.stamp
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(call objects,$(TEST_SUPPORT)) $(BUILD)/libobjects.a $(LIBS)

$(BENCH_PROGRAMS): %: %.o $(call objects,$(BENCH_SUPPORT)) $(BUILD)/libobjects.a $(BUILD)/link.stamp
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(call objects,$(BENCH_SUPPORT)) $(BUILD)/libobjects.a $(LIBS)

include kernels/cuda/cuda.mk
include tests/cuda_emu/emu.mk

TRAIN_TAGGER := $(BUILD)/tools/tagger/train_tagger
$(TRAIN_TAGGER): $(call objects,$(TAGGER)) $(BUILD)/libobjects.a $(BUILD)/link.stamp
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(call objects,$(TAGGER)) $(BUILD)/libobjects.a $(LIBS)

# What each target below builds is built by a make of its own, after the set-up: the flags are asked for anew.
JOBS := $(or $(shell nproc 2>/dev/null),2)
SUBMAKE = +@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

objects: $(ALL_OBJECTS)
test-programs: $(TEST_PROGRAMS)
bench-programs: $(BENCH_PROGRAMS)

setup:
	@tools/setup.sh

test: setup
	$(SUBMAKE) all test-programs
	@tests/run.sh

demo: setup
	$(SUBMAKE) all
	@tools/demo/run.sh

bench: setup
	$(SUBMAKE) all bench-programs
	@bench/run.sh

# UD English EWT: *train.conllu and *test.conllu (or .gz), from github.com/UniversalDependencies/UD_English-EWT.
TREEBANK := $(or $(STRATA_TREEBANK),treebank)
treebank = $(or $(firstword $(wildcard $(TREEBANK)/*$1.conllu $(TREEBANK)/*$1.conllu.gz)),\
           $(error no *$1.conllu in $(TREEBANK)/: put UD English EWT there, or name its folder with STRATA_TREEBANK=))
tagger: setup
	$(SUBMAKE) $(TRAIN_TAGGER)
	$(TRAIN_TAGGER) $(call treebank,train) $(call treebank,test) tools/tagger/clusters.txt.gz tools/tagger/english.tagger
tagger-eval: setup
	$(SUBMAKE) $(TRAIN_TAGGER)
	$(TRAIN_TAGGER) --eval $(call treebank,test) tools/tagger/english.tagger

check: setup
	@tests/check.sh

# All 2^32 floats through the functions of numerics v1: minutes, with a progress line. FUNCTIONS="sin cos" proves some.
$(BUILD)/tests/prove/prove_functions.o: SIMD := $(if $(filter x86_64,$(ARCH)),-mfma)
$(BUILD)/tests/prove/prove_functions: $(BUILD)/tests/prove/prove_functions.o $(BUILD)/libobjects.a $(BUILD)/link.stamp
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libobjects.a $(LIBS)
prove-program: $(BUILD)/tests/prove/prove_functions
prove: setup
	$(SUBMAKE) prove-program
	@$(BUILD)/tests/prove/prove_functions $(FUNCTIONS)

# The golden hashes under gcc and clang, -O1 to -O3, and every mutation of the arithmetic.
exact-builds: setup
	$(SUBMAKE) all test-programs
	@tests/exact_builds.sh all

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
asan: setup
	@LSAN_OPTIONS=suppressions=tests/leaks.supp UBSAN_OPTIONS=print_stacktrace=1 \
	$(MAKE) --no-print-directory CUDA=0 BUILD=build-asan CFLAGS='-O1 -g -fno-omit-frame-pointer $(ASAN)' LDFLAGS='$(ASAN)' test

# What `make` built is installed; paths inside strata.pc are those without DESTDIR.
install: all
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/pkgconfig" "$(DESTDIR)$(PREFIX)/include"
	install -m 755 $(BUILD)/strata "$(DESTDIR)$(PREFIX)/bin/strata"
	install -m 644 $(BUILD)/libstrata.a "$(DESTDIR)$(PREFIX)/lib/libstrata.a"
	if [ -f $(CUDA_LIB) ]; then install -m 755 $(CUDA_LIB) "$(DESTDIR)$(PREFIX)/lib/libstrata_cuda.so"; fi
	install -m 644 engine/strata.h "$(DESTDIR)$(PREFIX)/include/strata.h"
	if [ -f experiments/studies.h ]; then \
	    sed 's|"engine/strata.h"|"strata.h"|' experiments/studies.h > "$(DESTDIR)$(PREFIX)/include/strata_studies.h"; fi
	printf '%s\n' 'prefix=$(PREFIX)' 'Name: strata' 'Description: transformer inference with free layer orders and taps' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lstrata $(LIBS)' \
	    > "$(DESTDIR)$(PREFIX)/lib/pkgconfig/strata.pc"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/strata" "$(DESTDIR)$(PREFIX)/lib/libstrata.a" "$(DESTDIR)$(PREFIX)/lib/libstrata_cuda.so" "$(DESTDIR)$(PREFIX)/lib/pkgconfig/strata.pc" \
	    "$(DESTDIR)$(PREFIX)/include/strata.h" "$(DESTDIR)$(PREFIX)/include/strata_studies.h"

clean:
	rm -rf $(BUILD) build-asan

help:
	@printf '%s\n' \
	    'make                  build/strata, the command line, and build/libstrata.a' \
	    'make demo             install what is missing, build, and study the bundled model (MODEL=smollm2: a real one)' \
	    'make test             install what is missing, build, and run the tests (STRICT=1: a skipped test is a failure)' \
	    'make bench            measure speed against the machine and the peers' \
	    'make tagger           train the part-of-speech tagger (STRATA_TREEBANK=folder of UD English EWT); tagger-eval: measure it' \
	    'make check            format, warnings of gcc and clang, static analysis, names, include directions' \
	    'make prove            exp, log, sin and cos of numerics v1 rounded right for all 2^32 floats (minutes)' \
	    'make exact-builds     the golden hashes of numerics v1 under gcc and clang, -O1 to -O3, and their mutations' \
	    'make gpu-test         every CUDA kernel and the forward pass on a GPU against the oracle (takes nvcc and a GPU)' \
	    'make gpu-bench        speed on a GPU, into bench/RESULTS.md; gpu-bundle: build what both run, to carry elsewhere' \
	    'make asan             the tests under the address and undefined-behaviour sanitizers' \
	    'make install          into PREFIX=/usr/local (DESTDIR= is put before it); make uninstall takes it out again' \
	    'make clean            remove everything that was built' \
	    '' \
	    'Variables: CC, CFLAGS, LDFLAGS, BUILD (the folder to build in), PREFIX, DESTDIR, CUDA=1|0, NVCC.'

FORCE:
.PHONY: all objects test-programs bench-programs setup test demo bench tagger tagger-eval check prove prove-program exact-builds asan install uninstall clean help FORCE
.SECONDARY:
.DELETE_ON_ERROR:
-include $(wildcard $(ALL_OBJECTS:.o=.d))
