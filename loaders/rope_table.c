/* rope_table.c: the rotary angles of every kind of scaling, as transformers' modeling_rope_utils.py defines them.
 *
 * hf32 follows that file's torch operations one by one, each rounded to f32: a Python number that meets an f32 tensor is first
 * rounded to f32, and `number / tensor` is the tensor's reciprocal times the number (two roundings). What cannot be followed to
 * the bit is torch's own powf, cosf and sinf (its vector library, up to 1 ULP off): here they are taken in f64 and rounded
 * once. real evaluates the same formulas in f64. Powers, logarithms, sines and cosines are ours (kernels/exact), so that no C
 * library changes a table.
 *
 * With R rotary dims, exponent x = 2i/R and base b = theta:
 *   default   b^-x
 *   linear    b^-x / factor
 *   dynamic   (b * (factor*n/P - (factor-1))^(R/(R-2)))^-x beyond P positions, n the sequence's length
 *   llama3    wavelength 2 pi b^x: short ones keep b^-x, long ones are divided by factor, those between are blended
 *   yarn      b^-x and b^-x/factor blended by a ramp over i between two correction dims
 *   longrope  (f_i b^x)^-1, f the short factors up to P positions, else the long ones
 * GGUF's table of factors divides the result. */
#include "loaders/rope_table.h"

#include <math.h>

#include "kernels/exact/exact_math.h"

static const double PI = 3.14159265358979323846;

static float round_f32(double x)
{
    return (float)x;
}

/* torch's b ** x on f32. */
static float pow_f32(float b, float x)
{
    return round_f32(exact_pow((double)b, (double)x));
}

static float reciprocal_f32(float x)
{
    return 1.0f / x;
}

typedef struct YarnRange {
    double low, high;
} YarnRange;

/* The dim whose wavelength makes the given number of turns within the original positions. */
static double yarn_correction_dim(const RopeTraits *r, double turns)
{
    double dims = r->rotary_dims;
    return dims * exact_log((double)r->original_max_positions / (turns * 2 * PI)) / (2 * exact_log(r->theta));
}

