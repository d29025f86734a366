"""Decoding by several threads at once."""

import subprocess
import sys


def test_threads_that_decode_a_type_for_the_first_time_do_not_end_the_process() -> None:
    script = """
import sys, threading
import msgspec
from agent.schema.document import parse_json, parse_msgpack, to_json

sys.setswitchinterval(1e-6)
for round in range(100):
    kind, value = int, 1
    for depth in range(12):
        fields = [("a", kind), ("b", list[kind])]
        kind, value = msgspec.defstruct(f"S{round}_{depth}", fields), {"a": value, "b": []}
    jobs = [(parse_json, to_json(value)), (parse_msgpack, msgspec.msgpack.encode(value))] * 2
    barrier = threading.Barrier(len(jobs))

    def decode(parse, data):
        barrier.wait()
        parse(data, kind)

    threads = [threading.Thread(target=decode, args=job) for job in jobs]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-500:]
    assert not ended.stderr
