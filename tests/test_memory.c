/* test_memory.c: a model larger than the budget sweeps within it. A random Llama of 160 MB is written, swept by the command line under
 * --memory 64M (its weights stream through two slots) and without a limit: the kernel's account of the child's peak resident memory
 * stays within the budget and 64 MiB, both give the same losses, and what --dry_run said of memory and disk holds. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/rng.h"
#include "engine/ledger.h"
#include "loaders/safetensors.h"
#include "tests/test.h"

enum { D = 512, F = 1536, H = 8, LAYERS = 12, V = 640, ROWS = 12, N_TENSORS = 2 + LAYERS * 9 };
static const double mib = 1024.0 * 1024.0;
static char folder[] = "/tmp/strata-memory-XXXXXX";
static char names[N_TENSORS][64];
static size_t n_entries;

static void add(SafetensorsEntry *entries, size_t rows, size_t cols, const char *format, int layer)
{
    snprintf(names[n_entries], sizeof names[0], format, layer);
    SafetensorsEntry *t = &entries[n_entries];
    t->name = names[n_entries++];
    t->dtype = DTYPE_F32;
    t->n_dims = cols ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = cols;
}

static bool write_entry(FILE *f, const SafetensorsEntry *t, Rng *rng)
{
    static float row[F];
    size_t rows = t->n_dims == 2 ? t->shape[0] : 1, cols = t->n_dims == 2 ? t->shape[1] : t->shape[0];
    bool good = ftell(f) == (long)t->offset;
    for (size_t r = 0; good && r < rows; r++) {
        for (size_t c = 0; c < cols; c++)
            row[c] = t->n_dims == 1 ? 1 : ((float)(rng_next(rng) >> 40) / 8388608.0f - 1) * 0.05f;
        good = fwrite(row, sizeof *row, cols, f) == cols;
    }
    return good;
}

static size_t write_model(void)
{
    static SafetensorsEntry entries[N_TENSORS];
    char path[96];
    Error e;
    StrBuf header = {0};
    size_t bytes = 0;
    add(entries, V, D, "model.embed_tokens.weight", 0);
    add(entries, D, 0, "model.norm.weight", 0);
    for (int l = 0; l < LAYERS; l++) {
        add(entries, D, 0, "model.layers.%d.input_layernorm.weight", l);
        add(entries, D, 0, "model.layers.%d.post_attention_layernorm.weight", l);
        add(entries, D, D, "model.layers.%d.self_attn.q_proj.weight", l);
        add(entries, D, D, "model.layers.%d.self_attn.k_proj.weight", l);
        add(entries, D, D, "model.layers.%d.self_attn.v_proj.weight", l);
        add(entries, D, D, "model.layers.%d.self_attn.o_proj.weight", l);
        add(entries, F, D, "model.layers.%d.mlp.gate_proj.weight", l);
        add(entries, F, D, "model.layers.%d.mlp.up_proj.weight", l);
        add(entries, D, F, "model.layers.%d.mlp.down_proj.weight", l);
    }
    int status = safetensors_header(entries, n_entries, NULL, 0, &header, &bytes, &e);
    CHECK_MSG(status == STATUS_OK, "%s", e.text);
    snprintf(path, sizeof path, "%s/big/model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(header.data, 1, header.len, f) == header.len;
    Rng rng;
    rng_seed(&rng, 1, 0);
    for (size_t i = 0; good && i < n_entries; i++)
        good = write_entry(f, &entries[i], &rng);
    CHECK(good && f && fclose(f) == 0);
    strbuf_free(&header);
    snprintf(path, sizeof path, "%s/big/config.json", folder);
    f = fopen(path, "w");
    CHECK(f &&
          fprintf(f,
                  "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":%d,\"intermediate_size\":"
                  "%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"vocab_size\":%d,"
                  "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
                  "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\"}\n",
                  D, F, LAYERS, H, H, V) > 0 &&
          fclose(f) == 0);
    snprintf(path, sizeof path, "%s/rows.jsonl", folder);
    f = fopen(path, "w");
    for (int r = 0; f && r < ROWS; r++) {
        fprintf(f, "{\"ids\":[");
        for (int i = 0; i < 12 + r; i++)
            fprintf(f, "%s%d", i ? "," : "", (int)(rng_next(&rng) % V));
        fprintf(f, "]}\n");
    }
    CHECK(f && fclose(f) == 0);
    return bytes;
}

/* Runs build/strata sweep --output_dir FOLDER/NAME with one more option or two; its standard error goes to FOLDER/err. Returns the
 * exit status and the peak resident memory. */
