# emu.mk: tests of the CUDA sources on the processor: kernels/cuda/*.cu and the emulation beside this file, by a C++ compiler. Tests
# alone need one; without it their programs are scripts that say so, a skip each.
CUDA_TESTS := $(sort $(wildcard tests/test_cuda_*.cc))
CUDA_TEST_PROGRAMS := $(CUDA_TESTS:%.cc=$(BUILD)/%)
EMU_CXX ?= $(if $(shell command -v g++),g++,$(shell command -v c++ || command -v clang++))
EMU_FLAGS := -std=c++17 -O1 -g -fPIC -pthread -I. -Itests/cuda_emu -Itests/cuda_emu/include -ffp-contract=off -Wall -Wextra -Wno-unknown-pragmas \
             $(filter -Werror,$(CFLAGS)) -DSTRATA_CUDA_EMU
EMU_OBJECTS := $(patsubst %.cc,$(BUILD)/emu/%.o,$(sort $(wildcard tests/cuda_emu/*.cc))) \
               $(patsubst %.cu,$(BUILD)/emu/%.o,$(sort $(wildcard kernels/cuda/*.cu)))
# The table cuda/fast on the emulation: what libstrata_cuda.so is, but for the device. tests/test_cuda_*.c and the command line open it
# (STRATA_CUDA_LIB).
CUDA_EMU_LIB := $(BUILD)/libstrata_cuda_emu.so
test-programs: $(CUDA_TEST_PROGRAMS) $(if $(EMU_CXX),$(CUDA_EMU_LIB))
$(patsubst %.c,$(BUILD)/%,$(wildcard tests/test_cuda_*.c)): | $(if $(EMU_CXX),$(CUDA_EMU_LIB))

ifneq ($(EMU_CXX),)
$(BUILD)/emu.stamp: FORCE
	$(call stamp,$(EMU_CXX) $(EMU_FLAGS) $(EMU_OBJECTS))
$(BUILD)/emu/%.o: %.cc $(BUILD)/emu.stamp | $(VERSION_H)
	@mkdir -p $(@D)
	@echo "CXX $<"
	@$(EMU_CXX) $(EMU_FLAGS) -I$(BUILD)/generated -MMD -MP -c $< -o $@
$(BUILD)/emu/%.o: %.cu $(BUILD)/emu.stamp | $(VERSION_H)
	@mkdir -p $(@D)
	@echo "CXX $<"
	@$(EMU_CXX) $(EMU_FLAGS) -I$(BUILD)/generated -MMD -MP -x c++ -c $< -o $@
# Every kernel is there, whether this test names it or not; the objects of the emulation come out of an archive.
$(BUILD)/libcudaemu.a: $(EMU_OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $(EMU_OBJECTS)
$(CUDA_EMU_LIB): $(filter-out %/operands.o,$(EMU_OBJECTS)) $(CUDA_C_OBJECTS) $(BUILD)/cuda_objects.stamp
	$(EMU_CXX) -shared -o $@ $(filter %.o,$^) $(filter -fsanitize%,$(LDFLAGS)) -pthread -Wl,-Bsymbolic
$(CUDA_TEST_PROGRAMS): $(BUILD)/%: $(BUILD)/emu/%.o $(BUILD)/libcudaemu.a $(call objects,$(TEST_SUPPORT)) $(BUILD)/libobjects.a
	@mkdir -p $(@D)
	$(EMU_CXX) $(filter-out -std=%,$(CFLAGS)) $(LDFLAGS) -o $@ $< $(call objects,$(TEST_SUPPORT)) $(BUILD)/libcudaemu.a $(BUILD)/libobjects.a $(LIBS) -ldl
-include $(EMU_OBJECTS:.o=.d) $(CUDA_TESTS:%.cc=$(BUILD)/emu/%.d)
else
$(CUDA_TEST_PROGRAMS):
	@mkdir -p $(@D)
	@printf '%s\n' '#!/bin/sh' 'echo "skipped: no C++ compiler for the CUDA kernels"' '[ "$$STRICT" = 1 ] && { echo "0 passed, 1 failed"; exit 1; }' \
	    'echo "0 passed, 0 failed, 1 skipped"' > $@
	@chmod +x $@
endif
