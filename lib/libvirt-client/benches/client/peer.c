/* The same work through libvirt's own C client. Commands come as lines, each is answered with one line of numbers: nanoseconds
   (a median, or the whole) and user CPU in nanoseconds, of one operation unless the command says otherwise. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static virConnectPtr conn;

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long user(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1000000000L + usage.ru_utime.tv_usec * 1000L;
}

static long resident(void)
{
    long size = 0, pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm && fscanf(statm, "%ld %ld", &size, &pages) != 2)
        pages = 0;
    if (statm)
        fclose(statm);
    return pages * sysconf(_SC_PAGESIZE);
}

static int ascending(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static void call(void)
{
    unsigned long version;
    if (virConnectGetLibVersion(conn, &version) < 0)
        exit(1);
}

static void list(void)
{
    virDomainPtr *domains;
    int count = virConnectListAllDomains(conn, &domains, 0);
    for (int i = 0; i < count; i++)
        virDomainFree(domains[i]);
    if (count < 0)
        exit(1);
    free(domains);
}

static void stats(void)
{
    virDomainStatsRecordPtr *records;
    if (virConnectGetAllDomainStats(conn, VIR_DOMAIN_STATS_STATE, &records, 0) < 0)
        exit(1);
    virDomainStatsRecordListFree(records);
}

static void repeat(void (*what)(void), int count, int warm)
{
    long *took = calloc(count, sizeof *took), cpu;
    for (int i = 0; i < warm; i++)
        what();
    cpu = user();
    for (int i = 0; i < count; i++) {
        long start = now();
        what();
        took[i] = now() - start;
    }
    cpu = user() - cpu;
    qsort(took, count, sizeof *took, ascending);
    printf("%ld %ld %ld\n", took[count / 2], cpu / count, took[count - 1]);
    free(took);
}

static virStorageVolPtr volume(const char *name)
{
    virStoragePoolPtr pool = virStoragePoolLookupByName(conn, "p");
    return pool ? virStorageVolLookupByName(pool, name) : NULL;
}

static int taken(virStreamPtr stream, const char *data, size_t length, void *opaque)
{
    (void)stream, (void)data;
    *(long *)opaque += length;
    return length;
}

static int passed(virStreamPtr stream, long long length, void *opaque)
{
    (void)stream;
    *(long *)opaque += length;
    return 0;
}

static int given(virStreamPtr stream, char *data, size_t length, void *opaque)
{
    long *left = opaque;
    (void)stream;
    if ((long)length > *left)
        length = *left;
    memset(data, 0x5a, length);
    *left -= length;
    return length;
}

static void download(const char *name, int sparse)
{
    virStreamPtr stream = virStreamNew(conn, 0);
    long length = 0, cpu = user(), start = now();
    if (virStorageVolDownload(volume(name), stream, 0, 0, sparse ? VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM : 0) < 0)
        exit(1);
    if (sparse ? virStreamSparseRecvAll(stream, taken, passed, &length) : virStreamRecvAll(stream, taken, &length))
        exit(1);
    virStreamFinish(stream);
    printf("%ld %ld %ld\n", now() - start, user() - cpu, length);
    virStreamFree(stream);
}

static void upload(const char *name, long length)
{
    virStreamPtr stream = virStreamNew(conn, 0);
    long cpu = user(), start = now(), left = length;
    if (virStorageVolUpload(volume(name), stream, 0, 0, 0) < 0 || virStreamSendAll(stream, given, &left))
        exit(1);
    virStreamFinish(stream);
    printf("%ld %ld %ld\n", now() - start, user() - cpu, length);
    virStreamFree(stream);
}

static int written(virStreamPtr stream, const char *data, size_t length, void *opaque)
{
    (void)stream;
    return write(*(int *)opaque, data, length);
}

static int hollow(virStreamPtr stream, long long length, void *opaque)
{
    int file = *(int *)opaque;
    off_t place = lseek(file, length, SEEK_CUR);
    (void)stream;
    return place < 0 ? -1 : ftruncate(file, place);
}

static void download_file(const char *name, const char *path, int sparse)
{
    virStreamPtr stream = virStreamNew(conn, 0);
    long cpu = user(), start = now(), length;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (virStorageVolDownload(volume(name), stream, 0, 0, sparse ? VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM : 0) < 0)
        exit(1);
    if (sparse ? virStreamSparseRecvAll(stream, written, hollow, &file) : virStreamRecvAll(stream, written, &file))
        exit(1);
    virStreamFinish(stream);
    length = lseek(file, 0, SEEK_END);
    close(file);
    printf("%ld %ld %ld\n", now() - start, user() - cpu, length);
    virStreamFree(stream);
}

static int read_from(virStreamPtr stream, char *data, size_t length, void *opaque)
{
    (void)stream;
    return read(*(int *)opaque, data, length);
}

/* Whether data or a hole is next, and how much of it; nothing at the end. */
static int next_part(virStreamPtr stream, int *is_data, long long *length, void *opaque)
{
    int file = *(int *)opaque;
    off_t place = lseek(file, 0, SEEK_CUR), data = lseek(file, place, SEEK_DATA), end;
    (void)stream;
    *is_data = data == place;
    end = *is_data ? lseek(file, place, SEEK_HOLE) : data < 0 ? lseek(file, 0, SEEK_END) : data;
    *length = end - place;
    return lseek(file, place, SEEK_SET) < 0 ? -1 : 0;
}