static int sweep(const char *name, const char *option, const char *value, double *peak_bytes)
{
    char program[256], model[96], rows[96], output[96], err[96];
    const char *build = getenv("BUILD");
    snprintf(program, sizeof program, "%s/strata", build ? build : "build");
    snprintf(model, sizeof model, "%s/big", folder);
    snprintf(rows, sizeof rows, "%s/rows.jsonl", folder);
    snprintf(output, sizeof output, "%s/%s", folder, name);
    snprintf(err, sizeof err, "%s/err", folder);
    const char *argv[] = {program,
                          "sweep",
                          "--model_name",
                          model,
                          "--dataset_path",
                          rows,
                          "--experiment",
                          "removal",
                          "--output_dir",
                          output,
                          "--memory",
                          "1G",
                          "--threads",
                          "2",
                          option,
                          value,
                          NULL};
    if (strcmp(name, "small") == 0)
        argv[11] = "64M";
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY), log = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(null, 1);
        dup2(log, 2);
        execv(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = -1;
    struct rusage usage = {0};
    CHECK(pid > 0 && wait4(pid, &status, 0, &usage) == pid);
    *peak_bytes = (double)usage.ru_maxrss * 1024;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static double size_of(const char *name, const char *file)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/removal/big_rows_n1000/%s", folder, name, file);
    return stat(path, &st) == 0 ? (double)st.st_size : NAN;
}

/* "estimated: 2 s, memory 60 MiB (of 64 allowed), disk 0.1 MiB (12345 bytes and the tables) in ..." */
static void read_estimate(double *memory_mib, double *disk_bytes)
{
    char path[96], line[1024];
    *memory_mib = *disk_bytes = NAN;
    snprintf(path, sizeof path, "%s/err", folder);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *memory = strstr(line, "memory "), *disk = strstr(line, "MiB (");
        disk = disk ? strstr(disk + 1, "MiB (") : NULL;
        if (strncmp(line, "estimated: ", 11) == 0 && memory && disk) {
            *memory_mib = strtod(memory + 7, NULL);
            *disk_bytes = strtod(disk + 5, NULL);
        }
    }
    if (f)
        fclose(f);
}

static void larger_than_its_budget(void)
{
    double peak, memory_mib, disk, budget = 64 * mib, file_bytes = (double)write_model();
    CHECK(file_bytes > 2 * budget);
    CHECK(sweep("small", "--dry_run", NULL, &peak) == 0);
    read_estimate(&memory_mib, &disk);
    CHECK_MSG(memory_mib > 32 && memory_mib <= 64, "estimated %g MiB", memory_mib);
    CHECK(isnan(size_of("small", "run.json"))); /* it only looked */

    CHECK(sweep("small", "--quiet", NULL, &peak) == 0);
    printf("a model of %.0f MiB under %.0f MiB: peak %.0f MiB\n", file_bytes / mib, budget / mib, peak / mib);
#if !defined __SANITIZE_ADDRESS__ /* shadow memory counts as resident */
    CHECK_MSG(peak <= budget + 64 * mib, "peak %.0f MiB", peak / mib);
#endif
    double written =
        size_of("small", "ledger.safetensors") + size_of("small", "influence.safetensors") + size_of("small", "rows.jsonl");
    CHECK_MSG(written == disk, "%.0f bytes written, %.0f estimated", written, disk);

    CHECK(sweep("large", "--quiet", NULL, &peak) == 0);
    LedgerView a = {0}, b = {0};
    char path[256];
    Error e = {""};
    snprintf(path, sizeof path, "%s/small/removal/big_rows_n1000/ledger.safetensors", folder);
    CHECK_MSG(ledger_view_open(path, &a, &e) == STATUS_OK, "%s", e.text);
    snprintf(path, sizeof path, "%s/large/removal/big_rows_n1000/ledger.safetensors", folder);
    CHECK_MSG(ledger_view_open(path, &b, &e) == STATUS_OK, "%s", e.text);
    CHECK(a.n_orders == LAYERS + 1 && b.n_orders == a.n_orders && a.n_tokens == b.n_tokens && a.n_tokens > 0);
    /* Blocks and tiles differ in height, so sgemm may sum in another order: a few ulps of losses near 6.5 through 12 layers. */
    double worst = 0;
    for (size_t o = 0; o < a.n_orders && o < b.n_orders; o++)
        for (size_t t = 0; t < a.n_tokens; t++)
            worst = fmax(worst, fabs(ledger_view_nll(&a, o, t) - ledger_view_nll(&b, o, t)));
    CHECK_MSG(worst <= 2e-5, "%g", worst);
    ledger_view_close(&a);
    ledger_view_close(&b);
}

int main(void)
{
    char path[96];
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/big", folder);
    if (mkdir(path, 0777))
        return 1;
    RUN(larger_than_its_budget);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : test_finish();
}
