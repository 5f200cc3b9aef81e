/* A stand-in for the NVIDIA Management Library: the real binary interface, values from a file.
 *
 * FAKE_NVML_CONTROL names a file of lines that is read again whenever it has changed; `#` begins a
 * comment. What a device does not have, it answers with NOT_SUPPORTED.
 *
 *   driver 590.48.01              nvml 13.590.48        cuda 13010
 *   gpu 0 uuid=GPU-a name=H200 pci=00000000:0F:00.0 memory_total=1000 power_mw=70000 f83=3:5000
 *   mig 0 0 uuid=MIG-a gi=1 ci=0 memory_total=500       instance 0 of GPU 0
 *   ramp 0 f83 412000             adds so much a second, from when the line is first read
 *   sample 0 gpu 1000000 50       utilisation (gpu or memory) at a time in microseconds
 *   process 0 pid=12 memory=100   process 0 pid=12 sm=50 time=1000000
 *   order 1 0                     which device has which index; those left out are not there
 *   fail F code=15 gpu=0 after=3 times=2     delay F ms=300     hang F     event 0 xid=79 pid=12
 *
 * FAKE_NVML_TRACE names a file that gets a line for each call: `+` or `-`, thread, function, device.
 * -DHIDE_<symbol> leaves a function out, as an old driver does. Names, numbers and layouts are those
 * of the documented interface, version 13.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25
};
enum { DEVICES = 16, INSTANCES = 8, KEYS = 96, SAMPLES = 4096, PROCESSES = 64, RULES = 64, EVENTS = 256 };

typedef struct { char key[32], text[96]; double rate; double since; } Value;
typedef struct { uint64_t time; uint32_t kind, value; } Sample;
typedef struct { uint32_t pid; uint64_t memory, time; uint32_t sm; int has_memory, has_sm; } Process;
typedef struct Device {
  int is_there, number, index, parent;
  Value values[KEYS]; int value_count;
  Sample samples[SAMPLES]; int sample_count;
  Process processes[PROCESSES]; int process_count;
} Device;
typedef struct { char function[64], what; int code, gpu, after, times, ms; } Rule;
typedef struct { int gpu; uint32_t xid, pid; } Event;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Device devices[DEVICES], instances[DEVICES][INSTANCES];
static Rule rules[RULES]; static int rule_count;
static int seen[RULES];  /* calls that each rule has looked at since it was read */
static Event events[EVENTS]; static int event_count, events_taken;
static char driver[80] = "590.48.01", nvml_version[80] = "13.590.48.01";
static int cuda = 13010, order[DEVICES], order_count = -1, is_open, registered[DEVICES];
static struct timespec changed; static off_t changed_size = -1;
static Value ramps[KEYS]; static int ramp_count;

static double now(void) {
  struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9;
}

static void trace(char mark, const char *function, const Device *d) {
  const char *path = getenv("FAKE_NVML_TRACE");
  if (!path) return;
  char line[160];
  int n = snprintf(line, sizeof line, "%c %ld %s %d\n", mark, syscall(SYS_gettid), function, d ? d->number : -1);
  int f = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (f >= 0) { if (write(f, line, n) < 0) {} close(f); }
}

static Value *find(Device *d, const char *key) {
  for (int i = 0; i < d->value_count; i++) if (!strcmp(d->values[i].key, key)) return &d->values[i];
  return NULL;
}

static void set(Device *d, const char *key, const char *text) {
  Value *v = find(d, key);
  if (!v) { if (d->value_count == KEYS) abort(); v = &d->values[d->value_count++]; }
  memset(v, 0, sizeof *v); strncpy(v->key, key, 31); strncpy(v->text, text, 95);
}

static void ramp(int gpu, const char *key, double rate) {
  char name[32]; snprintf(name, sizeof name, "%d %s", gpu, key);
  Value *r = NULL;
  for (int i = 0; i < ramp_count; i++) if (!strcmp(ramps[i].key, name)) r = &ramps[i];
  if (!r) { r = &ramps[ramp_count++]; strcpy(r->key, name); r->since = now(); }
  Value *v = find(&devices[gpu], key);
  if (v) { v->rate = rate; v->since = r->since; }
}

