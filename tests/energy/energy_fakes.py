"""Stand-ins for sensors: powercap trees, a clock that only the test moves, and an NVML library in C."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

RANGE = 262_143_328_850
DRAM_RANGE = 65_712_999_613
MS = 1_000_000
S = 1_000_000_000


class Tree:
    """A powercap folder; zones are set in place, as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Path] = {}

    def zone(self, place: str, name: str, energy: int, top: int | None = RANGE) -> Path:
        folder = self.root / place
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
        if top is not None:
            (folder / "max_energy_range_uj").write_text(f"{top}\n")
        self.files[place] = folder / "energy_uj"
        return folder

    def set(self, place: str, energy: int) -> None:
        # Of one width: a shorter number must not leave digits of the longer one behind.
        with open(self.files[place], "r+b") as file:
            file.write(b"%020d\n" % energy)

    def socket(self, number: int, energy: int = 1000) -> None:
        self.zone(f"intel-rapl:{number}", f"package-{number}", energy)
        self.zone(f"intel-rapl:{number}:0", "dram", energy, DRAM_RANGE)
        self.zone(f"intel-rapl:{number}:1", "core", energy)


class Clock:
    """Nanoseconds that pass when the test says so, and a little at every look."""

    def __init__(self, start: int = 10 * S, tick: int = 0) -> None:
        self.now = start
        self.tick = tick

    def __call__(self) -> int:
        self.now += self.tick
        return self.now


class Source:
    """A sensor that shows what a function of the clock says."""

    def __init__(self, clock: Callable[[], int], value: Callable[[int], int]) -> None:
        self._clock = clock
        self.value = value
        self.closed = False

    def read(self) -> int:
        return self.value(self._clock())

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def energy(time: int, steps: Sequence[tuple[int, int]]) -> int:
    """Microjoules up to ``time`` of a profile given as (from when, watts)."""
    total = 0
    ends = [start for start, _ in steps[1:]] + [time]
    for (start, watts), end in zip(steps, ends, strict=True):
        if time > start:
            total += watts * (min(end, time) - start) // 1000
    return total


NVML = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15, NOT_LOADED = 9 };
typedef struct { char uuid[96], name[64], can[64]; int index, slices; } device;
typedef struct {
    uint32_t field, scope; int64_t stamp, latency; uint32_t type, status;
    union { uint32_t u; uint64_t l; } value;
} field;
static device devices[8], slices[8][8];
static int count, started;
static const volatile int64_t *values;
static int64_t value(const device *d, int which) { return values[2 * d->index + which]; }
int nvmlInitWithFlags(unsigned flags) {
    const char *folder = getenv("FAKE_NVML");
    char path[512], line[512];
    if (!folder) return NOT_LOADED;
    snprintf(path, sizeof path, "%s/devices", folder);
    FILE *f = fopen(path, "r");
    if (!f) return NOT_LOADED;
    for (count = 0; count < 8 && fgets(line, sizeof line, f); count++) {
        device *d = &devices[count];
        memset(d, 0, sizeof *d);
        sscanf(line, "%95s %63s %63s %d", d->uuid, d->name, d->can, &d->slices);
        d->index = count;
        for (int i = 0; i < d->slices; i++) {
            slices[count][i] = *d;
            snprintf(slices[count][i].uuid, 96, "MIG-%d%d-%.80s", count, i, d->uuid + 4);
        }
    }
    fclose(f);
    snprintf(path, sizeof path, "%s/values", folder);
    if (values) munmap((void *)values, 4096);
    int file = open(path, O_RDONLY);
    values = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    started++;
    return OK;
}
int nvmlShutdown(void) { started--; return OK; }
int fakeStarted(void) { return started; }
const char *nvmlErrorString(int code) {
    if (code == NOT_LOADED) return "Driver Not Loaded";
    return code == NOT_SUPPORTED ? "Not Supported" : code == LOST ? "GPU is lost" : "Error";
}
int nvmlDeviceGetCount_v2(unsigned *n) { *n = count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, device **d) {
    if (i >= (unsigned)count) return INVALID;
    if (strstr(devices[i].can, "lost")) return LOST;
    *d = &devices[i];
    return OK;
}
int nvmlDeviceGetArchitecture(device *d, unsigned *a) { *a = 9; return OK; }
int nvmlDeviceGetUUID(device *d, char *text, unsigned size) { snprintf(text, size, "%s", d->uuid); return OK; }
int nvmlDeviceGetName(device *d, char *text, unsigned size) { snprintf(text, size, "%s", d->name); return OK; }
int nvmlDeviceGetMigMode(device *d, unsigned *now, unsigned *next) {
    if (strstr(d->can, "old")) return NOT_SUPPORTED;
    *now = *next = d->slices > 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *n) { *n = d->slices ? 7 : 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned i, device **slice) {
    if (i >= (unsigned)d->slices) return NOT_FOUND;
    *slice = &slices[d->index][i];
    return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(device *d, unsigned long long *mj) {
    if (!strstr(d->can, "counter")) return NOT_SUPPORTED;
    int64_t v = value(d, 0);
    if (v < 0) return LOST;
    *mj = (unsigned long long)v;
    return OK;
}
int nvmlDeviceGetPowerUsage(device *d, unsigned *mw) {
    if (!strstr(d->can, "power")) return NOT_SUPPORTED;
    *mw = (unsigned)value(d, 1);
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *mw) {
    const char *limit = strstr(d->can, "limit");
    if (!limit) return NOT_SUPPORTED;
    *mw = 1000 * (unsigned)atoi(limit + 5);
    return OK;
}
int nvmlDeviceGetFieldValues(device *d, int n, field *f) {
    for (int i = 0; i < n; i++) {
        f[i].status = strstr(d->can, "instant") && f[i].field == 186 ? OK : NOT_SUPPORTED;
        f[i].value.u = (uint32_t)value(d, 1);
    }
    return OK;
}
"""


def build_nvml(folder: Path) -> Path:
    """Compile the library; returns the folder for LD_LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "nvml.c"
    source.write_text(NVML)
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    library = folder / "libnvidia-ml.so.1"
    options = ["-O1", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *options, "-o", str(library), str(source)], check=True, capture_output=True)
    return folder


class Gpus:
    """What the library shows: devices as (uuid, name, what it can, MIG devices), and their values.

    ``limit700`` among what a device can is its enforced power limit in watts.
    """

    def __init__(self, folder: Path, *devices: tuple[str, str, str, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "devices").write_text("".join(f"{u} {n} {can} {mig}\n" for u, n, can, mig in devices))
        (folder / "values").write_bytes(b"".join(struct.pack("qq", 5_000_000, 100_000) for _ in devices))

    def set(self, device: int, millijoules: int, milliwatts: int = 100_000) -> None:
        descriptor = os.open(self.folder / "values", os.O_WRONLY)
        os.pwrite(descriptor, struct.pack("qq", millijoules, milliwatts), 16 * device)
        os.close(descriptor)
