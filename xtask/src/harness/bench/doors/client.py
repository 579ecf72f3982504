"""What a program in a session would do at a door, and the same without one.

One argument, in JSON: `what` to do, where to go (`near`: host and port), what to ask the door for (`far`, when it is the
egress door), and how often. Prints the times in seconds and how many of its conversations were complete.
"""

import glob
import http.client
import json
import socket
import sys
import time

ASKED = json.loads(sys.argv[1])
PATIENCE = 120
BUFFER = bytearray(1 << 20)


def token():
    """The session's own token, which its agent was given; outside there is none and none is needed."""
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as environ:
                for variable in environ.read().split(b"\0"):
                    name, _, value = variable.partition(b"=")
                    if name == b"ANTHROPIC_API_KEY":
                        return value.decode()
        except OSError:
            pass
    return "not-a-key-of-anybody"


def connect():
    connection = socket.create_connection(tuple(ASKED["near"]), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far = ASKED.get("far")
    if far:
        connection.sendall(f"CONNECT {far} HTTP/1.1\r\nhost: {far}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            got = connection.recv(4096)
            if not got:
                raise SystemExit(f"the door hung up: {head}")
            head += got
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"the door refused: {head}")
    return connection


def question():
    return json.dumps(
        {
            "model": "claude-bench",
            "max_tokens": 1024,
            "stream": True,
            "messages": [{"role": "user", "content": "Say that it is done."}],
        }
    ).encode()


def headers():
    return {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": token()}


def ask(connection):
    """Asks the model once, on a connection that ends with the answer."""
    body = question()
    fields = headers() | {"host": "model", "content-length": str(len(body)), "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    connection.sendall(f"POST /v1/messages HTTP/1.1\r\n{lines}\r\n".encode() + body)


def read(connection, size):
    """So many bytes, or to the end."""
    got = 0
    while got < size:
        more = connection.recv_into(BUFFER, min(len(BUFFER), size - got))
        if not more:
            break
        got += more
    return got


def first_byte():
    """From a request on a kept connection to the first byte of the answer's body."""
    connection = http.client.HTTPConnection(*ASKED["near"], timeout=PATIENCE)
    connection.connect()
    body, fields, times = question(), headers(), []
    # The first one opens the connection to the provider.
    for _ in range(ASKED["count"] + 1):
        started = time.perf_counter()
        connection.request("POST", "/v1/messages", body, fields)
        answer = connection.getresponse()
        first = answer.read(1)
        times.append(time.perf_counter() - started)
        if answer.status != 200 or not first or b"message_stop" not in answer.read():
            raise SystemExit(f"the model answers {answer.status}")
    return times[1:], len(times) - 1


def streams():
    """So many answers at once: the model gives none before it was asked for all."""
    started = time.perf_counter()
    connections = [connect() for _ in range(ASKED["count"])]
    for connection in connections:
        ask(connection)
    complete = 0
    for connection in connections:
        answer = b""
        while more := connection.recv(1 << 16):
            answer += more
        complete += b"message_stop" in answer
    return [time.perf_counter() - started], complete


def answer():
    """One long answer, from the request to its end."""
    connection = connect()
    started = time.perf_counter()
    ask(connection)
    got = read(connection, 1 << 62)
    return [time.perf_counter() - started], int(got >= ASKED["bytes"])


def open_one():
    """From the dial until a program could speak with the host."""
    times = []
    for _ in range(ASKED["count"]):
        started = time.perf_counter()
        connection = connect()
        times.append(time.perf_counter() - started)
        connection.close()
    return times, len(times)


def open_many():
    """So many connections that are open at once, and carry bytes both ways when all of them are."""
    started = time.perf_counter()
    connections = [connect() for _ in range(ASKED["count"])]
    for connection in connections:
        connection.sendall(b"1\n")
    complete = sum(read(connection, 1) == 1 for connection in connections)
    return [time.perf_counter() - started], complete


def download():
    """So many bytes over one connection, from the request to the last one."""
    connection = connect()
    started = time.perf_counter()
    connection.sendall(f"{ASKED['bytes']}\n".encode())
    got = read(connection, ASKED["bytes"])
    return [time.perf_counter() - started], int(got == ASKED["bytes"])


DEEDS = {deed.__name__: deed for deed in (first_byte, streams, answer, open_one, open_many, download)}
times, complete = DEEDS[ASKED["what"]]()
print(json.dumps({"seconds": times, "complete": complete}))
