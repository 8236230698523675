/* test_rope.c: RoPE tables of every kind against transformers' (tests/data/models/rope, made by tools/make_fixtures.py). */
#include <math.h>

#include "loaders/families.h"
#include "loaders/hf_config.h"
#include "loaders/rope_table.h"
#include "loaders/tensor_file.h"
#include "tests/test.h"

#define MODELS "tests/data/models/"

static const float *dumped(const TensorFile *f, const char *name, const char *what, size_t *n)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", name, what);
    const Tensor *t = tensor_file_find(f, key);
    CHECK_MSG(t != NULL, "%s", key);
    *n = t ? t->size_bytes / 4 : 0;
    return t ? t->data : NULL;
}

/* hf32 against what transformers computed. torch's powf may be 1 ULP off, which moves an angle of size a by a * 2^-23; so
 * the bound on a cosine is that of the angle for 3 ULP of inv_freq (powf, and what follows it in the scaled kinds), its own
 * two roundings and torch's 1 ULP. real is compared with it under the further error of an f32 angle, a * 2^-24. */
static void rope_tables(void)
{
    static const char *const names[] = {"default", "default-500k", "linear",      "dynamic",   "dynamic-short",
                                        "llama3",  "yarn",         "yarn-mscale", "yarn-exact"};
    TensorFile dump;
    Error e = {{0}};
    CHECK_MSG(tensor_file_open(MODELS "rope/expected.safetensors", &dump, &e) == 0, "%s", e.text);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char path[128];
        snprintf(path, sizeof path, MODELS "rope/%s.json", names[k]);
        HfConfig c;
        CHECK_MSG(hf_config_open(path, &c, &e) == 0, "%s", e.text);
        int head_dim = (int)hf_config_int(&c, "head_dim", 2, 512);
        int max_positions = (int)hf_config_int(&c, "max_position_embeddings", 1, 1 << 20);
        size_t length = (size_t)hf_config_int(&c, "sequence_length", 1, 1 << 20), half = (size_t)head_dim / 2;
        RopeTraits rope;
        hf_config_rope(&c, head_dim, max_positions, 10000, &rope);
        CHECK_MSG(c.status == 0, "%s", e.text);
        hf_config_close(&c);
        CHECK(rope_table_depends_on_length(&rope, length) == (strcmp(names[k], "dynamic") == 0));
        float *table[4];
        for (int i = 0; i < 4; i++)
            table[i] = malloc(length * half * sizeof(float));
        rope_table_fill(&rope, ROPE_HF32, length, length, table[0], table[1]);
        rope_table_fill(&rope, ROPE_REAL, length, length, table[2], table[3]);
        size_t n, n_positions, same = 0, total = 0;
        double worst = 0;
        const int32_t *positions = (const int32_t *)(const void *)dumped(&dump, names[k], "positions", &n_positions);
        const float *inv_freq = dumped(&dump, names[k], "inv_freq", &n);
        const float *expected[2] = {dumped(&dump, names[k], "cos", &n), dumped(&dump, names[k], "sin", &n)};
        CHECK(n == n_positions * half);
        for (size_t p = 0; p < n_positions; p++) {
            for (size_t i = 0; i < half; i++) {
                for (int s = 0; s < 2; s++) {
                    size_t at = (size_t)positions[p] * half + i;
                    double x = (double)expected[s][p * half + i], angle = positions[p] * (double)inv_freq[i];
                    double bound = rope.attention_factor * (angle * 3 * 0x1p-23 + 4 * 0x1p-24);
                    CHECK_NEAR(table[s][at], x, bound);
                    CHECK_NEAR(table[2 + s][at], x, bound + rope.attention_factor * angle * 3 * 0x1p-23);
                    same += !(table[s][at] < expected[s][p * half + i]) && !(table[s][at] > expected[s][p * half + i]);
                    total++;
                    worst = fmax(worst, fabs((double)table[s][at] - x));
                }
            }
        }
        printf("  %-14s %zu of %zu values bit-equal to torch, largest difference %.2g\n", names[k], same, total, worst);
        CHECK(same * 10 >= total * 9);
        for (int i = 0; i < 4; i++)
            free(table[i]);
    }
    tensor_file_close(&dump);
}

int main(void)
{
    RUN(rope_tables);
    return test_finish();
}
