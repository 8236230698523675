/* byte_tokenizer.c: byte_tokenizer.h. */
#include "tests/byte_tokenizer.h"

#include <stdio.h>

#include "engine/base/file.h"
#include "engine/base/utf8.h"

/* GPT-2's spelling of a byte: printable Latin-1 stands for itself, the others for 256, 257, ... in order. */
static uint32_t spelling(int byte)
{
    uint32_t next = 256;
    for (int b = 0; b < 256; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        uint32_t c = plain ? (uint32_t)b : next++;
        if (b == byte)
            return c;
    }
    return 0;
}

Tokenizer *byte_tokenizer_open(const char *folder)
{
    StrBuf json = {0};
    char path[256];
    Error e = {""};
    Tokenizer *out = NULL;
    strbuf_puts(&json,
                "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":256,\"content\":\"<s>\","
                "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
                "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
                "false,\"use_regex\":false},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
                "false,\"trim_offsets\":false,\"use_regex\":false},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":"
                "null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":"
                "false,\"ignore_merges\":false,\"vocab\":{");
    for (int b = 0; b < 256; b++) {
        char c[4];
        size_t n = utf8_encode(spelling(b), c);
        strbuf_json_string(&json, c, n);
        strbuf_printf(&json, ":%d%s", b, b < 255 ? "," : "");
    }
    strbuf_puts(&json, "},\"merges\":[]}}");
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    if (json.failed || file_write_atomic(path, json.data, json.len, &e) || tokenizer_open_file(path, &out, &e))
        printf("byte_tokenizer.c: failed: %s\n", e.text);
    strbuf_free(&json);
    return out;
}