static void read_line(char *line) {
  char *rest, *word = strtok_r(line, " \t\n", &rest);
  if (!word || *word == '#') return;
  if (!strcmp(word, "driver")) { strncpy(driver, strtok_r(NULL, " \n", &rest), 79); return; }
  if (!strcmp(word, "nvml")) { strncpy(nvml_version, strtok_r(NULL, " \n", &rest), 79); return; }
  if (!strcmp(word, "cuda")) { cuda = atoi(strtok_r(NULL, " \n", &rest)); return; }
  if (!strcmp(word, "order")) {
    order_count = 0;
    for (char *n; (n = strtok_r(NULL, " \n", &rest));) order[order_count++] = atoi(n);
    return;
  }
  if (!strcmp(word, "fail") || !strcmp(word, "delay") || !strcmp(word, "hang")) {
    Rule *r = &rules[rule_count++];
    memset(r, 0, sizeof *r); r->what = *word; r->gpu = -1; r->times = 1 << 30;
    strncpy(r->function, strtok_r(NULL, " \n", &rest), 63);
    for (char *p; (p = strtok_r(NULL, " \n", &rest));) {
      int n = atoi(strchr(p, '=') + 1);
      if (*p == 'c') r->code = n; else if (*p == 'g') r->gpu = n; else if (*p == 'a') r->after = n;
      else if (*p == 't') r->times = n; else r->ms = n;
    }
    return;
  }
  int gpu = atoi(strtok_r(NULL, " \n", &rest));
  Device *d = &devices[gpu];
  if (!strcmp(word, "event")) {
    Event *e = &events[event_count++]; memset(e, 0, sizeof *e); e->gpu = gpu;
    for (char *p; (p = strtok_r(NULL, " \n", &rest));) {
      if (*p == 'x') e->xid = atoi(strchr(p, '=') + 1); else e->pid = atoi(strchr(p, '=') + 1);
    }
  } else if (!strcmp(word, "ramp")) {
    char *key = strtok_r(NULL, " \n", &rest);
    ramp(gpu, key, atof(strtok_r(NULL, " \n", &rest)));
  } else if (!strcmp(word, "sample")) {
    Sample *s = &d->samples[d->sample_count++];
    s->kind = strcmp(strtok_r(NULL, " \n", &rest), "gpu") ? 2 : 1;
    s->time = strtoull(strtok_r(NULL, " \n", &rest), NULL, 10);
    s->value = atoi(strtok_r(NULL, " \n", &rest));
  } else if (!strcmp(word, "process")) {
    Process *p = &d->processes[d->process_count++]; memset(p, 0, sizeof *p);
    for (char *kv; (kv = strtok_r(NULL, " \n", &rest));) {
      uint64_t n = strtoull(strchr(kv, '=') + 1, NULL, 10);
      if (*kv == 'p') p->pid = n; else if (*kv == 'm') { p->memory = n; p->has_memory = 1; }
      else if (*kv == 's') { p->sm = n; p->has_sm = 1; } else p->time = n;
    }
  } else {
    if (!strcmp(word, "mig")) {
      int i = atoi(strtok_r(NULL, " \n", &rest));
      d = &instances[gpu][i]; d->number = gpu; d->parent = gpu; d->index = i;
    } else { d->number = gpu; d->parent = -1; }
    d->is_there = 1;
    for (char *kv; (kv = strtok_r(NULL, " \n", &rest));) {
      char *equals = strchr(kv, '='); *equals = 0;
      set(d, kv, equals + 1);
    }
  }
}

static void reread(void) {
  const char *path = getenv("FAKE_NVML_CONTROL");
  struct stat s;
  if (!path || stat(path, &s)) return;
  if (s.st_size == changed_size && s.st_mtim.tv_nsec == changed.tv_nsec && s.st_mtim.tv_sec == changed.tv_sec) return;
  changed = s.st_mtim; changed_size = s.st_size;
  FILE *f = fopen(path, "r");
  if (!f) return;
  memset(devices, 0, sizeof devices); memset(instances, 0, sizeof instances); memset(seen, 0, sizeof seen);
  rule_count = event_count = 0; order_count = -1;
  char line[4096];
  while (fgets(line, sizeof line, f)) read_line(line);
  fclose(f);
}

