#include "reports/peak.h"

#include <math.h>
#include <string.h>

/*
 * TFLOP/s at boost clock, from NVIDIA's datasheets and architecture whitepapers. Where
 * they give numbers with sparsity, half of them; on GeForce and RTX the rate with sums
 * in fp32, which is half of that with sums in fp16.
 */
static const struct {
    const char *device;
    double half, tf32, fp32; /* half: bf16 and fp16 */
} peaks[] = {
        // H100 datasheet (SXM, NVL); H100 PCIe product brief; H200 datasheet
        {"H100 80GB HBM3", 989.4, 494.7, 66.9},
        {"H100 PCIe", 756, 378, 51.2},
        {"H100 NVL", 835.5, 417.5, 60},
        {"H200", 989.4, 494.7, 66.9},
        {"H200 NVL", 835.5, 417.5, 60},
        // GH200 datasheet: an H100's or H200's processor
        {"GH200 120GB", 989.4, 494.7, 66.9},
        {"GH200 480GB", 989.4, 494.7, 66.9},
        {"GH200 144G HBM3e", 989.4, 494.7, 66.9},
        // HGX B200 datasheet, an eighth
        {"B200", 2250, 1125, 75},
        // A100 datasheet; A30, A40, A10 datasheets
        {"A100-SXM4-40GB", 312, 156, 19.5},
        {"A100-SXM4-80GB", 312, 156, 19.5},
        {"A100-PCIE-40GB", 312, 156, 19.5},
        {"A100 80GB PCIe", 312, 156, 19.5},
        {"A30", 165, 82, 10.3},
        {"A40", 149.7, 74.8, 37.4},
        {"A10", 125, 62.5, 31.2},
        // L4, L40 and L40S datasheets
        {"L4", 121, 60, 30.3},
        {"L40", 181.05, 90.5, 90.5},
        {"L40S", 362.05, 183, 91.6},
        // GA102, Ada and RTX Blackwell whitepapers
        {"GeForce RTX 3090", 71, 35.6, 35.6},
        {"RTX A6000", 154.8, 77.4, 38.7},
        {"GeForce RTX 4080", 97.5, 48.7, 48.7},
        {"GeForce RTX 4090", 165.2, 82.6, 82.6},
        {"RTX 6000 Ada Generation", 364.2, 182.1, 91.1},
        {"GeForce RTX 5080", 112.6, 56.3, 56.3},
        {"GeForce RTX 5090", 209.5, 104.8, 104.8},
};

double peak_flops(const char *device, int64_t precision) {
    static const char maker[] = "NVIDIA ";
    if (strncmp(device, maker, sizeof maker - 1) == 0) {
        device += sizeof maker - 1;
    }
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        if (strcmp(device, peaks[i].device) == 0) {
            double tera = precision == PRECISION_FP32   ? peaks[i].fp32
                          : precision == PRECISION_TF32 ? peaks[i].tf32
                                                        : peaks[i].half;
            return tera * 1e12;
        }
    }
    return NAN;
}
