# The same commands through python's qemu.qmp. Reads `serial N` or `pipelined N` and answers seconds and CPU seconds.
import asyncio
import resource
import sys
import time

from qemu.qmp import QMPClient


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def some(client, count):
    for _ in range(count):
        await client.execute("query-status")


async def main():
    client = QMPClient("bench")
    await client.connect(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        how, count = line.split()
        tasks = 1 if how == "serial" else 16
        begin, before = time.monotonic(), cpu()
        await asyncio.gather(*[some(client, int(count) // tasks) for _ in range(tasks)])
        print(time.monotonic() - begin, cpu() - before, flush=True)
    await client.disconnect()


asyncio.run(main())
