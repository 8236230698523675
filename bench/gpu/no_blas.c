/* no_blas.c: stands in the place of OpenBLAS (26 MB a program) in what is carried to a machine with a GPU: those programs compute with the
 * CUDA tables and with kernels/ref alone, so that nothing here is ever called. */
#include <stdio.h>
#include <stdlib.h>

#include <cblas.h>

void cblas_sgemm(CBLAS_LAYOUT layout, CBLAS_TRANSPOSE trans_a, CBLAS_TRANSPOSE trans_b, blasint m, blasint n, blasint k,
                 float alpha, const float *a, blasint lda, const float *b, blasint ldb, float beta, float *c, blasint ldc)
{
    (void)layout, (void)trans_a, (void)trans_b, (void)m, (void)n, (void)k, (void)alpha, (void)a, (void)lda, (void)b, (void)ldb;
    (void)beta, (void)c, (void)ldc;
    fprintf(stderr, "cpu/fast was asked for in a program without OpenBLAS\n");
    exit(1);
}

void openblas_set_num_threads(int n)
{
    (void)n;
}

char *openblas_get_corename(void)
{
    static char name[] = "none";
    return name;
}
