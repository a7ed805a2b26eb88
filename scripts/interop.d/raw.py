"""The two or three raw requests that cases need as preparation, so that one client's test does not rest on another client.

Old, non-flexible versions on purpose: they fit on a few lines.
"""

import socket
import struct


def _request(bootstrap, key, version, body):
    host, _, port = bootstrap.rpartition(":")
    header = struct.pack(">hhih", key, version, 1, -1)
    with socket.create_connection((host, int(port)), timeout=30) as conn:
        conn.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        size = struct.unpack(">i", _exactly(conn, 4))[0]
        return _exactly(conn, size)[4:]


def _exactly(conn, count):
    got = b""
    while len(got) < count:
        part = conn.recv(count - len(got))
        if not part:
            raise ConnectionError(f"closed after {len(got)} of {count} bytes")
        got += part
    return got


def _string(text):
    return struct.pack(">h", len(text)) + text.encode()


def create_topic(bootstrap, topic, partitions, **configs):
    """CreateTopics version 2, one replica; raises with Kafka's error code unless it is 0."""
    body = struct.pack(">i", 1) + _string(topic) + struct.pack(">ihi", partitions, 1, 0)
    body += struct.pack(">i", len(configs))
    for name, value in configs.items():
        body += _string(name.replace("_", ".")) + _string(str(value))
    answer = _request(bootstrap, 19, 2, body + struct.pack(">i?", 30_000, False))
    at = 4 + 4 + 2 + len(topic.encode())
    code = struct.unpack(">h", answer[at:at + 2])[0]
    if code:
        raise RuntimeError(f"CreateTopics {topic}: error code {code}")
