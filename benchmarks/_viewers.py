"""Viewers of a live view, in a process of their own: python _viewers.py URL COUNT [SILENT], until standard input ends.

Each takes what comes and acknowledges it as the page does; the last SILENT of them open the WebSocket and read nothing.
Prints the number of pictures that each reader got.
"""

from __future__ import annotations

import json
import sys
import threading
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


def watch(connection: ClientConnection, index: int, counts: list[int]) -> None:
    """Take messages until the connection ends."""
    try:
        for message in connection:
            counts[index] += isinstance(message, bytes)
            connection.send("")
    except ConnectionClosed:
        return


def main() -> None:
    url, count, silent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    place = urlsplit(url)
    counts = [0] * (count - silent)
    connections = [
        connect(f"ws://{place.netloc}/api/live", origin=f"{place.scheme}://{place.netloc}", max_size=None)
        for _ in range(count)
    ]
    for index, connection in enumerate(connections[: count - silent]):
        threading.Thread(target=watch, args=(connection, index, counts), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