/* Begin a call: apply the rules; hang and delay without the lock. */
static int begin(const char *function, Device *d) {
  trace('+', function, d);
  int code = SUCCESS;
  for (;;) {
    int ms = 0, hangs = 0;
    pthread_mutex_lock(&lock);
    reread();
    for (int i = 0; i < rule_count; i++) {
      Rule *r = &rules[i];
      if (strcmp(r->function, function) || (r->gpu >= 0 && (!d || d->number != r->gpu))) continue;
      if (r->what == 'h') { hangs = 1; continue; }
      int n = seen[i]++;
      if (n < r->after || n >= r->after + r->times) continue;
      if (r->what == 'd') ms += r->ms; else code = r->code;
    }
    if (d && !d->is_there && !code) code = GPU_IS_LOST;
    int opened = is_open;
    pthread_mutex_unlock(&lock);
    if (!code && !opened && strcmp(function, "nvmlInitWithFlags")) code = UNINITIALIZED;
    if (!hangs) { if (ms) usleep(1000 * ms); return code; }
    usleep(10000);
  }
}

static int end(const char *function, Device *d, int code) { trace('-', function, d); return code; }

static int number(Device *d, const char *key, double *found) {
  pthread_mutex_lock(&lock);
  Value *v = find(d, key);
  if (v) *found = strtod(v->text, NULL) + (v->rate ? v->rate * (now() - v->since) : 0);
  pthread_mutex_unlock(&lock);
  return v ? SUCCESS : NOT_SUPPORTED;
}

static int whole(Device *d, const char *key, uint64_t *found) {
  pthread_mutex_lock(&lock);
  Value *v = find(d, key);
  if (v) *found = strtoull(v->text, NULL, 10) + (v->rate ? (uint64_t)(v->rate * (now() - v->since)) : 0);
  pthread_mutex_unlock(&lock);
  return v ? SUCCESS : NOT_SUPPORTED;
}

static int text(Device *d, const char *key, char *buffer, unsigned size) {
  pthread_mutex_lock(&lock);
  Value *v = find(d, key);
  int code = v ? SUCCESS : NOT_SUPPORTED;
  if (v && strlen(v->text) + 1 > size) code = INSUFFICIENT_SIZE;
  if (!code) for (char *from = v->text, *to = buffer;; from++, to++) {
    /* %xx is a byte, _ a space, so that names of any bytes are one word. */
    if (*from == '%') { char hex[3] = {from[1], from[2], 0}; *to = (char)strtol(hex, NULL, 16); from += 2; }
    else *to = *from == '_' ? ' ' : *from;
    if (!*from) break;
  }
  pthread_mutex_unlock(&lock);
  return code;
}

static Device *at(int index) {
  if (order_count >= 0) return index < order_count ? &devices[order[index]] : NULL;
  for (int i = 0, n = 0; i < DEVICES; i++) if (devices[i].is_there && n++ == index) return &devices[i];
  return NULL;
}

static int count(void) {
  if (order_count >= 0) return order_count;
  int n = 0;
  for (int i = 0; i < DEVICES; i++) n += devices[i].is_there;
  return n;
}

#define BODY(name, d, ...) { const char *me = #name; Device *dev = (d); int code = begin(me, dev); if (!code) __VA_ARGS__ return end(me, dev, code); }
/* One number of a device, as the type that the caller's pointer has. */
#define NUMBER(name, type, key) int name(Device *d, type *out) BODY(name, d, { uint64_t n; code = whole(d, key, &n); if (!code) *out = (type)n; })
#define INDEXED(name, type, prefix) int name(Device *d, unsigned which, type *out) BODY(name, d, { \
  uint64_t n; char key[32]; snprintf(key, sizeof key, prefix "%u", which); code = whole(d, key, &n); if (!code) *out = (type)n; })

