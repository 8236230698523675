/* run_record_internal.h: what run_record.c (pairs, hashes, comparison) and run_record_file.c (run.json) share. */
#ifndef STRATA_EXPERIMENTS_RUN_RECORD_INTERNAL_H
#define STRATA_EXPERIMENTS_RUN_RECORD_INTERNAL_H

#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "experiments/run_record.h"

typedef struct RecordPair {
    char *key, *value;
    bool is_hash;
} RecordPair;

typedef struct RecordList {
    RecordPair *items;
    size_t n, cap;
    bool failed; /* out of memory: begin says so */
} RecordList;

typedef struct RecordFile {
    char *path; /* absolute */
    char *sha256;
    int64_t bytes, mtime_ns;
} RecordFile;

struct RunRecord {
    char *dir; /* NULL: dry */
    int lock_fd;
    bool force;
    const char *products[2]; /* files of a complete run */
    int argc;
    char **argv;
    RecordList pairs, notes, machine, times; /* times: values are JSON numbers */
    RecordFile *files;
    size_t n_files, cap_files;
    char started[32]; /* of this process */
    double start_s;
    const JsonValue *earlier; /* run.json found here, in arena; NULL: none, or force */
    const JsonValue *trusted; /* another folder's run.json, for its file hashes; may be NULL */
    Arena arena;
    StrBuf earlier_text;
    char fingerprint[65];
};

/* Reads dir/run.json into r->earlier, when there is one. A run.json that is not ours is STATUS_USAGE. */
int run_record_file_read(RunRecord *r, Error *e);
/* Writes run.json; ended: this session's end is stamped. */
int run_record_file_write(const RunRecord *r, const char *state, bool ended, Error *e);
void run_record_file_time(char out[32]); /* now, ISO 8601 UTC */

#endif
