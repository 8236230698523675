/* train_table.c: see train_table.h. */
#include "tools/tagger/train_table.h"

#include <string.h>

#include "experiments/tagger_features.h"
#include "loaders/dataset_unpack.h"
#include "tools/tagger/train_corpus.h"

TaggerTable train_table_make(size_t n, double load, size_t value_bytes)
{
    TaggerTable table = {.n_slots = (uint32_t)((double)n / load) + 1};
    table.checks = train_allocate(table.n_slots, 2 + value_bytes);
    table.values = table.checks + 2 * (size_t)table.n_slots;
    return table;
}

unsigned char *train_table_add(TaggerTable table, size_t value_bytes, uint32_t hash)
{
    unsigned char *checks = (unsigned char *)(uintptr_t)table.checks;
    uint16_t check = tagger_model_check(hash);
    size_t i = tagger_model_slot(hash, table.n_slots);
    while (checks[2 * i] || checks[2 * i + 1])
        i = i + 1 == table.n_slots ? 0 : i + 1;
    checks[2 * i] = (unsigned char)(check & 255);
    checks[2 * i + 1] = (unsigned char)(check >> 8);
    return checks + 2 * (size_t)table.n_slots + i * value_bytes;
}

bool train_table_write(TaggerTable table, size_t value_bytes, FILE *out)
{
    return fwrite(table.checks, 2 + value_bytes, table.n_slots, out) == table.n_slots;
}

int train_clusters_read(const char *path, TaggerTable *out, Error *e)
{
    DatasetBytes text;
    int status = dataset_unpack(path, DATASET_FORMAT_TEXT, &text, e);
    if (status)
        return status;
    const char *at = text.data, *end = at + text.size_bytes;
    uint32_t n = 0;
    for (const char *p = at; p < end; p++)
        n += *p == '\n';
    *out = train_table_make(n, 0.7, TAGGER_CLUSTERS_BYTES);
    while (at < end) {
        const char *tab = memchr(at, '\t', (size_t)(end - at)), *newline = memchr(at, '\n', (size_t)(end - at));
        unsigned fine, coarse;
        if (!newline || !tab || tab > newline || sscanf(tab, "%u%u", &fine, &coarse) != 2 || fine > 255 || coarse > 255) {
            dataset_unpack_free(&text);
            return error_set(e, STATUS_FAILED, "%s: expected lines of word, fine and coarse cluster below 256", path);
        }
        uint32_t hash = tagger_features_word((TaggerWord){at, (size_t)(tab - at)});
        if (!tagger_model_find(*out, TAGGER_CLUSTERS_BYTES, hash)) {
            unsigned char *clusters = train_table_add(*out, TAGGER_CLUSTERS_BYTES, hash);
            clusters[0] = (unsigned char)fine;
            clusters[1] = (unsigned char)coarse;
        }
        at = newline + 1;
    }
    dataset_unpack_free(&text);
    return STATUS_OK;
}