int nvmlInitWithFlags(unsigned flags) { (void)flags; int c = begin("nvmlInitWithFlags", NULL); if (!c) { pthread_mutex_lock(&lock); is_open++; pthread_mutex_unlock(&lock); } return end("nvmlInitWithFlags", NULL, c); }
int nvmlShutdown(void) BODY(nvmlShutdown, NULL, { pthread_mutex_lock(&lock); is_open--; memset(registered, 0, sizeof registered); pthread_mutex_unlock(&lock); })
const char *nvmlErrorString(int code) { static __thread char s[32]; snprintf(s, sizeof s, "simulated error %d", code); return s; }
int nvmlSystemGetDriverVersion(char *out, unsigned n) BODY(nvmlSystemGetDriverVersion, NULL, { snprintf(out, n, "%s", driver); })
int nvmlSystemGetNVMLVersion(char *out, unsigned n) BODY(nvmlSystemGetNVMLVersion, NULL, { snprintf(out, n, "%s", nvml_version); })
int nvmlSystemGetCudaDriverVersion(int *out) BODY(nvmlSystemGetCudaDriverVersion, NULL, { *out = cuda; })
int nvmlDeviceGetCount_v2(unsigned *out) BODY(nvmlDeviceGetCount_v2, NULL, { *out = count(); })
int nvmlDeviceGetHandleByIndex_v2(unsigned i, Device **out) BODY(nvmlDeviceGetHandleByIndex_v2, at(i), {
  *out = at(i); if (!*out) code = INVALID_ARGUMENT; })
int nvmlDeviceGetUUID(Device *d, char *out, unsigned n) BODY(nvmlDeviceGetUUID, d, { code = text(d, "uuid", out, n); })
int nvmlDeviceGetName(Device *d, char *out, unsigned n) BODY(nvmlDeviceGetName, d, { code = text(d, "name", out, n); })
int nvmlDeviceGetIndex(Device *d, unsigned *out) BODY(nvmlDeviceGetIndex, d, { code = NOT_FOUND; for (int i = 0; i < count(); i++) if (at(i) == d) { *out = i; code = 0; } })
NUMBER(nvmlDeviceGetMinorNumber, unsigned, "minor")

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
_Static_assert(sizeof(Pci) == 68, "PCI");
int nvmlDeviceGetPciInfo_v3(Device *d, Pci *out) BODY(nvmlDeviceGetPciInfo_v3, d, { memset(out, 0, sizeof *out); code = text(d, "pci", out->bus_id, 32); })
int nvmlDeviceGetCudaComputeCapability(Device *d, int *major, int *minor) BODY(nvmlDeviceGetCudaComputeCapability, d, {
  uint64_t n; code = whole(d, "capability", &n); if (!code) { *major = n / 10; *minor = n % 10; } })

typedef struct { uint64_t total, free, used; } Memory;
typedef struct { unsigned version; uint64_t total, reserved, free, used; } Memory2;
_Static_assert(sizeof(Memory) == 24 && sizeof(Memory2) == 40, "memory");
static int memory(Device *d, uint64_t *total, uint64_t *reserved, uint64_t *used) {
  *reserved = 0; whole(d, "memory_reserved", reserved);
  int code = whole(d, "memory_total", total);
  return code ? code : whole(d, "memory_used", used);
}
#ifndef HIDE_nvmlDeviceGetMemoryInfo
int nvmlDeviceGetMemoryInfo(Device *d, Memory *out) BODY(nvmlDeviceGetMemoryInfo, d, {
  uint64_t reserved; code = memory(d, &out->total, &reserved, &out->used); out->used += reserved; out->free = out->total - out->used; })
#endif
#ifndef HIDE_nvmlDeviceGetMemoryInfo_v2
int nvmlDeviceGetMemoryInfo_v2(Device *d, Memory2 *out) BODY(nvmlDeviceGetMemoryInfo_v2, d, {
  if (out->version != 0x02000028) code = VERSION_MISMATCH;
  else { code = memory(d, &out->total, &out->reserved, &out->used); out->free = out->total - out->used - out->reserved; } })
#endif
typedef struct { unsigned gpu, memory; } Utilization;
int nvmlDeviceGetUtilizationRates(Device *d, Utilization *out) BODY(nvmlDeviceGetUtilizationRates, d, {
  uint64_t gpu, memory = 0; code = whole(d, "utilization", &gpu); whole(d, "memory_utilization", &memory); if (!code) { out->gpu = gpu; out->memory = memory; } })
