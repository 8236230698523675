# ptx.mk: for tests/ptx/run.sh, a make of its own: nvcc's PTX of kernels/cuda becomes C++ (ptx_to_cpp.py) and, with the host's half of the
# same files and the emulation's threads, memory and runtime out of $(BUILD), the table of libstrata_cuda.so once more.
BUILD ?= build
NVCC  ?= nvcc
ARCH  ?= 90
DIR   := $(BUILD)/ptx/$(ARCH)
UNITS := $(patsubst kernels/cuda/%.cu,%,$(sort $(wildcard kernels/cuda/*.cu)))
KERNELS := $(patsubst kernels/cuda/%.cu,%,$(shell grep -l CUDA_KERNEL kernels/cuda/*.cu))
LIB   := $(DIR)/libstrata_cuda_ptx.so
# The flags of canonical arithmetic and the units compiled with them, as kernels/cuda/cuda.mk has them.
NVCC_EXACT := $(shell sed -n 's/.*: NVCC_EXACT := //p' kernels/cuda/cuda.mk)
EXACT := $(basename $(shell sed -n 's/: NVCC_EXACT := .*//p' kernels/cuda/cuda.mk | grep -o 'cuda_[a-z_]*%*\.o'))
FLAGS := -std=c++17 -g1 -fPIC -pthread -I. -I$(BUILD)/generated -Itests/cuda_emu/include -ffp-contract=off -MMD -MP
DEVICE_FLAGS := $(FLAGS) -Itests/cuda_emu -Og -fwrapv -fno-operator-names
EMU   := $(patsubst %,$(BUILD)/emu/tests/cuda_emu/%.o,$(filter-out operands,$(patsubst tests/cuda_emu/%.cc,%,$(wildcard tests/cuda_emu/*.cc))))
C_OBJECTS := $(patsubst %.c,$(BUILD)/cuda/%.o,$(addprefix engine/base/,error.c utf8.c dtype.c pool.c) $(wildcard kernels/convert*.c))
TESTS := rows head convert exact

all: $(LIB) $(TESTS:%=$(DIR)/test_cuda_%)
$(DIR)/%.ptx: kernels/cuda/%.cu
	@mkdir -p $(@D)
	@$(NVCC) -std=c++17 -O3 -I. $(if $(filter $(EXACT),$*),$(NVCC_EXACT)) -arch=compute_$(ARCH) -ptx -MMD -MP -MT $@ -MF $(@:.ptx=.ptx.d) -o $@ $<
$(DIR)/%.cc: $(DIR)/%.ptx tests/ptx/ptx_to_cpp.py
	@python3 tests/ptx/ptx_to_cpp.py $< $@
# Device code declares what it does not use and leaves registers unset that are never read; attention's 65,000 lines take a minute at -O1.
$(DIR)/device/%.o: $(DIR)/%.cc
	@mkdir -p $(@D)
	@$(CXX) $(DEVICE_FLAGS) $(if $(filter cuda_attention,$*),-O0) -w -c $< -o $@
$(DIR)/ptx_runtime.o: tests/ptx/ptx_runtime.cc
	@mkdir -p $(@D)
	@$(CXX) $(DEVICE_FLAGS) -O1 -Wall -Wextra -Werror -c $< -o $@
$(DIR)/include/emu_device.hh:
	@mkdir -p $(@D)
	@echo '#include "tests/ptx/ptx_launch.hh"' > $@
$(DIR)/host/%.o: kernels/cuda/%.cu $(DIR)/include/emu_device.hh
	@mkdir -p $(@D)
	@$(CXX) $(FLAGS) -I$(DIR)/include -O0 -Wno-unknown-pragmas -x c++ -c $< -o $@
$(LIB): $(DIR)/ptx_runtime.o $(KERNELS:%=$(DIR)/device/%.o) $(UNITS:%=$(DIR)/host/%.o) $(EMU) $(C_OBJECTS)
	@$(CXX) -shared $(LDFLAGS) -o $@ $^ -pthread -ldl -Wl,-Bsymbolic
$(DIR)/test_cuda_%: $(BUILD)/emu/tests/test_cuda_%.o $(BUILD)/emu/tests/cuda_emu/operands.o $(LIB)
	@$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/emu/tests/cuda_emu/operands.o $(BUILD)/tests/kernel_harness.o $(BUILD)/tests/byte_tokenizer.o \
	    $(LIB) $(BUILD)/libobjects.a $(LIBS) -lm -pthread -ldl -Wl,-rpath,'$$ORIGIN'
flags: ; @echo $(DEVICE_FLAGS)
objects: ; @echo $(EMU) $(C_OBJECTS)
.PHONY: all flags objects
.PRECIOUS: $(DIR)/%.ptx $(DIR)/%.cc
-include $(wildcard $(DIR)/*.d $(DIR)/device/*.d $(DIR)/host/*.d)
