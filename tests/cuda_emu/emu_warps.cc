/* emu_warps.cc: what the lanes of a warp get from a meeting, once all have brought their part: shuffles, votes, matrices from shared memory,
 * products of the tensor cores. */
#include "tests/cuda_emu/emu_core.hh"

#include <string.h>

namespace emu
{

void finish_shuffle(void *const lanes[32], unsigned mask, Place place)
{
    for (unsigned l = 0; l < WARP; l++) {
        Lane *lane = (Lane *)lanes[l];
        if (!lane)
            continue;
        Lane *from = lane->from >= 0 && lane->from < WARP ? (Lane *)lanes[lane->from] : nullptr;
        if (!from)
            report_place(place, "lane %u reads lane %d, which takes no part (mask %08x)", l, lane->from, mask);
        lane->out = from ? from->in : 0xFBFBFBFBFBFBFBFBu;
    }
}

void finish_vote(void *const lanes[32], unsigned mask, Place place)
{
    (void)mask;
    (void)place;
    uint64_t all = 0;
    for (unsigned l = 0; l < WARP; l++)
        if (lanes[l] && ((Lane *)lanes[l])->in)
            all |= 1u << l;
    for (unsigned l = 0; l < WARP; l++)
        if (lanes[l])
            ((Lane *)lanes[l])->out = all;
}

static bool complete(void *const lanes[32], Place place, const char *what)
{
    for (unsigned l = 0; l < WARP; l++)
        if (!lanes[l]) {
            report_place(place, "%s without lane %u", what, l);
            return false;
        }
    return true;
}

/* Thread l gets elements 2 (l % 4) and the next of row l / 4 of each matrix; of its transpose where asked. */
void finish_load_matrix(void *const lanes[32], unsigned mask, Place place)
{
    (void)mask;
    if (!complete(lanes, place, "load_matrix"))
        return;
    MatrixLane *const *lane = (MatrixLane *const *)lanes;
    for (unsigned l = 0; l < WARP; l++)
        for (int m = 0; m < lane[l]->n; m++)
            for (unsigned half = 0; half < 2; half++) {
                unsigned row = l / 4, col = 2 * (l % 4) + half;
                uint16_t bits;
                if (lane[l]->transposed)
                    memcpy(&bits, lane[8 * m + (int)col]->row + 2 * row, 2);
                else
                    memcpy(&bits, lane[8 * m + (int)row]->row + 2 * col, 2);
                memcpy((unsigned char *)&lane[l]->out[m] + 2 * half, &bits, 2);
            }
}

static float half_of(uint32_t pair, unsigned high)
{
    uint32_t bits = high ? pair & 0xFFFF0000u : pair << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* m16n8k16 with g = lane / 4, i = lane % 4: A(g + 8 (r % 2), 2i + h + 8 (r / 2)) in half h of a[r]; B(2i + h + 8 r, g) in b[r];
 * D(g + 8 (r / 2), 2i + r % 2) in d[r]. Products of bf16 are exact in f32; they are summed in f32. */
void finish_mma(void *const lanes[32], unsigned mask, Place place)
{
    (void)mask;
    if (!complete(lanes, place, "mma"))
        return;
    MmaLane *const *lane = (MmaLane *const *)lanes;
    float a[16][16], b[16][8];
    for (unsigned l = 0; l < WARP; l++)
        for (unsigned h = 0; h < 2; h++) {
            unsigned g = l / 4, i = l % 4;
            for (unsigned r = 0; r < 4; r++)
                a[g + 8 * (r % 2)][2 * i + h + 8 * (r / 2)] = half_of(lane[l]->a[r], h);
            for (unsigned r = 0; r < 2; r++)
                b[2 * i + h + 8 * r][g] = half_of(lane[l]->b[r], h);
        }
    for (unsigned l = 0; l < WARP; l++)
        for (unsigned r = 0; r < 4; r++) {
            unsigned row = l / 4 + 8 * (r / 2), col = 2 * (l % 4) + r % 2;
            float sum = 0;
            for (unsigned k = 0; k < 16; k++)
                sum += a[row][k] * b[k][col];
            lane[l]->d[r] += sum;
        }
}

} // namespace emu