static int skipped(virStreamPtr stream, long long length, void *opaque)
{
    (void)stream;
    return lseek(*(int *)opaque, length, SEEK_CUR) < 0 ? -1 : 0;
}

static void upload_file(const char *name, const char *path)
{
    virStreamPtr stream = virStreamNew(conn, 0);
    long cpu = user(), start = now(), length;
    int file = open(path, O_RDONLY);
    if (virStorageVolUpload(volume(name), stream, 0, 0, VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM) < 0)
        exit(1);
    if (virStreamSparseSendAll(stream, read_from, next_part, skipped, &file))
        exit(1);
    virStreamFinish(stream);
    length = lseek(file, 0, SEEK_CUR);
    close(file);
    printf("%ld %ld %ld\n", now() - start, user() - cpu, length);
    virStreamFree(stream);
}

static void opened(const char *uri, int count)
{
    long *took = calloc(count, sizeof *took);
    for (int i = 0; i < count; i++) {
        unsigned long version;
        long start = now();
        virConnectPtr fresh = virConnectOpen(uri);
        if (!fresh || virConnectGetLibVersion(fresh, &version) < 0)
            exit(1);
        took[i] = now() - start;
        virConnectClose(fresh);
    }
    qsort(took, count, sizeof *took, ascending);
    printf("%ld 0 0\n", took[count / 2]);
    free(took);
}

static void *wipe(void *name)
{
    if (virStorageVolWipe(volume(name), 0) < 0)
        exit(1);
    return NULL;
}

static void stall(void)
{
    static char names[5][3] = {"w0", "w1", "w2", "w3", "w4"};
    pthread_t threads[5];
    long start, took;
    for (int i = 0; i < 5; i++)
        pthread_create(&threads[i], NULL, wipe, names[i]);
    usleep(20000);
    start = now();
    call();
    took = now() - start;
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    printf("%ld 0 %ld\n", took, now() - start);
}

static int each;

static void *caller(void *unused)
{
    (void)unused;
    for (int i = 0; i < each; i++)
        call();
    return NULL;
}

static void together(int callers, int count)
{
    pthread_t *threads = calloc(callers, sizeof *threads);
    long cpu, start;
    each = count;
    call();
    cpu = user();
    start = now();
    for (int i = 0; i < callers; i++)
        pthread_create(&threads[i], NULL, caller, NULL);
    for (int i = 0; i < callers; i++)
        pthread_join(threads[i], NULL);
    printf("%ld %ld 0\n", (now() - start) / callers / count, (user() - cpu) / callers / count);
    free(threads);
}

static void unread(const char *name, int count)
{
    virStreamPtr stream = virStreamNew(conn, 0);
    char piece[4096];
    long before = resident(), worst = 0, *took = calloc(count, sizeof *took);
    if (virStorageVolDownload(volume(name), stream, 0, 0, 0) < 0 || virStreamRecv(stream, piece, sizeof piece) < 0)
        exit(1);
    for (int i = 0; i < count; i++) {
        long start = now();
        call();
        took[i] = now() - start;
        worst = took[i] > worst ? took[i] : worst;
    }
    qsort(took, count, sizeof *took, ascending);
    printf("%ld %ld %ld\n", took[count / 2], worst, resident() - before);
    free(took);
    virStreamAbort(stream);
    virStreamFree(stream);
}

int main(void)
{
    char line[4096], what[32], first[2048], second[2048];
    while (fgets(line, sizeof line, stdin)) {
        int words = sscanf(line, "%31s %2047s %2047s", what, first, second);
        long number = words == 3 ? atol(second) : 0;
        if (words < 2)
            return 1;
        if (!strcmp(what, "open")) {
            if (conn)
                virConnectClose(conn);
            if (!(conn = virConnectOpen(first)))
                return 1;
            printf("0 0 0\n");
        } else if (!strcmp(what, "calls"))
            repeat(call, atoi(first), 200);
        else if (!strcmp(what, "list"))
            repeat(list, atoi(first), 1);
        else if (!strcmp(what, "stats"))
            repeat(stats, atoi(first), 1);
        else if (!strcmp(what, "download"))
            download(first, 0);
        else if (!strcmp(what, "sparse"))
            download(first, 1);
        else if (!strcmp(what, "upload") && words == 3)
            upload(first, number);
        else if (!strcmp(what, "download_file") && words == 3)
            download_file(first, second, 0);
        else if (!strcmp(what, "sparse_file") && words == 3)
            download_file(first, second, 1);
        else if (!strcmp(what, "upload_file") && words == 3)
            upload_file(first, second);
        else if (!strcmp(what, "connect") && words == 3)
            opened(first, number);
        else if (!strcmp(what, "together") && words == 3)
            together(atoi(first), number);
        else if (!strcmp(what, "stall"))
            stall();
        else if (!strcmp(what, "unread") && words == 3)
            unread(first, number);
        else
            return 1;
        fflush(stdout);
    }
    return 0;
}