static YarnRange yarn_range(const RopeTraits *r)
{
    double low = yarn_correction_dim(r, r->beta_fast), high = yarn_correction_dim(r, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < r->rotary_dims - 1 ? high : r->rotary_dims - 1;
    return (YarnRange){low, high == low ? high + 0.001 : high};
}

static float llama3_f32(const RopeTraits *r, float inv_freq)
{
    float factor = round_f32(r->factor), low = round_f32(r->low_freq_factor);
    float span = round_f32(r->high_freq_factor - r->low_freq_factor), old = (float)r->original_max_positions;
    float wavelen = reciprocal_f32(inv_freq) * round_f32(2 * PI);
    if (wavelen > round_f32(r->original_max_positions / r->low_freq_factor))
        return inv_freq / factor;
    if (wavelen < round_f32(r->original_max_positions / r->high_freq_factor))
        return inv_freq;
    float smooth = (reciprocal_f32(wavelen) * old - low) / span;
    return (1.0f - smooth) * inv_freq / factor + smooth * inv_freq;
}

static double llama3_f64(const RopeTraits *r, double inv_freq)
{
    double wavelen = 2 * PI / inv_freq;
    if (wavelen > r->original_max_positions / r->low_freq_factor)
        return inv_freq / r->factor;
    if (wavelen < r->original_max_positions / r->high_freq_factor)
        return inv_freq;
    double smooth = (r->original_max_positions / wavelen - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * inv_freq / r->factor + smooth * inv_freq;
}

static float yarn_f32(const RopeTraits *r, YarnRange range, size_t i, float pos_freq)
{
    float extrapolation = reciprocal_f32(pos_freq), interpolation = reciprocal_f32(round_f32(r->factor) * pos_freq);
    float ramp = ((float)i - round_f32(range.low)) / round_f32(range.high - range.low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float keep = 1.0f - ramp;
    return interpolation * (1.0f - keep) + extrapolation * keep;
}

static double yarn_f64(const RopeTraits *r, YarnRange range, size_t i, double pos_freq)
{
    double ramp = ((double)i - range.low) / (range.high - range.low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return ramp / (r->factor * pos_freq) + (1 - ramp) / pos_freq;
}

static float inv_freq_f32(const RopeTraits *r, YarnRange range, size_t i, size_t seq_len)
{
    float dims = (float)r->rotary_dims, exponent = (float)(2 * i) / dims, base = round_f32(r->theta);
    if (r->kind == ROPE_DYNAMIC && rope_table_depends_on_length(r, seq_len)) {
        float positions = (float)r->original_max_positions;
        float stretch = round_f32(r->factor) * (float)seq_len / positions - round_f32(r->factor - 1);
        /* torch raises a lone f32 to a Python number in f64 */
        base *= round_f32(exact_pow((double)stretch, (double)r->rotary_dims / (r->rotary_dims - 2)));
    }
    float pos_freq = pow_f32(base, exponent), inv_freq = reciprocal_f32(pos_freq);
    if (r->kind == ROPE_LONGROPE)
        return reciprocal_f32((rope_table_depends_on_length(r, seq_len) ? r->long_factors : r->freq_factors)[i] * pos_freq);
    switch (r->kind) {
    case ROPE_LINEAR:
        inv_freq /= round_f32(r->factor);
        break;
    case ROPE_LLAMA3:
        inv_freq = llama3_f32(r, inv_freq);
        break;
    case ROPE_YARN:
        inv_freq = yarn_f32(r, range, i, pos_freq);
        break;
    default:
        break;
    }
    return r->freq_factors ? inv_freq / r->freq_factors[i] : inv_freq;
}

static double inv_freq_f64(const RopeTraits *r, YarnRange range, size_t i, size_t seq_len)
{
    double dims = r->rotary_dims, exponent = (double)(2 * i) / dims, base = r->theta;
    if (r->kind == ROPE_DYNAMIC && rope_table_depends_on_length(r, seq_len))
        base *= exact_pow(r->factor * (double)seq_len / r->original_max_positions - (r->factor - 1), dims / (dims - 2));
    double pos_freq = exact_pow(base, exponent), inv_freq = 1 / pos_freq;
    if (r->kind == ROPE_LONGROPE)
        return inv_freq / (double)(rope_table_depends_on_length(r, seq_len) ? r->long_factors : r->freq_factors)[i];
    switch (r->kind) {
    case ROPE_LINEAR:
        inv_freq /= r->factor;
        break;
    case ROPE_LLAMA3:
        inv_freq = llama3_f64(r, inv_freq);
        break;
    case ROPE_YARN:
        inv_freq = yarn_f64(r, range, i, pos_freq);
        break;
    default:
        break;
    }
    return r->freq_factors ? inv_freq / (double)r->freq_factors[i] : inv_freq;
}

void rope_table_fill(const RopeTraits *rope, RopeArithmetic arithmetic, size_t n_positions, size_t seq_len, float *cosines,
                     float *sines)
{
    size_t half = (size_t)rope->rotary_dims / 2;
    YarnRange range = rope->kind == ROPE_YARN ? yarn_range(rope) : (YarnRange){0, 0};
    for (size_t i = 0; i < half; i++) {
        float inv32 = inv_freq_f32(rope, range, i, seq_len), scale32 = round_f32(rope->attention_factor);
        double inv64 = inv_freq_f64(rope, range, i, seq_len);
        for (size_t p = 0; p < n_positions; p++) {
            size_t at = p * half + i;
            if (arithmetic == ROPE_HF32) {
                float angle = (float)p * inv32;
                cosines[at] = exact_cosf(angle) * scale32;
                sines[at] = exact_sinf(angle) * scale32;
            } else {
                double angle = (double)p * inv64;
                double sine, cosine;
                exact_sincos(angle, &sine, &cosine);
                cosines[at] = round_f32(cosine * rope->attention_factor);
                sines[at] = round_f32(sine * rope->attention_factor);
            }
        }
    }
}

bool rope_table_depends_on_length(const RopeTraits *rope, size_t seq_len)
{
    return (rope->kind == ROPE_DYNAMIC || rope->kind == ROPE_LONGROPE) && seq_len > (size_t)rope->original_max_positions;
}
