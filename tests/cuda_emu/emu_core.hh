/* emu_core.hh: what emu_core.cc (threads), emu_memory.cc (memory and its shadow), emu_streams.cc and
 * emu_runtime.cc (the fake runtime) share. */
#ifndef STRATA_TESTS_EMU_CORE_HH
#define STRATA_TESTS_EMU_CORE_HH

#include <stddef.h>
#include <stdint.h>
#include <vector>

#include "tests/cuda_emu/emu.h"
#include "kernels/cuda/cuda_device.cuh"

namespace emu
{

enum { WARP = 32, MAX_THREADS = 1024, GRANULE = 2, RED_ZONE = 64 };

uint64_t random_bits();
size_t random_below(size_t n); /* [0, n) */

/* One thread of the running block. */
struct Thread {
    Self self; /* first: emu::self points here */
    void *sp;
    unsigned index, lane, warp;
    enum State { RUNNING, READY, AT_BARRIER, AT_MEETING, ENDED } state;
    Place place; /* where it waits */
    MeetKind kind;
    unsigned mask;
    void *payload;
    Finish finish;
    bool any;
    uint32_t known[WARP]; /* accesses of lane j at warp times below known[j] happened before what this thread does now */
    struct Copy {
        unsigned char *to;
        const char *lo, *hi;
        const unsigned char *from;
        int bytes;
        int group;
    };
    std::vector<Copy> copies;
    int groups; /* committed */
};

struct Block {
    unsigned n_threads, n_warps, n_live, n_ended, at_barrier;
    uint32_t number; /* of the launch */
    uint32_t epoch;  /* barriers passed */
    uint32_t warp_time[MAX_THREADS / WARP];
    bool failed;
};

extern Thread *current; /* null on the host */
extern Block block;
extern const char *kernel_name;
extern uint32_t launch_number; /* of the launch that runs */

/* Shadow of memory: who touched a granule last. */
struct Access {
    uint32_t block, epoch, time;
    uint16_t thread;
    uint8_t kind; /* AccessKind, or ASYNC */
    bool some;
};
enum { ASYNC = 3 };

/* Order between pieces of work of different streams (emu_streams.cc). */
enum { MAX_STREAMS = 16 }; /* 0: the default stream */

struct Clock {
    uint32_t at[MAX_STREAMS]; /* that many pieces of work of each stream happened before */
};
extern Clock clock_now; /* of the piece of work that runs, itself included */
extern unsigned stream_now;

struct Order { /* numbers of pieces of work, and their streams */
    uint32_t wrote, read[2];
    uint8_t wrote_by, read_by[2];
};

/* Whether the work that runs is ordered behind those that it must be behind; remembers it. */
inline bool in_order(Order &o, bool write)
{
    auto before = [](uint32_t number, unsigned stream) { return number <= clock_now.at[stream]; };
    bool good = before(o.wrote, o.wrote_by);
    uint32_t me = clock_now.at[stream_now];
    if (write) {
        good = good && before(o.read[0], o.read_by[0]) && before(o.read[1], o.read_by[1]);
        o = Order{me, {0, 0}, (uint8_t)stream_now, {0, 0}};
    } else {
        int i = before(o.read[0], o.read_by[0]) ? 0 : 1;
        o.read[i] = me;
        o.read_by[i] = (uint8_t)stream_now;
    }
    return good;
}

struct Cell {
    uint32_t run;         /* launch (global) or block run (shared) the accesses belong to */
    bool written;         /* something was stored here, ever */
    bool several_warps;   /* read is the newest of readers in several warps of a block */
    bool several_blocks;  /* ... in several blocks */
    bool several_atomics; /* write is the newest of atomics of several threads of a block, */
    bool atomics_blocks;  /* ... of several blocks */
    uint32_t lanes;       /* readers within read's warp, at read's epoch */
    Access write, read;
    Order order;
};

struct Region { /* a device allocation, pinned host memory, or the shared memory of the running block */
    char *base, *end;
    ptrdiff_t shift; /* from the address to the bytes */
    Cell *cells;     /* [(end - base) / GRANULE + 1], zero pages until touched */
    size_t cells_bytes;
    bool shared, pinned;
};

Region *region_of(const void *p);
Region *region_add(void *base, size_t bytes, ptrdiff_t shift, bool pinned);
void region_drop(void *base);
void mark_written(const void *p, size_t bytes, bool written);

void shared_begin(size_t dynamic_bytes); /* a block starts: nothing is there */
size_t shared_static_bytes();

void arrive_copies(Thread *t, int groups_left);
bool launch_fits(const char *kernel, Place place, const void *function, dim3 grid, dim3 threads, size_t shared_bytes);
void run_launch(const char *kernel, Place place, dim3 grid, dim3 threads, size_t shared_bytes,
                const std::function<void()> &body);
void report_at(const void *where, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_place(Place place, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t shared_limit_of(const void *function); /* what cudaFuncSetAttribute allowed, 48 KiB at first */
size_t shared_most();                         /* of a block, static and dynamic together */
/* Of memory that work of the runtime's own reads or writes. */
void check_order(const void *p, size_t bytes, bool write);
void run_all();
void wait_for_all(); /* and the host knows it */
cudaError_t state(); /* of the device: what most functions return */
bool device_is_lost();
void check_chosen(const char *what); /* that this thread has set its device */
/* Work of the runtime's own, in the order of the stream: emu_peek() gives it the bytes behind device addresses. What it writes there
 * it must mark_written(). */
void enqueue(cudaStream_t stream, std::function<void()> work);

} // namespace emu

#endif
