# cuda.mk: libstrata_cuda.so: kernels/cuda/*.cu by nvcc (12 or later) for compute capabilities 8.0 and 9.0, with PTX that later devices'
# drivers translate, and what they need of our C sources, compiled anew to be position-independent. Its one export is
# strata_cuda_entry (see cuda_entry.h).
#
# CUDA=1 builds it, CUDA=0 does not; without either it is built where both nvcc and an NVIDIA driver are found.
NVCC     ?= $(or $(shell command -v nvcc 2>/dev/null),$(wildcard /usr/local/cuda/bin/nvcc))
CUDA     ?= $(if $(and $(NVCC),$(wildcard /proc/driver/nvidia/version)),1,0)
CUDA_LIB := $(BUILD)/libstrata_cuda.so
CUDA_SOURCES := $(sort $(wildcard kernels/cuda/*.cu))
CUDA_C   := engine/base/error.c engine/base/utf8.c engine/base/dtype.c engine/base/pool.c $(wildcard kernels/convert*.c)
CUDA_ARCHS ?= 80 90
CUDA_PTX ?= 90
NVCC_FLAGS := -std=c++17 -O3 -lineinfo -I. -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-unknown-pragmas \
              $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
              -gencode arch=compute_$(CUDA_PTX),code=compute_$(CUDA_PTX)
# Canonical arithmetic, and sums that the host gives bit for bit: no contraction, IEEE division and roots, denormals kept.
$(BUILD)/cuda/kernels/cuda/cuda_exact%.o $(BUILD)/cuda/kernels/cuda/cuda_pairs.o: NVCC_EXACT := -fmad=false -ftz=false -prec-div=true -prec-sqrt=true
CUDA_C_OBJECTS := $(CUDA_C:%.c=$(BUILD)/cuda/%.o)
CUDA_OBJECTS := $(CUDA_SOURCES:%.cu=$(BUILD)/cuda/%.o) $(CUDA_C_OBJECTS)

$(BUILD)/cuda/%.o: %.c $(BUILD)/flags.stamp | $(VERSION_H) $(BUILD)/setup.stamp
	@mkdir -p $(@D)
	@echo "CC -fPIC $<"
	@$(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@
$(BUILD)/cuda_objects.stamp: FORCE
	$(call stamp,$(CUDA_SOURCES) $(CUDA_C_OBJECTS))
-include $(CUDA_C_OBJECTS:.o=.d)

# What a machine with a GPU runs, in one folder of 17 MB that can be carried there: zlib is inside the programs, OpenBLAS not needed.
GPU_DIR  := $(BUILD)/gpu
GPU_LIBS := $(filter -L%,$(LIBS)) -Wl,-Bstatic -lz -Wl,-Bdynamic -lcjson -lm -pthread -ldl -Wl,-rpath,'$$ORIGIN'
GPU_TESTS := test_cuda_ops test_cuda_forward test_cuda_golden
GPU_PROGRAMS := $(GPU_DIR)/gpu_bench $(GPU_TESTS:%=$(GPU_DIR)/%)
$(GPU_DIR)/gpu_bench: $(BUILD)/bench/gpu/gpu_bench.o $(BUILD)/bench/gpu/hollow_model.o
$(GPU_TESTS:%=$(GPU_DIR)/%): $(GPU_DIR)/%: $(BUILD)/tests/%.o
$(GPU_PROGRAMS): $(BUILD)/bench/gpu/no_blas.o $(BUILD)/tests/kernel_harness.o $(BUILD)/libobjects.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -s -o $@ $(filter %.o,$^) $(BUILD)/libobjects.a $(GPU_LIBS)
gpu-programs: $(GPU_PROGRAMS) $(CUDA_LIB)
	@cp $(CUDA_LIB) $$(ldd $(GPU_DIR)/gpu_bench | sed -n 's/.*libcjson.* => \([^ ]*\).*/\1/p') $(GPU_DIR)/
gpu-bundle: setup
	$(SUBMAKE) CUDA=1 gpu-programs
	@echo "$(GPU_DIR)/ holds what bench/gpu/run.sh needs (with tests/data, bench/gpu and this folder on a machine with a GPU)"
gpu-test: gpu-bundle
	@BUILD=$(BUILD) bench/gpu/run.sh test
gpu-bench: gpu-bundle
	@BUILD=$(BUILD) bench/gpu/run.sh bench
.PHONY: gpu-programs gpu-bundle gpu-test gpu-bench

ifeq ($(CUDA),1)
CUDA_RELEASE := $(if $(NVCC),$(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p'))
ifeq ($(CUDA_RELEASE),)
$(error CUDA=1, but there is no nvcc on PATH or in /usr/local/cuda/bin (NVCC=/path/to/nvcc names one))
endif
ifneq ($(filter 1 2 3 4 5 6 7 8 9 10 11,$(CUDA_RELEASE)),)
$(error CUDA=1, but $(NVCC) is of CUDA $(CUDA_RELEASE): expected 12 or later)
endif
CUDA_NOTE := CUDA is on: $(CUDA_LIB) serves --gpu_id
all: $(CUDA_LIB)

$(BUILD)/cuda/nvcc.stamp: FORCE
	$(call stamp,$(NVCC) $(NVCC_FLAGS) $(CUDA_OBJECTS))
$(BUILD)/cuda/%.o: %.cu $(BUILD)/cuda/nvcc.stamp
	@mkdir -p $(@D)
	@echo "NVCC $<"
	@$(NVCC) $(NVCC_FLAGS) $(NVCC_EXACT) -MMD -MP -c $< -o $@
# cuBLAS is looked for beside the library, where this nvcc has it (it may be a script that stands elsewhere: it says itself where it belongs), and
# where toolkits usually lie.
CUDA_TOP := $(shell $(NVCC) --dryrun -x cu /dev/null 2>&1 | sed -n 's/^\#\$$ TOP=//p')
CUDA_RPATH := $$ORIGIN:$(if $(CUDA_TOP),$(abspath $(CUDA_TOP)/lib64):)/usr/local/cuda/lib64
$(CUDA_LIB): $(CUDA_OBJECTS) kernels/cuda/exports.map $(BUILD)/cuda_objects.stamp
	$(NVCC) -shared -o $@ $(CUDA_OBJECTS) -lcublasLt -Xlinker '-rpath,$(CUDA_RPATH)' \
	    -Xlinker --version-script=kernels/cuda/exports.map -Xlinker -z,defs
-include $(CUDA_SOURCES:%.cu=$(BUILD)/cuda/%.d)
else
CUDA_NOTE := CUDA is off: $(if $(NVCC),no NVIDIA driver here; make CUDA=1 builds $(CUDA_LIB) all the same,no nvcc found; --gpu_id cpu alone is served)
endif
