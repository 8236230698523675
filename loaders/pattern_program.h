/* pattern_program.h: the program a pattern becomes, shared by its compiler (pattern.c) and its matcher (pattern_match.c). */
#ifndef STRATA_LOADERS_PATTERN_PROGRAM_H
#define STRATA_LOADERS_PATTERN_PROGRAM_H

#include "loaders/pattern.h"
#include "loaders/pattern_class.h"

typedef enum OpCode {
    OP_CLASS,  /* one character of the class */
    OP_REPEAT, /* between least and most characters of the class; greedy, lazy or possessive */
    OP_SPLIT,  /* try a, then b */
    OP_JUMP,
    OP_LOOK,   /* lookahead: the program from the next instruction to its OP_MATCH; goes on at a */
    OP_BEHIND, /* the character before is (not) of the class */
    OP_BEGIN,  /* start of text or line */
    OP_END,
    OP_MARK, /* remembers the stack height: a possessive or atomic group begins */
    OP_CUT,  /* drops all tries since the mark */
    OP_MATCH,
} OpCode;

typedef enum Greed { GREEDY, LAZY, POSSESSIVE } Greed;

typedef struct Op {
    OpCode code;
    Greed greed;
    bool negative;
    uint32_t least, most; /* UINT32_MAX: no limit */
    uint32_t a, b;
    uint32_t set; /* index of the class */
} Op;

struct Pattern {
    Op *ops;
    size_t n_ops;
    PatternClass *sets;
    size_t n_sets;
};

#endif
