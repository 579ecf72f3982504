"""A scripted model: says "Done." to whoever presents the key. `python3 -c PROGRAM PORT KEY`."""

import http.server
import json
import sys

PORT, KEY = int(sys.argv[1]), sys.argv[2]
USAGE = {"input_tokens": 3, "output_tokens": 2}


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.headers.get("x-api-key") != KEY:
            error = {"type": "error", "error": {"type": "authentication_error", "message": "this is not the key"}}
            return self.answer(401, "application/json", json.dumps(error))
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body.get("model", "m"),
                   "content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE}
        text = {"type": "text", "text": "Done."}
        if not body.get("stream"):
            return self.answer(200, "application/json", json.dumps({**message, "content": [text], "stop_reason": "end_turn"}))
        events = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Done."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
            {"type": "message_stop"},
        ]
        self.answer(200, "text/event-stream", "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events))

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Model).serve_forever()
