"""What a server of ours delivers, as the reference library of Standard Webhooks verifies it.

Usage: deliveries.py HTTP-URL. Makes an endpoint at a receiver of its own and an order that it hears of, and replaces the secret of the
endpoint. Says what it checked; ends with an error when the library takes what it should not, or refuses what it should take.
"""

import http.server
import json
import queue
import sys
import threading
import urllib.request
import uuid

from standardwebhooks import Webhook, WebhookVerificationError

server = sys.argv[1]
came = queue.Queue()
verified = 0


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        came.put(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def post(path, body=None):
    headers = {"content-type": "application/json"}
    data = b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server + path, data, headers, method="POST")
    return json.load(urllib.request.urlopen(request, timeout=60))


def takes(secret, delivery, expected=True, why=""):
    global verified
    headers, body = delivery
    try:
        found = Webhook(secret).verify(body, headers) is not None
    except WebhookVerificationError:
        found = False
    if found != expected:
        sys.exit(f"{why}: {'taken' if found else 'refused'}")
    verified += 1


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{receiver.server_port}/hooks"
endpoint = post("/v1/endpoints", {"url": url, "events": ["order.accepted"]})
of_it = f"/v1/endpoints/{endpoint['endpoint_id']}"
reference = f"webhook-{uuid.uuid4()} naïve ‘é’ 日本"
post("/v1/orders", {"reference": reference, "total": "19.90"})
told = came.get(timeout=60)
if json.loads(told[1])["data"]["reference"] != reference:
    sys.exit(f"another order: {told[1]}")
takes(endpoint["secret"], told, why="an event")
takes(endpoint["secret"], (told[0], told[1] + b" "), False, why="another body")
rotated = post(f"{of_it}/rotate")
post(f"{of_it}/test")
both = came.get(timeout=60)
takes(endpoint["secret"], both, why="the secret before a rotation")
takes(rotated["secret"], both, why="the secret behind a rotation")
last = post(f"{of_it}/rotate", {"grace_seconds": 0, "end_previous": True})
post(f"{of_it}/test")
alone = came.get(timeout=60)
takes(last["secret"], alone, why="the last secret")
takes(rotated["secret"], alone, False, why="a secret that has ended")
print(f"{verified} deliveries were taken or refused by the reference as they should be")
