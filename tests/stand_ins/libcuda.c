/* A stand-in for NVIDIA's libcuda.so.1: the few functions that a look at the driver calls, answering as the environment says.

   LIBCUDA_STAND_IN_INIT      what cuInit returns (0)
   LIBCUDA_STAND_IN_VERSION   what cuDriverGetVersion tells (12060)
   LIBCUDA_STAND_IN_DEVICES   how many devices there are (1)
   LIBCUDA_STAND_IN_SM        compute capability of all of them, 10 * major + minor (87)
   LIBCUDA_STAND_IN_MIB       memory of each, in MiB (7620)

   A function other than cuInit and cuDriverGetVersion answers 3 (not initialized) before cuInit, as NVIDIA's does. */

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static int initialized = 0;

static long told(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

int cuInit(unsigned int flags)
{
    int code = (int)told("LIBCUDA_STAND_IN_INIT", 0);
    initialized = code == 0;
    return flags ? 1 : code;
}

int cuDriverGetVersion(int *version)
{
    *version = (int)told("LIBCUDA_STAND_IN_VERSION", 12060);
    return 0;
}

int cuDeviceGetCount(int *count)
{
    *count = (int)told("LIBCUDA_STAND_IN_DEVICES", 1);
    return initialized ? 0 : 3;
}

int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return initialized ? (ordinal < told("LIBCUDA_STAND_IN_DEVICES", 1) ? 0 : 101) : 3;
}

int cuDeviceGetName(char *name, int bytes, int device)
{
    snprintf(name, (size_t)bytes, "Stand-in device %d", device);
    return initialized ? 0 : 3;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    long sm = told("LIBCUDA_STAND_IN_SM", 87);
    (void)device;
    if (attribute != 75 && attribute != 76)
        return 1;
    *value = (int)(attribute == 75 ? sm / 10 : sm % 10);
    return initialized ? 0 : 3;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)told("LIBCUDA_STAND_IN_MIB", 7620) << 20;
    return initialized ? 0 : 3;
}

int cuGetErrorString(int code, const char **text)
{
    switch (code) {
    case 3: *text = "initialization error"; return 0;
    case 34: *text = "CUDA driver is a stub library"; return 0;
    case 100: *text = "no CUDA-capable device is detected"; return 0;
    case 803: *text = "system has unsupported display driver / cuda driver combination"; return 0;
    default: *text = NULL; return 1;
    }
}