NUMBER(nvmlDeviceGetPowerUsage, unsigned, "power_mw")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, "power_limit_mw")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "energy_mj")
INDEXED(nvmlDeviceGetTemperature, unsigned, "temperature")
INDEXED(nvmlDeviceGetTemperatureThreshold, unsigned, "threshold")
INDEXED(nvmlDeviceGetClockInfo, unsigned, "clock")
INDEXED(nvmlDeviceGetMaxClockInfo, unsigned, "clock_max")
NUMBER(nvmlDeviceGetPerformanceState, unsigned, "performance_state")
#ifndef HIDE_nvmlDeviceGetTemperatureV
typedef struct { unsigned version, sensor; int temperature; } TemperatureV;
int nvmlDeviceGetTemperatureV(Device *d, TemperatureV *out) BODY(nvmlDeviceGetTemperatureV, d, {
  double n; if (out->version != 0x0100000C) code = VERSION_MISMATCH; else if (!(code = number(d, "temperature0", &n))) out->temperature = (int)n; })
#endif
typedef struct { unsigned version; int margin; } Margin;
int nvmlDeviceGetMarginTemperature(Device *d, Margin *out) BODY(nvmlDeviceGetMarginTemperature, d, {
  double n; if (out->version != 0x01000008) code = VERSION_MISMATCH; else if (!(code = number(d, "margin", &n))) out->margin = (int)n; })
#ifndef HIDE_nvmlDeviceGetCurrentClocksEventReasons
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "event_reasons")
#endif
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "event_reasons")
NUMBER(nvmlDeviceGetPcieReplayCounter, unsigned, "pcie_replays")
NUMBER(nvmlDeviceGetNumFans, unsigned, "fans")
INDEXED(nvmlDeviceGetFanSpeed_v2, unsigned, "fan")
int nvmlDeviceGetTotalEccErrors(Device *d, unsigned severity, unsigned counter, unsigned long long *out) BODY(nvmlDeviceGetTotalEccErrors, d, {
  uint64_t n; char key[32]; (void)counter; snprintf(key, sizeof key, "ecc%u", severity); code = whole(d, key, &n); if (!code) *out = n; })
int nvmlDeviceGetRemappedRows(Device *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) BODY(nvmlDeviceGetRemappedRows, d, {
  uint64_t n; code = whole(d, "remapped_correctable", &n);
  if (!code) { *corrected = n; *uncorrected = *pending = *failed = 0;
    if (!whole(d, "remapped_uncorrectable", &n)) *uncorrected = n;
    if (!whole(d, "remap_pending", &n)) *pending = n;
    if (!whole(d, "remap_failed", &n)) *failed = n; } })

typedef union { double d; unsigned u32; unsigned long ul; unsigned long long u64; long long i64; int i32; unsigned short u16; } Number;
typedef struct { unsigned id, scope; long long timestamp, latency; unsigned type; int code; Number value; } Field;
_Static_assert(sizeof(Field) == 40, "field value");
int nvmlDeviceGetFieldValues(Device *d, int n, Field *fields) BODY(nvmlDeviceGetFieldValues, d, {
  for (int i = 0; i < n; i++) {
    /* f83=3:5000 is field 83 of value type 3; f83=15! fails with code 15; f202s1 is of scope 1. */
    char key[32]; snprintf(key, sizeof key, "f%u", fields[i].id);
    if (fields[i].scope && fields[i].scope != ~0u) snprintf(key, sizeof key, "f%us%u", fields[i].id, fields[i].scope);
    memset(&fields[i].value, 0xAA, sizeof(Number));  /* What is beside the value is garbage. */
    pthread_mutex_lock(&lock);
    Value *v = find(d, key);
    fields[i].code = v ? SUCCESS : NOT_SUPPORTED;
    if (v && strchr(v->text, '!')) fields[i].code = atoi(v->text);
    else if (v) {
      char *colon = strchr(v->text, ':'); fields[i].type = atoi(v->text); fields[i].latency = 5;
      double more = v->rate ? v->rate * (now() - v->since) : 0;
      unsigned long long u = strtoull(colon + 1, NULL, 10) + (unsigned long long)more;
      long long s = strtoll(colon + 1, NULL, 10);
      switch (fields[i].type) {
        case 0: fields[i].value.d = strtod(colon + 1, NULL) + more; break;
        case 1: fields[i].value.u32 = (unsigned)u; break;
        case 2: fields[i].value.ul = u; break;
        case 3: fields[i].value.u64 = u; break;
        case 4: fields[i].value.i64 = s; break;
        case 5: fields[i].value.i32 = (int)s; break;
        default: fields[i].value.u16 = (unsigned short)u;
      }
    }
    pthread_mutex_unlock(&lock);
  } })

