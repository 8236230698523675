/* emu_core.cc: the threads of a launch. Blocks run one after another in shuffled order; the threads of a block are fibers, each runs
 * until it waits (barrier, meeting of a warp) and any of those that can go on is next, by the seed. What cannot go on is reported:
 * barriers that some thread does not reach, masks that do not match, reads of lanes that are not there.
 *
 * Order in a block, for the shadow of emu_memory.cc: a barrier orders everything before it with everything behind it. A warp has a
 * time, which every warp_sync() that is complete advances; it makes the accesses of its lanes until then known to all of them. */
#include "tests/cuda_emu/emu_core.hh"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emu
{

const Self *self;
Thread *current;
Block block;
const char *kernel_name = "";
uint32_t launch_number;

static Thread *threads;
static std::vector<Thread *> ready;
static const std::function<void()> *body;
static size_t n_launches;
static uint64_t rng_state = 0x9E3779B97F4A7C15u;

/* ---- random numbers: splitmix64 ---- */

uint64_t random_bits()
{
    uint64_t z = rng_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

size_t random_below(size_t n)
{
    return n ? (size_t)(random_bits() % n) : 0;
}

/* ---- fibers ---- */

enum { STACK_BYTES = 128 * 1024, STACK_GUARD = 4096 };
static unsigned char *stacks; /* [MAX_THREADS] of STACK_BYTES, the lowest page of each unreadable */

static void fiber_main();

#if defined(__x86_64__)
/* Saves what a function must keep and goes on from the other stack. */
extern "C" void emu_switch(void **save_sp, void *load_sp);
asm(".text\n"
    ".type emu_switch,@function\n"
    ".globl emu_switch\n"
    "emu_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size emu_switch,.-emu_switch\n");

static void *scheduler_sp;

static void fiber_start(Thread *t)
{
    uintptr_t top = ((uintptr_t)stacks + (size_t)(t->index + 1) * STACK_BYTES) & ~(uintptr_t)15;
    void **sp = (void **)top;
    *--sp = nullptr; /* where fiber_main would return to; keeps the alignment the ABI asks for */
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++)
        *--sp = nullptr;
    t->sp = sp;
}

static void to_scheduler(Thread *t)
{
    emu_switch(&t->sp, scheduler_sp);
}

static void to_thread(Thread *t)
{
    emu_switch(&scheduler_sp, t->sp);
}
#else
static ucontext_t scheduler_context, contexts[MAX_THREADS];

static void fiber_start(Thread *t)
{
    ucontext_t *c = &contexts[t->index];
    getcontext(c);
    c->uc_stack.ss_sp = stacks + (size_t)t->index * STACK_BYTES + STACK_GUARD;
    c->uc_stack.ss_size = STACK_BYTES - STACK_GUARD;
    c->uc_link = nullptr;
    makecontext(c, fiber_main, 0);
}

static void to_scheduler(Thread *t)
{
    swapcontext(&contexts[t->index], &scheduler_context);
}

static void to_thread(Thread *t)
{
    swapcontext(&scheduler_context, &contexts[t->index]);
}
#endif

static void make_ready(Thread *t)
{
    t->state = Thread::READY;
    ready.push_back(t);
}

static void wait_as(Thread::State state)
{
    Thread *t = current;
    t->state = state;
    to_scheduler(t);
}

static void fiber_main()
{
    (*body)();
    Thread *t = current;
    if (!t->copies.empty()) {
        report_place(Place{kernel_name, 0}, "ends while asynchronous copies are on their way");
        arrive_copies(t, 0);
    }
    t->state = Thread::ENDED;
    block.n_live--;
    block.n_ended++;
    to_scheduler(t);
    abort(); /* nobody goes on with a thread that ended */
}

/* ---- barriers and meetings ---- */

void barrier(Place place, bool *any)
{
    if (!current) {
        report_place(place, "block_sync() on the host");
        return;
    }
    current->place = place;
    current->any = any && *any;
    block.at_barrier++;
    if (block.at_barrier < block.n_threads) {
        wait_as(Thread::AT_BARRIER);
    } else {
        bool some = false, elsewhere = false;
        for (unsigned i = 0; i < block.n_threads; i++) {
            some = some || threads[i].any;
            elsewhere = elsewhere || threads[i].place.line != place.line || strcmp(threads[i].place.file, place.file) != 0;
        }
        if (elsewhere)
            report_place(place, "threads of one block wait at block_sync() in different places");
        block.at_barrier = 0;
        block.epoch++;
        for (unsigned i = 0; i < block.n_threads; i++) {
            threads[i].any = some;
            if (&threads[i] != current)
                make_ready(&threads[i]);
        }
        make_ready(current);
        to_scheduler(current);
    }
    if (any)
        *any = current->any;
}

static Thread *lane_of(Thread *t, unsigned lane)
{
    unsigned index = t->warp * WARP + lane;
    return index < block.n_threads ? &threads[index] : nullptr;
}

void meet(MeetKind kind, unsigned mask, void *payload, Finish finish, Place place)
{
    Thread *t = current;
    if (!t) {
        report_place(place, "a warp's operation on the host");
        return;
    }
    if (!(mask >> t->lane & 1)) {
        report_place(place, "lane %u calls with mask %08x, which leaves it out", t->lane, mask);
        mask |= 1u << t->lane;
    }
    t->place = place;
    t->kind = kind;
    t->mask = mask;
    t->payload = payload;
    t->finish = finish;
    t->state = Thread::AT_MEETING;
    void *lanes[WARP] = {nullptr};
    for (unsigned l = 0; l < WARP; l++) {
        if (!(mask >> l & 1))
            continue;
        Thread *other = lane_of(t, l);
        if (!other) {
            report_place(place, "mask %08x names lane %u, but the block ends before it", mask, l);
            continue;
        }
        if (other->state == Thread::ENDED)
            continue;
        if (other->state != Thread::AT_MEETING || other->kind != kind || other->mask != mask) {
            to_scheduler(t);
            return;
        }
        lanes[l] = kind == MEET_SYNC ? (void *)other : other->payload;
    }
    if (kind == MEET_SYNC) {
        uint32_t now = ++block.warp_time[t->warp];
        for (unsigned l = 0; l < WARP; l++)
            for (unsigned m = 0; lanes[l] && m < WARP; m++)
                if (lanes[m]) /* what m knew of third lanes is passed on too */
                    for (unsigned k = 0; k < WARP; k++) {
                        uint32_t knows = k == m ? now : ((Thread *)lanes[m])->known[k];
                        uint32_t *mine = &((Thread *)lanes[l])->known[k];
                        *mine = *mine < knows ? knows : *mine;
                    }
    } else {
        finish(lanes, mask, place);
    }
    for (unsigned l = 0; l < WARP; l++)
        if (lanes[l] && lane_of(t, l) != t)
            make_ready(lane_of(t, l));
    make_ready(t);
    to_scheduler(t);
}

void before_atomic()
{
    if (!current || random_below(4))
        return;
    make_ready(current);
    to_scheduler(current);
}

/* ---- blocks and launches ---- */

static void stuck()
{
    for (unsigned i = 0; i < block.n_threads; i++) {
        Thread *t = &threads[i];
        if (t->state != Thread::AT_BARRIER && t->state != Thread::AT_MEETING)
            continue;
        current = t;
        self = &t->self;
        if (t->state == Thread::AT_BARRIER)
            report_place(t->place, "waits at block_sync() with %u of %u threads; %u have ended, the others wait elsewhere",
                         block.at_barrier, block.n_threads, block.n_ended);
        else
            report_place(t->place, "waits for lanes %08x, and not all of them come", t->mask);
    }
    block.failed = true;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    char text[512];
    int n = snprintf(text, sizeof text, "emu: %s: %s: signal %d at address %p: %s\n", kernel_name,
                     current ? "device code" : "host code", number, info->si_addr,
                     current ? "memory reached without a checked pointer, or a stack overflow"
                             : "the host may not touch device memory, or a plain bug");
    if (current) {
        const Self &s = current->self;
        n += snprintf(text + n, sizeof text - (size_t)n, "emu: in block (%u, %u, %u) thread (%u, %u, %u)\n", s.block.x,
                      s.block.y, s.block.z, s.thread.x, s.thread.y, s.thread.z);
    }
    ssize_t ignored = write(1, text, (size_t)n);
    (void)ignored;
    void *frames[24];
    backtrace_symbols_fd(frames, backtrace(frames, 24), 1);
    _exit(99);
}

static void setup()
{
    if (threads)
        return;
    threads = new Thread[MAX_THREADS]();
    stacks = (unsigned char *)mmap(nullptr, (size_t)MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        printf("emu: no memory for stacks\n");
        exit(1);
    }
    for (size_t i = 0; i < MAX_THREADS; i++)
        mprotect(stacks + i * STACK_BYTES, STACK_GUARD, PROT_NONE);
    static unsigned char signal_stack[64 * 1024];
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof signal_stack;
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

static void run_block(Dim at, Dim grid, Dim dims, size_t shared_bytes)
{
    unsigned n = dims.x * dims.y * dims.z;
    uint32_t number = at.x + grid.x * (at.y + grid.y * at.z);
    block = Block();
    block.n_threads = block.n_live = n;
    block.n_warps = (n + WARP - 1) / WARP;
    block.number = number;
    shared_begin(shared_bytes);
    ready.clear();
    for (unsigned i = 0; i < n; i++) {
        Thread *t = &threads[i];
        t->self = Self{{i % dims.x, i / dims.x % dims.y, i / dims.x / dims.y}, at, dims, grid};
        t->index = i;
        t->lane = i % WARP;
        t->warp = i / WARP;
        memset(t->known, 0, sizeof t->known);
        t->copies.clear();
        t->groups = 0;
        fiber_start(t);
        make_ready(t);
    }
    while (block.n_live) {
        if (ready.empty()) {
            stuck();
            break;
        }
        size_t next = random_below(ready.size());
        current = ready[next];
        ready[next] = ready.back();
        ready.pop_back();
        self = &current->self;
        current->state = Thread::RUNNING;
        to_thread(current);
    }
    if (!block.failed && block.at_barrier) /* the last threads ended while others wait: caught above, kept for the reader */
        stuck();
    current = nullptr;
    self = nullptr;
}

bool launch_fits(const char *kernel, Place place, const void *function, dim3 grid, dim3 dims, size_t shared_bytes)
{
    size_t n = (size_t)dims.x * dims.y * dims.z, blocks = (size_t)grid.x * grid.y * grid.z;
    bool good = true;
    kernel_name = kernel;
    if (n == 0 || n > MAX_THREADS || dims.x > 1024 || dims.y > 1024 || dims.z > 64) {
        report_place(place, "%u x %u x %u threads a block", dims.x, dims.y, dims.z);
        good = false;
    }
    if (blocks == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535) {
        report_place(place, "a grid of %u x %u x %u blocks", grid.x, grid.y, grid.z);
        good = false;
    }
    if (shared_bytes > shared_limit_of(function)) {
        report_place(place, "%zu bytes of dynamic shared memory, allowed are %zu", shared_bytes, shared_limit_of(function));
        good = false;
    }
    kernel_name = "";
    return good;
}

void run_launch(const char *kernel, Place place, dim3 grid, dim3 dims, size_t shared_bytes, const std::function<void()> &work)
{
    setup();
    kernel_name = kernel;
    n_launches++;
    launch_number++;
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
    body = &work;
    /* Blocks in shuffled order: a random start and a stride without common divisor, so that no list is needed. */
    size_t first = random_below(blocks), stride = 1 + random_below(blocks);
    auto gcd = [](size_t a, size_t b) {
        while (b) {
            size_t r = a % b;
            a = b;
            b = r;
        }
        return a;
    };
    while (gcd(stride, blocks) != 1)
        stride++;
    for (size_t i = 0; i < blocks; i++) {
        size_t b = (first + i * stride) % blocks;
        run_block(Dim{(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)},
                  Dim{grid.x, grid.y, grid.z}, Dim{dims.x, dims.y, dims.z}, shared_bytes);
        if (shared_static_bytes() > 48 * 1024) {
            report_place(place, "%zu bytes of static shared memory, the limit is 49152", shared_static_bytes());
            return;
        }
        if (shared_static_bytes() + shared_bytes > shared_most()) {
            report_place(place, "%zu bytes of static and %zu of dynamic shared memory, a block has %zu", shared_static_bytes(),
                         shared_bytes, shared_most());
            return;
        }
        if (block.failed)
            return;
    }
    kernel_name = "";
}

} // namespace emu

using namespace emu;

extern "C" {

void emu_seed(uint64_t seed)
{
    rng_state = seed * 0x9E3779B97F4A7C15u + 1;
}

size_t emu_launches(void)
{
    return n_launches;
}
}
