# The same work through libvirt's Python bindings; commands and answers as in peer.c.
import os
import resource
import sys
import threading
import time

import libvirt

conn = None
now = time.monotonic_ns


def user():
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_utime * 1e9)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def repeat(what, count, warm):
    for _ in range(warm):
        what()
    took = []
    cpu = user()
    for _ in range(count):
        start = now()
        what()
        took.append(now() - start)
    cpu = user() - cpu
    took.sort()
    return took[count // 2], cpu // count, took[-1]


def volume(name):
    return conn.storagePoolLookupByName("p").storageVolLookupByName(name)


def download(name, sparse):
    stream = conn.newStream()
    length = 0

    def taken(_, data, __):
        nonlocal length
        length += len(data)

    def passed(_, size, __):
        nonlocal length
        length += size

    cpu, start = user(), now()
    flags = libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM if sparse else 0
    volume(name).download(stream, 0, 0, flags)
    if sparse:
        stream.sparseRecvAll(taken, passed, None)
    else:
        stream.recvAll(taken, None)
    stream.finish()
    return now() - start, user() - cpu, length


def upload(name, length):
    stream = conn.newStream()
    left = length

    def given(_, size, __):
        nonlocal left
        size = min(size, left)
        left -= size
        return b"Z" * size

    cpu, start = user(), now()
    volume(name).upload(stream, 0, 0, 0)
    stream.sendAll(given, None)
    stream.finish()
    return now() - start, user() - cpu, length


def download_file(name, path, sparse):
    stream = conn.newStream()
    cpu, start = user(), now()
    flags = libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM if sparse else 0
    with open(path, "wb", buffering=0) as file:

        def written(_, data, __):
            return file.write(data)

        def hollow(_, length, __):
            file.truncate(file.seek(length, os.SEEK_CUR))

        volume(name).download(stream, 0, 0, flags)
        if sparse:
            stream.sparseRecvAll(written, hollow, None)
        else:
            stream.recvAll(written, None)
        stream.finish()
        length = file.seek(0, os.SEEK_END)
    return now() - start, user() - cpu, length


def upload_file(name, path):
    stream = conn.newStream()
    cpu, start = user(), now()
    with open(path, "rb", buffering=0) as file:

        def given(_, length, __):
            return file.read(length)

        def next_part(_, __):
            place = file.tell()
            try:
                data = file.seek(place, os.SEEK_DATA)
            except OSError:
                data = file.seek(0, os.SEEK_END)
                is_data = False
            else:
                is_data = data == place
            end = file.seek(place, os.SEEK_HOLE) if is_data else data
            file.seek(place)
            return is_data, end - place

        def skipped(_, length, __):
            return file.seek(length, os.SEEK_CUR)

        volume(name).upload(stream, 0, 0, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        stream.sparseSendAll(given, next_part, skipped, None)
        stream.finish()
        length = file.tell()
    return now() - start, user() - cpu, length


def opened(uri, count):
    took = []
    for _ in range(count):
        start = now()
        fresh = libvirt.open(uri)
        fresh.getLibVersion()
        took.append(now() - start)
        fresh.close()
    took.sort()
    return took[count // 2], 0, 0


def together(callers, count):
    def caller():
        for _ in range(count):
            conn.getLibVersion()

    conn.getLibVersion()
    threads = [threading.Thread(target=caller) for _ in range(callers)]
    cpu, start = user(), now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (now() - start) // callers // count, (user() - cpu) // callers // count, 0


def stall():
    volumes = [volume("w%d" % n) for n in range(5)]
    threads = [threading.Thread(target=each.wipe) for each in volumes]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    start = now()
    conn.getLibVersion()
    took = now() - start
    for thread in threads:
        thread.join()
    return took, 0, now() - start


def unread(name, count):
    stream = conn.newStream()
    before = resident()
    volume(name).download(stream, 0, 0, 0)
    stream.recv(4096)
    took = []
    for _ in range(count):
        start = now()
        conn.getLibVersion()
        took.append(now() - start)
    worst = max(took)
    took.sort()
    result = took[count // 2], worst, resident() - before
    stream.abort()
    return result


for line in sys.stdin:
    words = line.split()
    what = words[0]
    if what == "open":
        if conn:
            conn.close()
        conn = libvirt.open(words[1])
        answer = 0, 0, 0
    elif what == "calls":
        answer = repeat(lambda: conn.getLibVersion(), int(words[1]), 200)
    elif what == "list":
        answer = repeat(lambda: conn.listAllDomains(0), int(words[1]), 1)
    elif what == "stats":
        answer = repeat(lambda: conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE), int(words[1]), 1)
    elif what in ("download", "sparse"):
        answer = download(words[1], what == "sparse")
    elif what == "upload":
        answer = upload(words[1], int(words[2]))
    elif what in ("download_file", "sparse_file"):
        answer = download_file(words[1], words[2], what == "sparse_file")
    elif what == "upload_file":
        answer = upload_file(words[1], words[2])
    elif what == "connect":
        answer = opened(words[1], int(words[2]))
    elif what == "together":
        answer = together(int(words[1]), int(words[2]))
    elif what == "stall":
        answer = stall()
    elif what == "unread":
        answer = unread(words[1], int(words[2]))
    else:
        sys.exit(1)
    print(*answer, flush=True)
