/* audit_record.h: what the operations of one run gave, by name: [T, columns] arrays in f64. Read from a dump that tools/dump_hf.py
 * wrote (its header lists the names), or recorded from one of our own op tables. */
#ifndef STRATA_EXPERIMENTS_AUDIT_RECORD_H
#define STRATA_EXPERIMENTS_AUDIT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/dtype.h"
#include "engine/base/error.h"

enum { AUDIT_NAME_MAX = 48 };

typedef struct AuditTensor {
    char name[AUDIT_NAME_MAX];
    size_t rows, cols;
    double *v;
} AuditTensor;

typedef struct AuditRecord {
    AuditTensor *tensors;
    size_t n_tensors, cap;
    int32_t *ids;
    size_t n_tokens;
    DType store; /* what the run's operations wrote */
    Arena arena;
} AuditRecord;

/* ids are checked against the vocabulary, every array against the number of ids. */
int audit_record_read(const char *path, size_t vocab, AuditRecord *out, Error *e);
/* Adds a zeroed array; its values are to be written by the caller. */
int audit_record_add(AuditRecord *r, const char *name, size_t rows, size_t cols, AuditTensor **out, Error *e);
AuditTensor *audit_record_find(const AuditRecord *r, const char *name); /* NULL: none */
void audit_record_free(AuditRecord *r);                                 /* accepts zeroed and half-built */

#endif
