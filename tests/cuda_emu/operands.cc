/* operands.cc: see operands.hh. */
#include "tests/cuda_emu/operands.hh"
#include "tests/cuda_emu/emu_core.hh"

#include <stdlib.h>
#include <string.h>

Rng operands_rng;
std::string operands_what;

enum { CANARY = 0xA5 };

static size_t elem_bytes(DType t)
{
    return t == DTYPE_F32 || t == DTYPE_I32 ? 4 : 2;
}

static void *take(size_t bytes)
{
    void *p;
    if (cudaMalloc(&p, bytes) != cudaSuccess) {
        printf("operands: no device memory\n");
        exit(1);
    }
    return p;
}

double operands_random(double scale)
{
    return (double)(float)((2 * rng_uniform(&operands_rng) - 1) * scale);
}

Operand::Operand(DType dtype, size_t rows, size_t cols, size_t gap, size_t offset, double scale) : r(rows * cols)
{
    size_t elem = elem_bytes(dtype), ld = cols + gap;
    bytes = (offset + (rows ? (rows - 1) * ld + cols : 0)) * elem;
    base = (unsigned char *)take(bytes + (bytes ? 0 : 1));
    t = View{base + offset * elem, dtype, rows, cols, ld};
    memset(emu_peek(base), CANARY, bytes);
    for (size_t i = 0; i < rows && scale > 0; i++)
        for (size_t j = 0; j < cols; j++)
            set(i, j, operands_random(scale));
}

Operand::~Operand()
{
    cudaFree(base);
}

void Operand::set(size_t row, size_t col, double value)
{
    size_t at = row * t.ld + col;
    float x = (float)value;
    size_t elem = elem_bytes(t.dtype);
    unsigned char *device = (unsigned char *)t.data + at * elem, *p = (unsigned char *)emu_peek(device);
    if (t.dtype == DTYPE_F32) {
        memcpy(p, &x, 4);
    } else {
        uint16_t h = convert_f32_to_bf16(x);
        x = convert_bf16_to_f32(h);
        memcpy(p, &h, 2);
    }
    emu::mark_written(device, elem, true);
    r[row * t.cols + col] = (double)x;
}

double Operand::get(size_t row, size_t col) const
{
    const unsigned char *p =
        (const unsigned char *)emu_peek((unsigned char *)t.data + (row * t.ld + col) * elem_bytes(t.dtype));
    float x;
    uint16_t h;
    if (t.dtype == DTYPE_F32) {
        memcpy(&x, p, 4);
        return (double)x;
    }
    memcpy(&h, p, 2);
    return (double)convert_bf16_to_f32(h);
}

View Operand::ref()
{
    return View{r.data(), DTYPE_F64, t.rows, t.cols, t.cols};
}

int Operand::gaps() const
{
    size_t elem = elem_bytes(t.dtype), first = (size_t)((unsigned char *)t.data - base);
    const unsigned char *p = (const unsigned char *)emu_peek(base);
    for (size_t i = 0; i < bytes; i++) {
        bool inside = i >= first && (i - first) / elem % t.ld < t.cols;
        if (!inside && p[i] != CANARY) {
            printf("%s: byte %zu before or between rows was written\n", operands_what.c_str(), i);
            return 1;
        }
    }
    return 0;
}

DeviceBytes::DeviceBytes(const void *from, size_t n, size_t offset)
{
    base = (unsigned char *)take(n + offset + (n + offset ? 0 : 1));
    data = base + offset;
    if (n)
        cudaMemcpy(data, from, n, cudaMemcpyHostToDevice);
}

DeviceBytes::~DeviceBytes()
{
    cudaFree(base);
}

OperandWeight::OperandWeight(WeightKind kind, size_t rows, size_t cols, double scale, size_t offset)
{
    std::vector<float> x(rows * cols);
    for (float &v : x) {
        v = (float)operands_random(scale);
        r.push_back((double)v);
    }
    bytes = new DeviceBytes(x.data(), x.size() * 4, offset * 4);
    t = Weight{kind, rows, cols, bytes->data};
    ref = Weight{kind, rows, cols, r.data()};
}

OperandWeight::~OperandWeight()
{
    delete bytes;
}

int operands_finish()
{
    cudaError_t e = cudaDeviceSynchronize();
    cudaError_t last = cudaGetLastError();
    int bad = (int)emu_reports();
    if (bad || e || last)
        printf("%s: %d reports of the emulation; %s\n", operands_what.c_str(), bad, cudaGetErrorString(e ? e : last));
    if (e) /* a stuck kernel must not fail what comes after it */
        cudaDeviceReset();
    emu_clear();
    return bad + (e != cudaSuccess) + (last != cudaSuccess);
}
