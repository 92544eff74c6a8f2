/*
 * A driver of no device, as libcuda.so.1: it takes code and says it has loaded it,
 * which is all that cuDNN asks of a driver to build a plan for a described device.
 * Whatever else is called says that there is no driver.
 */
#include <stddef.h>

enum { SUCCESS = 0, STUB_LIBRARY = 34 };

static int something;

#define GIVES(name, ...)                                                               \
    int name(void **out, __VA_ARGS__);                                                 \
    int name(void **out, __VA_ARGS__)

#define REFUSES(name)                                                                  \
    int name(void);                                                                    \
    int name(void) {                                                                   \
        return STUB_LIBRARY;                                                           \
    }

GIVES(cuLibraryLoadData, const void *code, void *a, void *b, unsigned c, void *d,
        void *e, unsigned f) {
    (void)code, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    *out = &something;
    return SUCCESS;
}

GIVES(cuLibraryGetKernel, void *library, const char *name) {
    (void)library, (void)name;
    *out = &something;
    return SUCCESS;
}

GIVES(cuKernelGetFunction, void *kernel) {
    (void)kernel;
    *out = &something;
    return SUCCESS;
}

int cuLibraryUnload(void *library);
int cuLibraryUnload(void *library) {
    (void)library;
    return SUCCESS;
}

int cuKernelSetAttribute(int attribute, int value, void *kernel, int device);
int cuKernelSetAttribute(int attribute, int value, void *kernel, int device) {
    (void)attribute, (void)value, (void)kernel, (void)device;
    return SUCCESS;
}

int cuFuncSetAttribute(void *function, int attribute, int value);
int cuFuncSetAttribute(void *function, int attribute, int value) {
    (void)function, (void)attribute, (void)value;
    return SUCCESS;
}

// cuDNN looks these up together with the ones above and wants them all.
REFUSES(cuInit)
REFUSES(cuCtxGetCurrent)
REFUSES(cuCtxGetLimit)
REFUSES(cuCtxPopCurrent)
REFUSES(cuCtxPushCurrent)
REFUSES(cuDeviceGet)
REFUSES(cuDeviceGetCount)
REFUSES(cuDriverGetVersion)
REFUSES(cuGetErrorName)
REFUSES(cuGetErrorString)
REFUSES(cuGetProcAddress)
REFUSES(cuGetProcAddress_v2)
REFUSES(cuKernelGetAttribute)
REFUSES(cuLaunchCooperativeKernel)
REFUSES(cuLaunchKernel)
REFUSES(cuLaunchKernelEx)
REFUSES(cuLibraryLoadFromFile)
REFUSES(cuLinkAddData)
REFUSES(cuLinkComplete)
REFUSES(cuLinkCreate)
REFUSES(cuLinkDestroy)
REFUSES(cuModuleGetFunction)
REFUSES(cuModuleLoadData)
REFUSES(cuModuleUnload)
REFUSES(cuOccupancyMaxPotentialClusterSize)
REFUSES(cuStreamGetCtx)
