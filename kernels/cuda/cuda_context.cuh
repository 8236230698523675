/* cuda_context.cuh: an OpsContext on a device: two streams, all scratch in one allocation sized by a pure function, pinned host
 * buffers, and what has gone wrong since the last sync.
 *
 * What an op needs from the host besides views (ids, positions, sequences) goes through a ring: host twin pinned, device twin behind it,
 * cut in parts. A part of the host twin is written again only when its copies have left (an event says so); the device twin is
 * ordered by the compute stream itself. What is the same for all layers of a tile (positions, items of attention) is sent once, and found again
 * while its part lasts: a copy between two kernels costs them some microseconds. Weights and embeddings come through two stages of
 * CONTEXT_STAGE_BYTES in the same way. */
#ifndef STRATA_KERNELS_CUDA_CONTEXT_CUH
#define STRATA_KERNELS_CUDA_CONTEXT_CUH

#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_gemm.cuh"
extern "C" {
#include "kernels/ops.h"
}

enum { CONTEXT_STAGES = 2, CONTEXT_RING_PARTS = 4 };
#ifdef STRATA_CUDA_EMU /* so small that what tests send goes round the ring, takes several stages and runs out of slots */
enum { CONTEXT_SLOTS = 4, CONTEXT_PENDING = 3 };
static const size_t CONTEXT_STAGE_BYTES = (size_t)8 << 10, CONTEXT_RING_BYTES = (size_t)4 << 10;
#else
enum { CONTEXT_SLOTS = 512, CONTEXT_PENDING = 16 };
static const size_t CONTEXT_STAGE_BYTES = (size_t)32 << 20, CONTEXT_RING_BYTES = (size_t)256 << 10;
#endif

/* Where the parts of the scratch begin. */
struct ContextLayout {
    size_t workspace, ring, stages, results, intact_lse, starts;
    size_t moe_order, moe_x, moe_gate_up, moe_hidden, moe_y; /* in a mixture */
    size_t total, ring_part_bytes, result_bytes;
};

/* Results of a head() call on their way to the host. */
struct ContextPending {
    char *pinned; /* [result_bytes] */
    cudaEvent_t arrived;
    size_t rows;
    double *nll, *kl, *word_start_logp, *lse;
    int32_t *rank, *top1;
};

struct ContextSlot {
    const char *memory; /* as slot_done() got it */
    cudaEvent_t done;   /* made with the entry's first use, kept for its later ones */
};

/* What was sent last for a use that tends to send the same again. */
enum ContextUse { CONTEXT_POSITIONS, CONTEXT_ITEMS, CONTEXT_USES };
struct ContextSent {
    const void *host;
    void *device;
    size_t bytes; /* 0: nothing */
    uint64_t lap;
};

struct OpsContext {
    OpsConfig config;
    DType dtype; /* of activations and matrices: BF16, or F32 in the tables of f32, TF32 and exact */
    bool exact;  /* numerics v1 */
    ContextLayout layout;
    cudaStream_t compute, copy;
    char *scratch; /* device */
    GemmContext gemm;

    char *ring_host; /* pinned; its device twin is scratch + layout.ring */
    cudaEvent_t ring_left[CONTEXT_RING_PARTS];
    size_t ring_part, ring_at;
    uint64_t ring_lap; /* parts begun so far */
    ContextSent sent[CONTEXT_USES];

    char *stage_host[CONTEXT_STAGES]; /* pinned, CONTEXT_STAGE_BYTES each */
    cudaEvent_t stage_left[CONTEXT_STAGES];
    int stage;
    cudaEvent_t weights_there;

    ContextSlot slots[CONTEXT_SLOTS];
    size_t n_slots;

    ContextPending pending[CONTEXT_PENDING]; /* a ring: n_pending from first_pending on */
    size_t first_pending, n_pending;
    const double *intact_lse; /* host array whose values also lie in scratch + layout.intact_lse */
    uint8_t *starts;          /* pinned copy of what lies in scratch + layout.starts */
    bool has_starts;
    int32_t *moe_first; /* pinned [E + 1] */
    cudaEvent_t moe_sorted;

    bool failed;
    char failure[400];
};

/* The first failure since the last sync is kept. */
void context_fail(OpsContext *c, const char *op, const char *why);
/* False, and kept, when it is an error. */
bool context_ok(OpsContext *c, const char *op, cudaError_t error);
/* A thread that calls for the first time has another device set, or none. */
void context_enter(OpsContext *c, const char *op);

/* n bytes of host memory copied to the device for the ops enqueued next; NULL after a failure. n <= ring_part_bytes. With from NULL
 * *host is where to write; context_ring_send() then sends it, before anything else is taken: an event marks what was sent so far. */
void *context_ring_take(OpsContext *c, const char *op, size_t bytes, void **host);
void context_ring_send(OpsContext *c, const char *op, void *device, const void *host, size_t bytes);
void *context_ring_put(OpsContext *c, const char *op, const void *from, size_t bytes);
/* context_ring_send() of what was taken last, unless it is what this use sent before: where it lies on the device; NULL after a failure. */
const void *context_ring_send_new(OpsContext *c, const char *op, ContextUse use, void *device, const void *host, size_t bytes);

/* A stage whose earlier content has left: pinned memory and its device twin, CONTEXT_STAGE_BYTES each; false after a failure.
 * context_stage_used() marks what the stream does up to here as its last use. */
bool context_stage_take(OpsContext *c, const char *op, char **host, char **device);
void context_stage_used(OpsContext *c, const char *op, cudaStream_t stream);
/* `bytes` at `from`, as the compute stream leaves them, to the caller's memory by way of `stage`, the host half of a stage taken; waits. False
 * after a failure. */
bool context_bring(OpsContext *c, const char *op, void *to, const void *from, char *stage, size_t bytes);

/* Delivers results of head() calls: all that there are, or one. */
void context_deliver(OpsContext *c, bool all);
ContextPending *context_pending_new(OpsContext *c);

static inline size_t context_round(size_t bytes)
{
    return (bytes + 255) & ~(size_t)255;
}

/* The tables' entries beside those in cuda_table.cu. */
size_t context_bytes_bf16(const OpsConfig *config);
size_t context_bytes_f32(const OpsConfig *config); /* of TF32 and exact too */
int context_open_bf16(const OpsConfig *config, OpsContext **out, Error *e);
int context_open_f32(const OpsConfig *config, OpsContext **out, Error *e);
int context_open_tf32(const OpsConfig *config, OpsContext **out, Error *e);
int context_open_exact(const OpsConfig *config, OpsContext **out, Error *e);
void context_close(OpsContext *c);
int context_alloc(OpsContext *c, size_t bytes, void **out, Error *e);
void context_free(OpsContext *c, void *memory, size_t bytes);
int context_sync(OpsContext *c, Error *e);
void context_upload(OpsContext *c, View dst, const double *src);
void context_download(OpsContext *c, double *dst, View src);

size_t weights_slot_bytes_bf16(WeightKind kind, const WeightPart *parts, size_t n_parts);
size_t weights_slot_bytes_f32(WeightKind kind, const WeightPart *parts, size_t n_parts);
int weights_prepare(OpsContext *c, void *slot_memory, WeightKind kind, const WeightPart *parts, size_t n_parts, Weight *out,
                    Error *e);
void weights_slot_done(OpsContext *c, void *slot_memory);
void weights_forget(OpsContext *c, const void *memory, size_t bytes); /* slots in freed memory */
void weights_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier);
void weights_embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table);
/* The bf16 copy that lies behind a vector's f32 values where the context's dtype is BF16. */
const bf16 *weights_vector_bf16(const Weight *w);

#endif
