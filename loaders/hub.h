/* hub.h: models from a hub of Hugging Face's kind into the Hugging Face cache, in that cache's own layout, so that other tools see them:
 *   models--ORG--NAME/blobs/ETAG, snapshots/COMMIT/FILE -> ../../blobs/ETAG, refs/REVISION (holds COMMIT)
 * and data sets as jsonl. This is the only place that talks to a hub, and only when a user asked for it.
 *
 * Environment: HF_ENDPOINT (https://huggingface.co), HF_TOKEN or the file that HF_TOKEN_PATH or HF_HOME/token names, HF_HUB_OFFLINE
 * (any of 1, true, yes, on: refused), and what model_lookup.h reads for the cache. A token is sent to the endpoint's host alone and never
 * shown. */
#ifndef STRATA_LOADERS_HUB_H
#define STRATA_LOADERS_HUB_H

#include "engine/base/strbuf.h"
#include "loaders/hub_download.h"

typedef struct HubSession {
    char *endpoint;          /* without a slash at its end */
    char *authorization;     /* "Bearer ...", or NULL */
    bool endpoint_is_public; /* no HF_ENDPOINT */
} HubSession;

/* Reads the environment; STATUS_USAGE when HF_HUB_OFFLINE forbids it. */
int hub_open(HubSession *out, Error *e);
void hub_close(HubSession *s); /* accepts zeroed */

typedef struct HubModelRequest {
    const char *id, *revision; /* revision NULL: main */
    const char *file;          /* one file of the repository (a GGUF); NULL: safetensors, configuration and tokenizer */
    const char *cache;         /* folder of the cache; NULL: as model_lookup.h finds it */
    bool dry_run;              /* list only */
    HubTransfer transfer;
} HubModelRequest;

typedef struct HubModel {
    char *commit, *snapshot; /* the folder of its files */
    HubFile *files;
    size_t n_files;
    uint64_t total_bytes, missing_bytes;
} HubModel;

/* Lists, checks the room on the disk, fetches, links. *out is filled as far as it came, free it in any case. */
int hub_pull_model(const HubSession *s, const HubModelRequest *request, HubModel *out, Error *e);
void hub_model_free(HubModel *m);

typedef struct HubRowsRequest {
    const char *dataset, *config, *split, *field; /* of the hub: "Salesforce/wikitext", "wikitext-2-raw-v1", "test", "text" */
    const char *path;                             /* the jsonl to write; PATH.strata-partial grows until it is whole */
    uint64_t max_rows;                            /* 0: all */
    HubTransfer transfer;
} HubRowsRequest;

/* Rows through the hub's dataset server (its rows endpoint), 100 a request, written as {"text": ...} lines; goes on where it was. */
int hub_pull_rows(const HubSession *s, const HubRowsRequest *request, uint64_t *n_rows, uint64_t *n_total, Error *e);

#endif
