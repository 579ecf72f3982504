"""A small MCP server over standard streams, which does on cue what real ones do by accident.

Its one argument, when it has one, is a file: what stands in it is the description of the tool `changing`.
"""

import json
import os
import sys

CHANGING = sys.argv[1] if len(sys.argv) > 1 else None


def description():
    if CHANGING is None:
        return "Always the same."
    with open(CHANGING, encoding="utf-8") as file:
        return file.read().strip()


def where():
    with open("/proc/net/dev", encoding="utf-8") as file:
        devices = [line.split(":")[0].strip() for line in file if ":" in line]
    return json.dumps({"host": os.uname().nodename, "user": os.getuid(), "devices": devices, "names": sorted(os.environ)})


def die():
    os._exit(3)


# Name: what it does, and whether it may be called again.
TOOLS = {
    "changing": (lambda: "It was called.", True),
    "die": (die, False),
    "pid": (lambda: str(os.getpid()), True),
    "secret_length": (lambda: str(len(os.environ.get("TOKEN", ""))), True),
    "tell": (lambda: "It is " + os.environ.get("TOKEN", "") + ".", True),
    "where": (where, True),
}


def tools():
    for name, (_, again) in TOOLS.items():
        text = description() if name == "changing" else f"Does {name}."
        yield {
            "name": name,
            "description": text,
            "inputSchema": {"type": "object", "properties": {}},
            "annotations": {"readOnlyHint": again, "idempotentHint": again},
        }


def answer(method, params):
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": list(tools())}
    if method == "tools/call" and params.get("name") in TOOLS:
        return {"content": [{"type": "text", "text": TOOLS[params["name"]][0]()}]}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if result is None:
        reply["error"] = {"code": -32601, "message": "There is no such thing here."}
    else:
        reply["result"] = result
    print(json.dumps(reply), flush=True)
