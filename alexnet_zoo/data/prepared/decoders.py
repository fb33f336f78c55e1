"""Runs a pool of decoding processes, each of picture.py; a thread each feeds and reads them."""

import base64
import json
import queue
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from alexnet_zoo.errors import UserError

# Not multiprocessing: its spawned workers import the caller's main module and this package, and with them torch.
PROGRAM = [sys.executable, "-P", str(Path(__file__).with_name("picture.py"))]


class Decoders:
    """Starts `workers` processes that decode photographs into shards; a context manager, which ends them all.

    submit(task) takes the arguments of picture.fill as a dict and returns a Future of its answer. "files" may be any
    sequence, and hold encoded images as bytes: it is read only when a process is free to take it.
    """

    def __init__(self, workers: int):
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.processes = [subprocess.Popen(PROGRAM, text=True, **pipes) for _ in range(workers)]
        self.idle: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
        for process in self.processes:
            self.idle.put(process)
        self.threads = ThreadPoolExecutor(workers)

    def submit(self, task: dict) -> Future:
        return self.threads.submit(self._ask, task)

    def _ask(self, task: dict) -> dict[str, list]:
        process = self.idle.get()
        try:
            task = task | {"files": [_sendable(file) for file in task["files"]]}
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            self.idle.put(process)
        if not answer:
            first = task["files"][0]
            what = "an image" if isinstance(first, dict) else first if isinstance(first, str) else first[0]
            raise UserError(f"{what}: the process that decoded it and the next images died ({ending(process)})")
        answer = json.loads(answer)
        if "failed" in answer:
            raise UserError(f"{task['shard']}: cannot be written ({answer['failed']})")
        return answer

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *exc_info) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        for process in self.processes:
            process.communicate()  # closes its stdin, which ends it


def _sendable(file):
    return {"base64": base64.b64encode(file).decode()} if isinstance(file, bytes) else file


def ending(process: subprocess.Popen) -> str:
    """Say how a process ended, once it has."""
    code = process.wait()
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