typedef struct { unsigned long long time; Number value; } SampleOut;
_Static_assert(sizeof(SampleOut) == 16, "sample");
int nvmlDeviceGetSamples(Device *d, unsigned kind, unsigned long long last, unsigned *type, unsigned *n, SampleOut *out) BODY(nvmlDeviceGetSamples, d, {
  unsigned room = *n, found = 0; *type = 1;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < d->sample_count; i++) {
    Sample *s = &d->samples[i];
    if (s->kind != kind || s->time <= last) continue;
    if (out && found < room) { memset(&out[found], 0xAA, sizeof *out); out[found].time = s->time; out[found].value.u32 = s->value; }
    found++;
  }
  if (!d->sample_count) { code = find(d, "samples") ? NOT_FOUND : NOT_SUPPORTED; }
  else if (!found) code = NOT_FOUND;
  else if (out && found > room) code = INSUFFICIENT_SIZE;
  *n = out ? (found > room ? room : found) : found;
  pthread_mutex_unlock(&lock); })

typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } ProcessInfo;
_Static_assert(sizeof(ProcessInfo) == 24, "process");
#ifndef HIDE_nvmlDeviceGetComputeRunningProcesses_v3
int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *n, ProcessInfo *out) BODY(nvmlDeviceGetComputeRunningProcesses_v3, d, {
  pthread_mutex_lock(&lock);
  unsigned found = 0; unsigned room = *n;
  for (int i = 0; i < d->process_count; i++) {
    Process *p = &d->processes[i];
    if (p->has_sm) continue;
    if (out && found < room) { out[found].pid = p->pid; out[found].memory = p->has_memory ? p->memory : ~0ull; out[found].gi = out[found].ci = ~0u; }
    found++;
  }
  *n = found;
  if (found > room) code = INSUFFICIENT_SIZE;
  pthread_mutex_unlock(&lock); })
#endif
typedef struct { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; } ProcessSample;
_Static_assert(sizeof(ProcessSample) == 32, "process utilization");
int nvmlDeviceGetProcessUtilization(Device *d, ProcessSample *out, unsigned *n, unsigned long long last) BODY(nvmlDeviceGetProcessUtilization, d, {
  pthread_mutex_lock(&lock);
  unsigned found = 0; unsigned room = out ? *n : 0;
  for (int i = 0; i < d->process_count; i++) {
    Process *p = &d->processes[i];
    if (!p->has_sm || p->time <= last) continue;
    if (found < room) { memset(&out[found], 0, sizeof *out); out[found].pid = p->pid; out[found].time = p->time; out[found].sm = p->sm; }
    found++;
  }
  *n = found;
  code = !found ? NOT_FOUND : found > room ? INSUFFICIENT_SIZE : SUCCESS;
  pthread_mutex_unlock(&lock); })

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) BODY(nvmlDeviceGetMigMode, d, {
  uint64_t n; code = whole(d, "mig", &n); if (!code) *current = *pending = n; })
int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *out) BODY(nvmlDeviceGetMaxMigDeviceCount, d, { *out = INSTANCES; })
int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned i, Device **out) BODY(nvmlDeviceGetMigDeviceHandleByIndex, d, {
  Device *m = i < INSTANCES ? &instances[d->number][i] : NULL; if (m && m->is_there) *out = m; else code = NOT_FOUND; })
