#include "reports/peak.h"

#include <math.h>
#include <string.h>

/*
 * From NVIDIA's datasheets, product briefs and architecture whitepapers. TFLOP/s are as
 * quoted, at the boost clock of the day; where they are given with sparsity, half of
 * them; on GeForce and RTX the rate with sums in fp32, which is half of that with sums
 * in fp16. What multiprocessors do in one clock (tensor cores in half precision, and
 * the ordinary cores in fp32; tf32 is half of half) gives the peak at any other clock:
 * multiplied with their number and the boost clock it is the quoted one. Memory in GB/s
 * as quoted; nothing reads or writes faster.
 */
static const struct peak {
    const char *device;
    double half, tf32, fp32; /* TFLOP/s; half: bf16 and fp16 */
    int multiprocessors, half_per_clock, fp32_per_clock; /* operations of one of them */
    double memory;
} peaks[] = {
        // H100 datasheet (SXM, NVL); H100 PCIe and NVL product briefs; H200 datasheet
        {"H100 80GB HBM3", 989.4, 494.7, 66.9, 132, 4096, 256, 3352},
        {"H100 PCIe", 756, 378, 51.2, 114, 4096, 256, 2039},
        {"H100 NVL", 835.5, 417.5, 60, 132, 4096, 256, 3938},
        {"H200", 989.4, 494.7, 66.9, 132, 4096, 256, 4800},
        {"H200 NVL", 835.5, 417.5, 60, 132, 4096, 256, 4800},
        // GH200 datasheet: an H100's or H200's processor
        {"GH200 120GB", 989.4, 494.7, 66.9, 132, 4096, 256, 4000},
        {"GH200 480GB", 989.4, 494.7, 66.9, 132, 4096, 256, 4000},
        {"GH200 144G HBM3e", 989.4, 494.7, 66.9, 132, 4096, 256, 4900},
        // HGX B200 datasheet, an eighth
        {"B200", 2250, 1125, 75, 148, 8192, 256, 8000},
        // A100 datasheet; A30, A40, A10 datasheets
        {"A100-SXM4-40GB", 312, 156, 19.5, 108, 2048, 128, 1555},
        {"A100-SXM4-80GB", 312, 156, 19.5, 108, 2048, 128, 2039},
        {"A100-PCIE-40GB", 312, 156, 19.5, 108, 2048, 128, 1555},
        {"A100 80GB PCIe", 312, 156, 19.5, 108, 2048, 128, 1935},
        {"A30", 165, 82, 10.3, 56, 2048, 128, 933},
        {"A40", 149.7, 74.8, 37.4, 84, 1024, 256, 696},
        {"A10", 125, 62.5, 31.2, 72, 1024, 256, 600},
        // L4, L40 and L40S datasheets
        {"L4", 121, 60, 30.3, 58, 1024, 256, 300},
        {"L40", 181.05, 90.5, 90.5, 142, 512, 256, 864},
        {"L40S", 362.05, 183, 91.6, 142, 1024, 256, 864},
        // GA102, Ada and RTX Blackwell whitepapers
        {"GeForce RTX 3090", 71, 35.6, 35.6, 82, 512, 256, 936},
        {"RTX A6000", 154.8, 77.4, 38.7, 84, 1024, 256, 768},
        {"GeForce RTX 4080", 97.5, 48.7, 48.7, 76, 512, 256, 717},
        {"GeForce RTX 4090", 165.2, 82.6, 82.6, 128, 512, 256, 1008},
        {"RTX 6000 Ada Generation", 364.2, 182.1, 91.1, 142, 1024, 256, 960},
        {"GeForce RTX 5080", 112.6, 56.3, 56.3, 84, 512, 256, 960},
        {"GeForce RTX 5090", 209.5, 104.8, 104.8, 170, 512, 256, 1792},
};

static const struct peak *find(const char *device) {
    static const char maker[] = "NVIDIA ";
    if (strncmp(device, maker, sizeof maker - 1) == 0) {
        device += sizeof maker - 1;
    }
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        if (strcmp(device, peaks[i].device) == 0) {
            return peaks + i;
        }
    }
    return NULL;
}

double peak_flops(const char *device, int64_t precision) {
    const struct peak *p = find(device);
    if (!p) {
        return NAN;
    }
    return 1e12 * (precision == PRECISION_FP32          ? p->fp32
                          : precision == PRECISION_TF32 ? p->tf32
                                                        : p->half);
}

double peak_flops_at(const char *device, int64_t precision, double clock_mhz) {
    const struct peak *p = find(device);
    if (!p) {
        return NAN;
    }
    double each = precision == PRECISION_FP32   ? p->fp32_per_clock
                  : precision == PRECISION_TF32 ? p->half_per_clock / 2.0
                                                : p->half_per_clock;
    return clock_mhz * 1e6 * each * p->multiprocessors;
}

double peak_bandwidth(const char *device) {
    const struct peak *p = find(device);
    return p ? 1e9 * p->memory : NAN;
}
