/* emu.h: what a test asks of the emulation (tests/cuda_emu), from C or C++. */
#ifndef STRATA_TESTS_EMU_H
#define STRATA_TESTS_EMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void emu_seed(uint64_t seed); /* order of blocks, threads, atomics and streams; 1 at the start, or STRATA_EMU_SEED */

/* Violations seen since the start or the last emu_clear(); each is printed once per kind and place in the source. With STRATA_EMU_STOP
 * in the environment the first that is printed ends the program with status 97. */
size_t emu_reports(void);
void emu_clear(void);
const char *emu_report_log(void); /* the lines printed since then */
void emu_quiet(bool quiet);       /* counted, not printed */

/* What lies at a device address, for tests: the bytes themselves, readable and writable by the host. NULL if not allocated. */
void *emu_peek(const void *device);
/* Bytes from here on are as if never written: reading them is reported until something is written there. */
void emu_forget(const void *device, size_t bytes);
/* Bytes of device memory allocated now, and the most there ever were. */
size_t emu_allocated(void);
size_t emu_most_allocated(void);
void emu_memory_limit(size_t bytes); /* cudaMalloc fails beyond; 0: none but the arena */
void emu_shared_limit(size_t bytes); /* of a block, at most; 227 KiB at the start */
/* The n-th call from now fails of those that a program must check: allocations, copies, launches, events, streams. 0: none. */
void emu_fail_call(size_t n);
bool emu_call_failed(void);
size_t emu_launches(void); /* kernels launched so far */

/* What cublasLt refuses from now on: algorithms with a bias in the epilogue, algorithms of any kind, products with a C when they are to be
 * made (the algorithm was there). */
enum { EMU_NO_EPILOGUE = 1, EMU_NO_ALGORITHM = 2, EMU_NO_PRODUCT = 4 };
void emu_cublaslt_refuse(unsigned what);
size_t emu_cublaslt_products(void); /* made so far */

#ifdef __cplusplus
}
#endif

#endif