NUMBER(nvmlDeviceGetGpuInstanceId, unsigned, "gi")
NUMBER(nvmlDeviceGetComputeInstanceId, unsigned, "ci")
int nvmlDeviceIsMigDeviceHandle(Device *d, unsigned *out) BODY(nvmlDeviceIsMigDeviceHandle, d, { *out = d->parent >= 0; })
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *d, Device **out) BODY(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, d, { *out = &devices[d->number]; })

typedef struct { Device *device; unsigned long long type, data; unsigned gi, ci; } EventData;
_Static_assert(sizeof(EventData) == 32, "event");
NUMBER(nvmlDeviceGetSupportedEventTypes, unsigned long long, "event_types")
int nvmlEventSetCreate(void **out) BODY(nvmlEventSetCreate, NULL, { *out = malloc(1); })
int nvmlEventSetFree(void *set) BODY(nvmlEventSetFree, NULL, { free(set); })
int nvmlDeviceRegisterEvents(Device *d, unsigned long long types, void *set) BODY(nvmlDeviceRegisterEvents, d, { (void)types; (void)set; registered[d->number] = 1; })
int nvmlEventSetWait_v2(void *set, EventData *out, unsigned ms) BODY(nvmlEventSetWait_v2, NULL, {
  (void)set; code = TIMEOUT;
  for (unsigned waited = 0; code == TIMEOUT && waited < ms; waited += 10) {
    pthread_mutex_lock(&lock);
    reread();
    if (!is_open) code = UNINITIALIZED;
    /* The file's events happen once each, in their order. */
    else if (events_taken < event_count) {
      Event *e = &events[events_taken++];
      memset(out, 0, sizeof *out);
      out->device = &devices[e->gpu]; out->type = 8; out->data = e->xid; out->gi = out->ci = ~0u;
      code = SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    if (code == TIMEOUT) usleep(10000);
  } })

typedef struct { unsigned version, is_supported; } GpmSupport;
typedef struct { char *short_name, *long_name, *unit; } GpmInfo;
typedef struct { unsigned id; int code; double value; GpmInfo info; } GpmMetric;
typedef struct { unsigned version, count; void *first, *second; GpmMetric metrics[477]; } GpmMetrics;
_Static_assert(sizeof(GpmMetric) == 40 && sizeof(GpmMetrics) == 19104, "GPM");
#ifndef HIDE_nvmlGpmQueryDeviceSupport
int nvmlGpmQueryDeviceSupport(Device *d, GpmSupport *out) BODY(nvmlGpmQueryDeviceSupport, d, {
  uint64_t n = 0; if (out->version != 1) code = VERSION_MISMATCH; else { whole(d, "gpm", &n); out->is_supported = n; } })
#endif
typedef struct { Device *device; double taken; } GpmSample;
int nvmlGpmSampleAlloc(GpmSample **out) BODY(nvmlGpmSampleAlloc, NULL, { *out = calloc(1, sizeof **out); })
int nvmlGpmSampleFree(GpmSample *s) BODY(nvmlGpmSampleFree, NULL, { free(s); })
int nvmlGpmSampleGet(Device *d, GpmSample *s) BODY(nvmlGpmSampleGet, d, { s->device = d; s->taken = now(); })
int nvmlGpmMigSampleGet(Device *d, unsigned gi, GpmSample *s) BODY(nvmlGpmMigSampleGet, d, {
  code = NOT_FOUND;
  for (int i = 0; i < INSTANCES; i++) {
    uint64_t id; Device *m = &instances[d->number][i];
    if (m->is_there && !whole(m, "gi", &id) && id == gi) { s->device = m; s->taken = now(); code = SUCCESS; }
  } })
int nvmlGpmMetricsGet(GpmMetrics *all) BODY(nvmlGpmMetricsGet, NULL, {
  GpmSample *first = all->first; GpmSample *second = all->second;
  if (all->version != 1) code = VERSION_MISMATCH;
  else if (second->taken - first->taken < 0.1) code = INVALID_ARGUMENT;
  else for (unsigned i = 0; i < all->count; i++) {
    char key[32]; snprintf(key, sizeof key, "gpm%u", all->metrics[i].id);
    all->metrics[i].code = number(second->device, key, &all->metrics[i].value);
  } })
