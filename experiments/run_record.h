/* run_record.h: one folder, one run. Where results go, what may change a bit of them (the fingerprint), and run.json.
 *
 * A sweep reads like this:
 *     run_record_folder(&folder, &dir, e);                       results/removal/gpt2_wiki-text-2_n1000
 *     run_record_open(dir.data, argc, argv, force, &record, e);  locks the folder, reads what an earlier run left there
 *     run_record_hash_files(record, "weights", model.files.paths, model.files.n_maps, e);  (hashes seen before are not redone)
 *     run_record_set(record, "context", "%zu", context); ...     what can change a bit
 *     run_record_machine(record, &machine);
 *     run_record_note(record, "memory", "%s", "8G"); ...         what cannot
 *     block_rows = run_record_earlier_integer(record, "block_rows", 0);  a resumed run cuts the same blocks
 *     run_record_begin(record, &state, e);                       FRESH, RESUME, DONE, or STATUS_USAGE: another run lives here
 *     ...
 *     run_record_finish(record, e);
 *
 * The fingerprint is the ordered list of key = value pairs given to run_record_set and the hash functions. A folder's run goes on
 * only under the same pairs; the first difference is named with both values and `--force`. Version and commit are compared too
 * while the run is incomplete (one ledger is never written by two programs); a finished run stays finished under a later one.
 *
 * run.json (schema "strata.run/1"): state ("running", "complete"), argv, version, commit, compiler, processor, device, threads,
 * cpu_level, blas_core, started and finished (ISO 8601, UTC), timing {seconds, sessions: [{started, ended, seconds, argv}]},
 * fingerprint (the pairs), fingerprint_sha256, options (the notes), files (path, bytes, mtime and sha256 of every file hashed).
 * ppl.json holds nothing of this but hashes: reruns give the same ppl.json, times live here.
 *
 * Left to others: the ledger and its journal (engine/ledger.h), the numbers (experiments/results.h). */
#ifndef STRATA_EXPERIMENTS_RUN_RECORD_H
#define STRATA_EXPERIMENTS_RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/json.h"
#include "engine/base/strbuf.h"

typedef struct RunFolder {
    const char *output_dir; /* "results" */
    const char *path_part;  /* OrderSet.path_part: "removal", "block_2", "orders_1a2b3c4d" */
    const char *slug;       /* ModelPath.slug: "meta_llama_Meta_Llama_3_8B" */
    const char *tag;        /* --tag, NULL or "": none; appended to the slug as _TAG */
    const char *dataset;    /* "wiki-text-2" */
    uint64_t n_samples;     /* as asked for */
} RunFolder;

/* OUTPUT_DIR/PATH_PART/SLUG[_TAG]_DATASET_nN; bytes other than letters, digits, '.', '_' and '-' of tag, data set and path part become
 * '_', so that no name can leave the folder. Replaces out's contents. */
int run_record_folder(const RunFolder *f, StrBuf *out, Error *e);

typedef enum RunState {
    RUN_FRESH,  /* nothing here: start */
    RUN_RESUME, /* the same run, incomplete: go on */
    RUN_DONE,   /* the same run, complete: nothing to do */
} RunState;

typedef struct RunRecord RunRecord;

/* Makes the folder, locks it (a second process is told so) and reads its run.json. argv is copied. force: what earlier runs wrote is
 * ignored now and removed by run_record_begin. */
int run_record_open(const char *dir, int argc, char *const argv[], bool force, RunRecord **out, Error *e);
/* For --dry_run and tests: no folder, no lock, nothing is ever written; state is RUN_FRESH. */
int run_record_open_dry(int argc, char *const argv[], RunRecord **out, Error *e);
void run_record_close(RunRecord *r); /* unlocks; accepts NULL. Without finish the state stays "running" and the session's end is
                                        stamped by run_record_pause only */

/* Pairs that can change a bit. A key given twice keeps its place and takes the new value. Out of memory shows at begin. */
void run_record_set(RunRecord *r, const char *key, const char *format, ...) STRATA_PRINTF(3, 4);
/* Stamped under "options", never compared. */
void run_record_note(RunRecord *r, const char *key, const char *format, ...) STRATA_PRINTF(3, 4);

/* sha256 of files, each a pair "KEY:basename" (in the order given); with KEY alone when n is 1. A file whose path, size and mtime
 * are those that an earlier run.json here holds is not read again. Files above 4 GiB are sampled: "sampled-sha256:" of size
 * (8 bytes, little-endian), first and last 64 MiB and the first MiB of every 16 MiB between. */
int run_record_hash_files(RunRecord *r, const char *key, char *const *paths, size_t n, Error *e);
/* Another folder's run.json, parsed, whose file hashes are believed like those of an earlier run here; must outlive the hashing. */
void run_record_trust(RunRecord *r, const JsonValue *run_json);
/* Likewise for dir/name of each of the NULL-terminated names that exists: "config.json", "tokenizer.json", ...; an absent one is
 * the pair "KEY:name" = "absent". dir may be a file (GGUF): then nothing is added. */
int run_record_hash_optional(RunRecord *r, const char *key, const char *dir, const char *const *names, Error *e);
/* A hash that is already known (Dataset.sha256, Windows.rows_sha256). Hash pairs are what results.h copies into ppl.json. */
void run_record_hash(RunRecord *r, const char *key, const char *hex);

typedef struct RunMachine {
    const char *device; /* "cpu", "NVIDIA H100" */
    int threads;
    bool fast; /* numerics fast: device, threads, cpu level and BLAS core can change bits and join the fingerprint */
} RunMachine;
void run_record_machine(RunRecord *r, const RunMachine *m);

/* A note of the run that is in the folder already; fallback when there is none (or force). */
int64_t run_record_earlier_integer(const RunRecord *r, const char *key, int64_t fallback);
const char *run_record_earlier(const RunRecord *r, const char *key); /* NULL: none */
bool run_record_has_earlier(const RunRecord *r);

/* Two files that a complete run has left in its folder, removed by force; "ledger.safetensors" and "ppl.json" unless said. */
void run_record_products(RunRecord *r, const char *first, const char *second);

/* Compares with what is there and writes run.json with state "running" (unless RUN_DONE). Another run's folder is STATUS_USAGE. */
int run_record_begin(RunRecord *r, RunState *state, Error *e);
/* sha256 over "key=value\n" of all pairs: LedgerShape.fingerprint. Valid after begin. */
const char *run_record_fingerprint(const RunRecord *r);
/* More timing figures, under "timing" ("tokens_per_s", "peak_resident_bytes"). */
void run_record_time(RunRecord *r, const char *key, double value);

int run_record_pause(RunRecord *r, Error *e);  /* interrupted: stamps the session's end, state stays "running" */
int run_record_finish(RunRecord *r, Error *e); /* state "complete" */

/* The shell line that goes on with this run: argv with quotes where needed, --force left out. Appended to out. */
void run_record_command(const RunRecord *r, StrBuf *out);

/* Visits the hash pairs in order. */
void run_record_each_hash(const RunRecord *r, void (*visit)(void *user, const char *key, const char *value), void *user);

#endif
