/* emu_memory.cc: device memory, shared memory, and the shadow that tells who touched what.
 *
 * Device memory lies in one file in memory, mapped twice: the addresses that the program sees are unreadable, the bytes are `shift`
 * away, so that neither the host nor a kernel can reach one without the checks here. Each granule of 2 bytes has a cell: its last
 * write and its last read of the launch (device memory) or block (shared memory). An access is a race when an earlier one of
 * another thread, one of the two a write, is not ordered before it; atomics do not race with one another. */
#include "tests/cuda_emu/emu_core.hh"

#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace emu
{

static std::vector<Region> regions; /* sorted by base */

static Region *find(const char *p)
{
    static size_t last;
    if (last < regions.size() && p >= regions[last].base && p < regions[last].end)
        return &regions[last];
    auto it = std::upper_bound(regions.begin(), regions.end(), p, [](const char *a, const Region &r) { return a < r.base; });
    if (it == regions.begin() || p >= (it - 1)->end)
        return nullptr;
    last = (size_t)(it - 1 - regions.begin());
    return &regions[last];
}

static Cell *new_cells(size_t bytes, size_t *cells_bytes)
{
    *cells_bytes = (bytes / GRANULE + 2) * sizeof(Cell);
    void *p = mmap(nullptr, *cells_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        printf("emu: no memory for the shadow of %zu bytes\n", bytes);
        exit(1);
    }
    return (Cell *)p;
}

Region *region_add(void *base, size_t bytes, ptrdiff_t shift, bool pinned)
{
    Region r = {};
    r.base = (char *)base;
    r.end = r.base + bytes;
    r.shift = shift;
    r.pinned = pinned;
    r.cells = new_cells(bytes, &r.cells_bytes);
    auto it = regions.insert(
        std::upper_bound(regions.begin(), regions.end(), r.base, [](const char *a, const Region &b) { return a < b.base; }), r);
    return &*it;
}

void region_drop(void *base)
{
    for (size_t i = 0; i < regions.size(); i++)
        if (regions[i].base == base) {
            munmap(regions[i].cells, regions[i].cells_bytes);
            regions.erase(regions.begin() + (ptrdiff_t)i);
            return;
        }
}

Region *region_of(const void *p)
{
    return find((const char *)p);
}

void mark_written(const void *p, size_t bytes, bool written)
{
    Region *r = region_of(p);
    if (!r || !bytes || r->pinned)
        return;
    size_t first = (size_t)((const char *)p - r->base);
    for (size_t g = first / GRANULE; g <= (first + bytes - 1) / GRANULE; g++)
        r->cells[g].written = written;
}

/* ---- shared memory of the running block ---- */

enum { SHARED_MOST = 227 * 1024, SHARED_ROOM = SHARED_MOST + 48 * 1024 + 64 * 1024 };

struct SharedArray {
    const void *key;
    size_t first, bytes;
};

alignas(128) static unsigned char shared_bytes_of_block[SHARED_ROOM];
static Region shared = {(char *)shared_bytes_of_block, (char *)shared_bytes_of_block + SHARED_ROOM, 0, nullptr, 0, true, false};
static std::vector<SharedArray> arrays;
static size_t shared_used, dynamic_first, dynamic_size, static_size;
static uint32_t shared_run;

static size_t take(size_t bytes)
{
    size_t first = (shared_used + 15) & ~(size_t)15;
    shared_used = first + bytes + RED_ZONE;
    if (shared_used > SHARED_ROOM) {
        printf("emu: more shared memory than any device has\n");
        exit(1);
    }
    return first;
}

void shared_begin(size_t dynamic_bytes)
{
    if (!shared.cells)
        shared.cells = new_cells(SHARED_ROOM, &shared.cells_bytes);
    size_t used = shared_used; /* what the last block used is spoilt */
    shared_run++;
    arrays.clear();
    shared_used = RED_ZONE;
    static_size = 0;
    dynamic_size = dynamic_bytes;
    dynamic_first = take(dynamic_bytes);
    uint64_t spoil = random_bits() | 0x7FC07FC07FC07FC0u;
    for (size_t i = 0; i + 8 <= std::max(used, shared_used); i += 8)
        memcpy(shared_bytes_of_block + i, &spoil, 8);
}

size_t shared_static_bytes()
{
    return static_size;
}

void *shared_array(const void *key, size_t bytes, const char *name)
{
    (void)name;
    for (const SharedArray &a : arrays)
        if (a.key == key)
            return shared_bytes_of_block + a.first;
    size_t first = take(bytes);
    static_size += (bytes + 15) & ~(size_t)15;
    arrays.push_back(SharedArray{key, first, bytes});
    memset(shared_bytes_of_block + first, (int)(random_bits() | 0xC0), bytes);
    return shared_bytes_of_block + first;
}

void *shared_dynamic(size_t *bytes)
{
    *bytes = dynamic_size;
    return shared_bytes_of_block + dynamic_first;
}

/* ---- the check ---- */

/* Whether the last write of a cell, or every one of the atomics that came last, happened before what the thread does now. */
static bool write_ordered(const Cell &c, const Region *r)
{
    const Access &a = c.write;
    if (c.several_atomics)
        return !c.atomics_blocks && (r->shared || a.block == block.number) && a.epoch < block.epoch;
    if (!r->shared && a.block != block.number)
        return false;
    if (a.thread == current->index)
        return true;
    if (a.epoch < block.epoch)
        return true;
    return a.thread / WARP == current->warp && current->known[a.thread % WARP] > a.time;
}

static bool readers_ordered(const Cell &c, const Region *r)
{
    if (c.several_blocks || (!r->shared && c.read.block != block.number))
        return false;
    if (c.read.epoch < block.epoch)
        return true;
    if (c.several_warps || c.read.thread / WARP != current->warp)
        return false;
    for (unsigned l = 0; l < WARP; l++)
        if ((c.lanes >> l & 1) && l != current->lane && current->known[l] <= c.read.time)
            return false;
    return true;
}

static void remember_read(Cell &c, const Region *r)
{
    Access a = {block.number, block.epoch, block.warp_time[current->warp], (uint16_t)current->index, READ, true};
    bool other_block = c.read.some && !r->shared && c.read.block != block.number;
    if (other_block)
        c.several_blocks = true;
    if (!c.read.some || other_block || c.read.epoch < block.epoch) {
        c.several_warps = false;
        c.lanes = 0;
    } else if (c.read.thread / WARP != current->warp) {
        c.several_warps = true;
    }
    c.lanes |= 1u << current->lane;
    c.read = a;
}

static const char *words[] = {"reads", "writes", "updates", "copies to"};
static const char *past[] = {"read", "wrote", "updated", "is copying to"};

static void race(const void *where, const Region *r, size_t at, uint8_t kind, const Access &before)
{
    if (!r->shared && before.block != block.number)
        report_at(where, "race: %s byte %zu of a device array that block %u, thread %u %s in the same launch", words[kind], at,
                  before.block, before.thread, past[before.kind]);
    else
        report_at(where, "race: %s byte %zu of %s that thread %u %s, without a barrier in between", words[kind], at,
                  r->shared ? "shared memory" : "a device array", before.thread, past[before.kind]);
}

/* Shadow of [at, at + bytes) of a region; false when something was reported. */
static bool touch(Region *r, size_t at, size_t bytes, uint8_t kind, const void *where)
{
    uint32_t run = r->shared ? shared_run : launch_number;
    bool good = true;
    for (size_t g = at / GRANULE; g <= (at + bytes - 1) / GRANULE && good; g++) {
        Cell &c = r->cells[g];
        if (c.run != run) {
            bool written = !r->shared && c.written;
            Order order = c.order;
            c = Cell();
            c.run = run;
            c.written = written;
            c.order = order;
        }
        if (!r->shared && !in_order(c.order, kind != READ)) {
            report_at(where, "race: %s byte %zu of a device array that another stream uses, without an event in between",
                      words[kind], g * GRANULE);
            good = false;
        }
        if (kind == READ || kind == ATOMIC) {
            if (!c.written && !r->pinned) {
                report_at(where, "reads byte %zu of %s, which nothing has written", g * GRANULE,
                          r->shared ? "shared memory" : "a device array");
                good = false;
            }
        }
        if (c.write.some && !(kind == ATOMIC && c.write.kind == ATOMIC) && (c.write.kind == ASYNC || !write_ordered(c, r))) {
            race(where, r, g * GRANULE, kind, c.write);
            good = false;
        }
        if (kind == READ) {
            remember_read(c, r);
            continue;
        }
        if (c.read.some && !readers_ordered(c, r)) {
            race(where, r, g * GRANULE, kind, c.read);
            good = false;
        }
        c.written = true;
        bool chain = kind == ATOMIC && c.write.some && c.write.kind == ATOMIC;
        c.several_atomics = chain && (c.several_atomics || c.write.thread != current->index || c.write.block != block.number);
        c.atomics_blocks = chain && (c.atomics_blocks || c.write.block != block.number);
        c.write = Access{block.number, block.epoch, block.warp_time[current->warp], (uint16_t)current->index, kind, true};
    }
    return good;
}

void check_order(const void *p, size_t bytes, bool write)
{
    Region *r = region_of(p);
    if (!r || !bytes)
        return;
    size_t first = (size_t)((const char *)p - r->base);
    bool good = true;
    for (size_t g = first / GRANULE; g <= (first + bytes - 1) / GRANULE; g++)
        good = in_order(r->cells[g].order, write) && good;
    if (!good)
        report_place(Place{r->pinned ? "copy of pinned memory" : "copy of a device array", 0},
                     "race: %s byte %zu and on, which another stream uses, without an event in between",
                     words[write ? WRITE : READ], first);
}

static void *check(const void *p, size_t bytes, size_t align, uint8_t kind, const char *lo, const char *hi, const void *where)
{
    const char *at = (const char *)p;
    if (!current) {
        report_at(where, "the host %s memory of the device", words[kind]);
        return nullptr;
    }
    if ((uintptr_t)at % align) {
        report_at(where, "%s %zu bytes at an address that is no multiple of %zu", words[kind], bytes, align);
        return nullptr;
    }
    if (lo && (at < lo || at + bytes > hi)) {
        report_at(where, "%s %zu bytes at byte %td of a shared array of %td", words[kind], bytes, at - lo, hi - lo);
        return nullptr;
    }
    Region *r = lo ? &shared : find(at);
    if (!r || at + bytes > r->end) {
        report_at(where, "%s %zu bytes outside every device array%s", words[kind], bytes,
                  r    ? " (across the end of one)"
                  : !p ? " (NULL)"
                       : "");
        return nullptr;
    }
    touch(r, (size_t)(at - r->base), bytes, kind, where);
    return const_cast<char *>(at) + r->shift;
}

void *__attribute__((noinline))
access(const void *p, size_t bytes, size_t align, AccessKind kind, const char *lo, const char *hi)
{
    return check(p, bytes, align, (uint8_t)kind, lo, hi, __builtin_return_address(0));
}

/* ---- asynchronous copies: nothing is there before the wait; until then nobody may touch the target ---- */

void __attribute__((noinline)) async_copy(void *to, const char *lo, const char *hi, const void *from, int bytes)
{
    const void *where = __builtin_return_address(0);
    if (bytes < 0 || bytes > 16) {
        report_at(where, "async_copy16 of %d bytes", bytes);
        return;
    }
    if (!lo) {
        report_at(where, "async_copy16 to what is not shared memory");
        return;
    }
    /* The source must be 16-byte aligned even where fewer bytes are read. */
    const void *source = nullptr;
    if ((uintptr_t)from % 16) {
        report_at(where, "async_copy16 from an address that is no multiple of 16");
        return;
    }
    if (bytes && !(source = check(from, (size_t)bytes, 1, READ, nullptr, nullptr, where)))
        return;
    if (!check(to, 16, 16, ASYNC, lo, hi, where))
        return;
    current->copies.push_back(Thread::Copy{(unsigned char *)to, lo, hi, (const unsigned char *)source, bytes, current->groups});
}

void async_commit()
{
    if (current)
        current->groups++;
}

void arrive_copies(Thread *t, int groups_left)
{
    size_t kept = 0;
    for (const Thread::Copy &c : t->copies) {
        if (c.group >= t->groups - groups_left) {
            t->copies[kept++] = c;
            continue;
        }
        memset(c.to, 0, 16);
        if (c.bytes)
            memcpy(c.to, c.from, (size_t)c.bytes);
        size_t at = (size_t)((char *)c.to - shared.base);
        for (size_t g = at / GRANULE; g <= (at + 15) / GRANULE; g++) {
            Cell &cell = shared.cells[g];
            cell.written = true;
            cell.write = Access{block.number, block.epoch, block.warp_time[t->warp], (uint16_t)t->index, WRITE, true};
        }
    }
    t->copies.resize(kept);
}

void async_wait(int groups_left)
{
    if (current)
        arrive_copies(current, groups_left);
}

} // namespace emu

using namespace emu;

extern "C" {

void *emu_peek(const void *device)
{
    Region *r = region_of(device);
    return r ? (char *)const_cast<void *>(device) + r->shift : nullptr;
}

void emu_forget(const void *device, size_t bytes)
{
    mark_written(device, bytes, false);
}
}
