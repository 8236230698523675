/* emu_streams.cc: streams and events. A stream is a queue; what lies at the heads of the queues runs in an order chosen by the seed, at once
 * or as late as a synchronisation allows, so that a missing event or synchronisation changes results.
 *
 * Whatever the seed chose, order is checked too. The host, each stream and each event have a clock: for every stream the number of its
 * latest piece of work that happened before. Enqueueing joins the host's clock into the stream's, recording copies the stream's into the
 * event's, waiting for the event joins it into the waiting stream's, synchronising into the host's. A piece of work runs with the clock it
 * was enqueued with; memory remembers who wrote and read it (Order), and what is not known to have happened before is a race. */
#include "tests/cuda_emu/emu_core.hh"

#include <algorithm>
#include <deque>

using namespace emu;

struct CUevent_st {
    uint64_t recorded, done;
    Clock clock;
};

struct Work {
    std::function<void()> run;
    CUevent_st *wait; /* runs once wait->done >= version */
    uint64_t version;
    Clock clock;
};

struct CUstream_st {
    std::deque<Work> queue;
    unsigned number;
    Clock clock;
};

namespace emu
{

Clock clock_now;
unsigned stream_now;

static std::vector<CUstream_st *> streams;
static uint32_t enqueued[MAX_STREAMS]; /* pieces of work; goes on when a number is used again */
static Clock host_clock;

static void join(Clock &into, const Clock &other)
{
    for (unsigned s = 0; s < MAX_STREAMS; s++)
        into.at[s] = std::max(into.at[s], other.at[s]);
}

static Clock clock_of_new_work(unsigned stream, Clock &clock)
{
    join(clock, host_clock);
    clock.at[stream] = ++enqueued[stream];
    return clock;
}

static void run(const Work &w, unsigned stream)
{
    clock_now = w.clock;
    stream_now = stream;
    if (w.run)
        w.run();
}

static bool run_one()
{
    std::vector<CUstream_st *> can;
    for (CUstream_st *s : streams)
        if (!s->queue.empty() && (!s->queue.front().wait || s->queue.front().wait->done >= s->queue.front().version))
            can.push_back(s);
    if (can.empty())
        return false;
    CUstream_st *s = can[random_below(can.size())];
    Work w = std::move(s->queue.front());
    s->queue.pop_front();
    run(w, s->number);
    return true;
}

template <typename Done> static void run_until(Done done)
{
    while (!done())
        if (!run_one()) {
            report_place(Place{"emu_streams", 0}, "streams wait for an event that nothing records");
            return;
        }
}

void run_all()
{
    run_until([] { return std::all_of(streams.begin(), streams.end(), [](CUstream_st *s) { return s->queue.empty(); }); });
}

void wait_for_all()
{
    run_all();
    for (CUstream_st *s : streams)
        join(host_clock, s->clock);
}

static void enqueue_waiting(cudaStream_t stream, std::function<void()> work, CUevent_st *wait, uint64_t version)
{
    if (!stream) { /* the default stream: behind everything, and at once */
        wait_for_all();
        run(Work{std::move(work), nullptr, 0, clock_of_new_work(0, host_clock)}, 0);
        return;
    }
    stream->queue.push_back(Work{std::move(work), wait, version, clock_of_new_work(stream->number, stream->clock)});
    for (size_t n = random_below(8) ? 0 : random_below(4); n > 0 && run_one(); n--) /* mostly late, at times at once */
        ;
}

void enqueue(cudaStream_t stream, std::function<void()> work)
{
    enqueue_waiting(stream, std::move(work), nullptr, 0);
}

} // namespace emu

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    unsigned number = 1;
    while (std::any_of(streams.begin(), streams.end(), [=](CUstream_st *s) { return s->number == number; }))
        number++;
    if (number == MAX_STREAMS)
        report_place(Place{"cudaStreamCreate", 0}, "more than %d streams", MAX_STREAMS - 1);
    *stream = nullptr;
    cudaError_t error = state();
    if (error != cudaSuccess)
        return error;
    streams.push_back(*stream = new CUstream_st{{}, number % MAX_STREAMS, {}});
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return cudaSuccess;
    cudaStreamSynchronize(stream);
    streams.erase(std::remove(streams.begin(), streams.end(), stream), streams.end());
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (!stream) {
        wait_for_all();
        return state();
    }
    run_until([=] { return stream->queue.empty(); });
    join(host_clock, stream->clock);
    return state();
}

cudaError_t cudaDeviceSynchronize(void)
{
    wait_for_all();
    return state();
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    run_one();
    if (device_is_lost())
        return state();
    if (stream && !stream->queue.empty())
        return cudaErrorNotReady;
    if (stream)
        join(host_clock, stream->clock);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = nullptr;
    cudaError_t error = state();
    if (error == cudaSuccess)
        *event = new CUevent_st();
    return error;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    run_all();
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    uint64_t version = ++event->recorded;
    check_chosen("cudaEventRecord");
    if (stream)
        join(stream->clock, host_clock);
    else
        wait_for_all();
    event->clock = stream ? stream->clock : host_clock;
    enqueue(stream, [=]() { event->done = std::max(event->done, version); });
    return state();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    if (stream)
        join(stream->clock, event->clock);
    if (event->recorded > event->done)
        enqueue_waiting(stream, nullptr, event, event->recorded);
    return state();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    uint64_t version = event->recorded;
    run_until([=] { return event->done >= version; });
    join(host_clock, event->clock);
    return state();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    run_one();
    if (device_is_lost())
        return state();
    if (event->done < event->recorded)
        return cudaErrorNotReady;
    join(host_clock, event->clock);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    *ms = 1;
    return from->done < from->recorded || to->done < to->recorded ? cudaErrorNotReady : state();
}
}
