/* ptx_runtime.cc: launches of translated kernels, and the instructions by which the threads of a block speak to one another. Fibers, their
 * order, memory and its checks are tests/cuda_emu's; what an instruction does with the operands of its lanes is written here, from the
 * PTX ISA's text. */
#include "tests/ptx/ptx_isa.hh"

#include <dlfcn.h>
#include <fenv.h>
#include <map>
#include <string>
#include <vector>

using emu::Place;

namespace ptx
{

void launch(const char *kernel, const char *file, int line, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, std::vector<unsigned char> params);

/* ---- shared memory: a window of 32-bit addresses, in which the block's arrays lie as far apart as the emulation puts them ---- */

enum { WINDOW = 1024 };
static char *window; /* what lies at address WINDOW: dynamic shared memory */

struct Array {
    const char *lo, *hi;
};
static std::vector<Array> arrays; /* of the running block */

static r32 add_array(void *at, size_t bytes)
{
    arrays.push_back(Array{(char *)at, (char *)at + bytes});
    return (r32)((char *)at - window) + WINDOW;
}

r32 shared_dynamic()
{
    size_t bytes;
    void *at = emu::shared_dynamic(&bytes);
    return add_array(at, bytes);
}

r32 shared_static(const void *key, size_t bytes)
{
    return add_array(emu::shared_array(key, bytes, ""), bytes);
}

SharedPlace shared_place(r32 address)
{
    char *at = window + ((ptrdiff_t)address - WINDOW);
    for (const Array &a : arrays)
        if (at >= a.lo && at < a.hi)
            return SharedPlace{at, a.lo, a.hi};
    emu::report("address %u of shared memory lies in no array", address);
    return SharedPlace{nullptr, nullptr, nullptr};
}

/* ---- cp.async: it may land at once or as late as a wait for its group ---- */

struct Copy {
    r32 to;
    r64 from;
    r32 n_bytes, group;
};
static std::vector<Copy> copies[emu::MAX_THREADS]; /* on their way, of each thread */
static r32 groups[emu::MAX_THREADS];               /* committed */

static void land(const Copy &c)
{
    unsigned char bytes[16] = {0};
    const void *from = c.n_bytes ? emu::access((void *)c.from, c.n_bytes, 1, emu::READ, nullptr, nullptr) : nullptr;
    if (from)
        memcpy(bytes, from, c.n_bytes);
    if (void *to = shared_at(c.to, 16, emu::WRITE))
        memcpy(to, bytes, 16);
}

void async_copy(r32 to, r64 from, r32 n_bytes)
{
    unsigned t = emu::current->index;
    if (n_bytes > 16 || from % 16 || to % 16) {
        emu::report("cp.async of %u bytes to %u from %llu: more than 16, or misaligned", n_bytes, to, (unsigned long long)from);
        return;
    }
    Copy c = {to, from, n_bytes, groups[t]};
    if (emu::random_below(2))
        land(c);
    else
        copies[t].push_back(c);
}

void async_commit()
{
    groups[emu::current->index]++;
}

/* All but the latest `left` committed groups have landed. */
void async_wait(r32 left)
{
    unsigned t = emu::current->index;
    std::vector<Copy> late;
    for (const Copy &c : copies[t])
        if (c.group + left < groups[t])
            land(c);
        else
            late.push_back(c);
    copies[t] = late;
}

/* ---- barriers, shuffles, votes ---- */

void bar_sync(r32 barrier)
{
    if (barrier)
        emu::report("barrier %u", barrier);
    emu::barrier(Place{"bar.sync", 0}, nullptr); /* any bar.sync of the kernel will do */
}

void bar_warp_sync(r32 mask)
{
    emu::meet(emu::MEET_SYNC, mask, nullptr, nullptr, Place{"bar.warp.sync", 0});
}

struct Shuffled {
    ShuffleMode mode;
    r32 a, b, c, d;
    bool p;
};

/* 9.7.9.6, shfl.sync: c holds the clamp in its lowest 5 bits and the mask of segments in bits 8 to 12. */
static void finish_shuffle(void *const lanes[32], unsigned mask, Place place)
{
    for (int lane = 0; lane < 32; lane++) {
        Shuffled *s = (Shuffled *)lanes[lane];
        if (!s)
            continue;
        int b = s->b & 31, clamp = s->c & 31, segment = s->c >> 8 & 31;
        int most = (lane & segment) | (clamp & ~segment & 31), least = lane & segment;
        int from = s->mode == UP     ? lane - b
                   : s->mode == DOWN ? lane + b
                   : s->mode == BFLY ? lane ^ b
                                     : least | (b & ~segment & 31);
        s->p = s->mode == UP ? from >= most : from <= most;
        Shuffled *source = (Shuffled *)lanes[s->p ? from : lane];
        if (!source || source->mode != s->mode) {
            emu::report_place(place, "lane %d shuffles from lane %d, which takes no part in it (mask %08x)", lane, from, mask);
            source = s;
        }
        s->d = source->a;
    }
}

bool shuffle(ShuffleMode mode, r32 &d, r32 a, r32 b, r32 c, r32 mask)
{
    Shuffled s = {mode, a, b, c, 0, false};
    emu::meet(emu::MEET_SHUFFLE, mask, &s, finish_shuffle, Place{"shfl.sync", 0});
    d = s.d;
    return s.p;
}

struct Vote {
    bool p;
    r32 ballot;
};

static void finish_ballot(void *const lanes[32], unsigned, Place)
{
    r32 all = 0;
    for (int lane = 0; lane < 32; lane++)
        all |= lanes[lane] && ((Vote *)lanes[lane])->p ? 1u << lane : 0;
    for (int lane = 0; lane < 32; lane++)
        if (lanes[lane])
            ((Vote *)lanes[lane])->ballot = all;
}

r32 ballot(bool p, r32 mask)
{
    Vote v = {p, 0};
    emu::meet(emu::MEET_VOTE, mask, &v, finish_ballot, Place{"vote.sync.ballot", 0});
    return v.ballot;
}

/* ---- matrices ---- */

/* .aligned: every lane is there, at the same instruction. */
template <typename Lane> static bool whole_warp(void *const lanes[32], Place place)
{
    for (int lane = 0; lane < 32; lane++)
        if (!lanes[lane] || ((Lane *)lanes[lane])->line != ((Lane *)lanes[0])->line) {
            emu::report_place(place, "lane %d is not at the instruction of the other lanes", lane);
            return false;
        }
    return true;
}

struct MatrixLoad {
    int line, n;
    bool transposed;
    r16 row[8];
    r32 d[4];
};

/* 9.7.14.5.15, ldmatrix: lanes 8 m to 8 m + 7 give the rows of matrix m; of it lane l gets the elements 2 (l % 4) and the next of row l / 4,
 * of the transposed matrix with .trans. The first of the two is the lower half. */
static void finish_load(void *const lanes[32], unsigned, Place place)
{
    if (!whole_warp<MatrixLoad>(lanes, place))
        return;
    for (int m = 0; m < ((MatrixLoad *)lanes[0])->n; m++)
        for (int row = 0; row < 8; row++)
            for (int col = 0; col < 8; col++) {
                MatrixLoad *from = (MatrixLoad *)lanes[8 * m + row];
                int i = from->transposed ? col : row, j = from->transposed ? row : col;
                r32 *to = &((MatrixLoad *)lanes[4 * i + j / 2])->d[m];
                *to = j % 2 ? (*to & 0xFFFFu) | (r32)from->row[col] << 16 : (*to & 0xFFFF0000u) | from->row[col];
            }
}

void load_matrices(r32 *d, int n, bool transposed, r32 address, int line)
{
    MatrixLoad l = {line, n, transposed, {}, {}};
    if ((int)emu::current->lane < 8 * n) /* the addresses of the others are not looked at */
        if (const void *row = shared_at(address, 16, emu::READ))
            memcpy(l.row, row, 16);
    emu::meet(emu::MEET_LOAD_MATRIX, 0xFFFFFFFFu, &l, finish_load, Place{"ldmatrix", 0});
    memcpy(d, l.d, (size_t)n * sizeof *d);
}

struct Product {
    int line;
    r32 *d;
    const r32 *a, *b, *c;
};

static f64 half(const r32 *fragment, int i) /* element i, low to high, of registers of bf16x2 */
{
    return value<f32>((fragment[i / 2] >> 16 * (i % 2) & 0xFFFFu) << 16);
}

/* 9.7.14.5: products are exact, sums of at least single precision and of unspecified order and rounding: here one sum of all, cut off
 * towards zero, as tensor cores are known to do. */
static f32 cut(f64 sum)
{
    f32 nearest = (f32)sum;
    return std::fabs((f64)nearest) > std::fabs(sum) && std::isfinite(sum) ? std::nextafter(nearest, 0.0f) : nearest;
}

/* 9.7.14.5.8, fragments of m16n8k16. */
static void finish_product(void *const lanes[32], unsigned, Place place)
{
    if (!whole_warp<Product>(lanes, place))
        return;
    static f64 a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const Product *p = (Product *)lanes[lane];
        int group = lane >> 2, in_group = lane % 4;
        for (int i = 0; i < 8; i++) {
            int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            int col = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
            a[row][col] = half(p->a, i);
        }
        for (int i = 0; i < 4; i++) {
            int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
            b[row][group] = half(p->b, i);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const Product *p = (Product *)lanes[lane];
        for (int i = 0; i < 4; i++) {
            int row = (lane >> 2) + (i < 2 ? 0 : 8), col = lane % 4 * 2 + (i & 1);
            f64 sum = value<f32>(p->c[i]);
            for (int k = 0; k < 16; k++)
                sum += a[row][k] * b[k][col];
            p->d[i] = bits<f32>(cut(sum));
        }
    }
}

void multiply_16_8_16(r32 *d, const r32 *a, const r32 *b, const r32 *c, int line)
{
    Product p = {line, d, a, b, c};
    emu::meet(emu::MEET_MMA, 0xFFFFFFFFu, &p, finish_product, Place{"mma.sync", 0});
}

__attribute__((noinline)) float fma_down(float a, float b, float c)
{
    int mode = fegetround();
    fesetround(FE_DOWNWARD);
    volatile float x = a, y = b, z = c, d = fmaf(x, y, z);
    fesetround(mode);
    return d;
}

/* ---- launches ---- */

static std::map<std::string, Entry *> &entries()
{
    static std::map<std::string, Entry *> all;
    return all;
}

Entry::Entry(const char *n, void (*r)(r64), size_t bytes, unsigned most)
    : name(n), run(r), param_bytes(bytes), max_threads(most)
{
    entries()[n] = this;
}

/* The .entry of a kernel, by the name that its C++ body has in this library. */
static const Entry *entry_of(const void *function)
{
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_sname || info.dli_saddr != function)
        return nullptr;
    auto it = entries().find(info.dli_sname);
    return it == entries().end() ? nullptr : it->second;
}

static void run_thread(const Entry *entry, const unsigned char *params)
{
    size_t bytes;
    window = (char *)emu::shared_dynamic(&bytes);
    arrays.clear();
    unsigned t = emu::current->index;
    copies[t].clear();
    groups[t] = 0;
    entry->run((r64)params);
    if (!copies[t].empty())
        emu::report("%s ends while %zu asynchronous copies are on their way", entry->name, copies[t].size());
}

void launch(const char *kernel, const char *file, int line, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, std::vector<unsigned char> params)
{
    Place place = {file, line};
    const Entry *entry = entry_of(function);
    if (!entry) {
        emu::report_place(place, "no PTX for %s", kernel);
        return;
    }
    if (params.size() != entry->param_bytes)
        emu::report_place(place, "%s: %zu bytes of arguments, the PTX declares %zu", kernel, params.size(), entry->param_bytes);
    if (block.x * block.y * block.z > entry->max_threads)
        emu::report_place(place, "%s: more threads a block than .maxntid %u", kernel, entry->max_threads);
    emu::launch(kernel, place, function, grid, block, shared_bytes, stream, [=]() { run_thread(entry, params.data()); });
}

} // namespace ptx
