"""What only the process itself can tell: its tasks, timers and objects.

Python imports this at the start of every process that has this folder in PYTHONPATH, so a spawned
worker has it too. It answers one question a connection, on `probe-PID.sock` in the folder that
SOAK_FOLDER names.

Rules of this file: one thread that sleeps until it is asked; nothing of the gateway is imported.
"""

import gc
import json
import os
import socket
import threading
from asyncio import Task
from collections import Counter
from typing import Any

SIZED = (dict, list, set)
MANY = 1000  # entries from which on a container is named


def state() -> dict[str, Any]:
    """Count what is alive after a collection. Cost: some 50 ms, in which the loop stands still."""
    gc.collect()
    alive = gc.get_objects()
    tasks = [each for each in alive if type(each) is Task and not each.done()]
    kinds = Counter(type(each).__name__ for each in alive)
    large = [len(each) for each in alive if type(each) in SIZED and len(each) >= MANY]
    entries = sum(len(each) for each in alive if type(each) in SIZED)
    return {
        "tasks": Counter(getattr(each.get_coro(), "__qualname__", "?") for each in tasks),
        "timers": kinds["TimerHandle"],
        "objects": len(alive),
        "entries": entries,
        "kinds": dict(kinds.most_common(60)),
        "large": sorted(large, reverse=True)[:20],
    }


def listen(folder: str) -> None:
    """Answer until the process ends."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/probe-{os.getpid()}.sock")
        listener.listen()
        while True:
            asking, _ = listener.accept()
            with asking:
                asking.sendall(json.dumps(state()).encode())


if folder := os.environ.get("SOAK_FOLDER"):
    threading.Thread(target=listen, args=(folder,), name="soak probe", daemon=True).start()
