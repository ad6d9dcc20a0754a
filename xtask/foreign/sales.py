"""The other end of the queues of `sales`, as a delivery service in another language would be.

Usage: sales.py AMQP-URL HTTP-URL TOKEN CREATED SHIPPED DELIVERED. Says what it checked; ends with an error when something is
not so. sales.py AMQP-URL forget EXCHANGE CREATED SHIPPED DELIVERED takes all of it away again.
"""

import json
import sys
import time
import urllib.request
import uuid

import pika

amqp, http, token, created, shipped, delivered = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(amqp))
channel = connection.channel()
if http == "forget":
    for queue in (created, shipped, delivered):
        for end in ("", ".dlq", ".retry.100", ".retry.200"):
            channel.queue_delete(queue + end)
    for exchange in (token, created):
        channel.exchange_delete(exchange)
    sys.exit()
channel.confirm_delivery()
checked = 0
PATIENCE = 60


def same(found, expected):
    global checked
    assert found == expected, f"{found!r} is not {expected!r}"
    checked += 1


def ask(path, body=None):
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(http + path, data, headers), timeout=PATIENCE) as reply:
        return reply.status, json.load(reply)


def until(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        connection.sleep(0.1)
    raise AssertionError(f"waited in vain for {what}")


def take(queue):
    def look():
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        return None if method is None else (properties, body)

    return until(f"a message in {queue}", look)


def order_is(status):
    def look():
        found = ask(f"/api/v1/orders/{order_id}")[1]
        return found if found["status"] == status else None

    return until(status, look)


def send(queue, body, **properties):
    channel.basic_publish("", queue, body, pika.BasicProperties(**properties), mandatory=True)


# As existing programs declare them: durable, and nothing else said. Other arguments would close the channel.
for queue in (created, shipped, delivered):
    channel.queue_declare(queue, durable=True)
channel.exchange_declare(created, exchange_type="topic", durable=True)
own = channel.queue_declare("", exclusive=True).method.queue
channel.queue_bind(own, created, routing_key="order.created")

sale = {"idempotency_key": str(uuid.uuid4()), "user_id": str(uuid.uuid4()), "product_id": str(uuid.uuid4()), "quantity": 2}
status, made = ask("/api/v1/orders", sale)
same(status, 201)
order_id = made["order_id"]
shown = ask(f"/api/v1/orders/{order_id}")[1]
for queue in (created, own):
    properties, body = take(queue)
    told = json.loads(body)
    same((told["event_type"], told["order_id"], told["data"]), ("OrderCreated", order_id, shown))
    same({name: told[name] for name in ("user_id", "product_id", "quantity")}, {name: sale[name] for name in ("user_id", "product_id", "quantity")})
    same((told["status"], told["created_at"]), ("Pending Shipment", shown["created_at"]))
    same((properties.content_type, properties.delivery_mode, properties.message_id), ("application/json", 2, told["event_id"]))

# Bare, without an id and without a content type, as existing senders do.
send(shipped, json.dumps({"order_id": order_id, "status": "Shipped", "tracking_number": "T-1", "shipped_at": "2026-01-02T03:04:05.678Z"}))
same(order_is("Shipped")["shipped_at"], "2026-01-02T03:04:05.678Z")
# The envelope, and once more.
at = "2026-01-03T03:04:05.678Z"
data = {"order_id": order_id, "status": "Delivered", "delivered_at": at}
envelope = {"event_id": str(uuid.uuid4()), "event_type": "OrderDelivered", "order_id": order_id, "timestamp": at, "data": data}
for _ in range(2):
    send(delivered, json.dumps(envelope), content_type="application/json", delivery_mode=2)
same(order_is("Delivered")["delivered_at"], at)

# What cannot be read is a dead letter at once, as it came, with the reason; what is unknown is one in the end.
unknown = json.dumps({"order_id": str(uuid.uuid4()), "status": "Shipped"})
for text in ("no JSON {", unknown):
    send(shipped, text, headers={"tenant": "acme"}, correlation_id="c-1")
    properties, body = take(f"{shipped}.dlq")
    same((body.decode(), properties.correlation_id, properties.headers["tenant"]), (text, "c-1", "acme"))
    same(bool(properties.headers["x-wellorder-reason"]), True)

connection.close()
print(f"{checked} checks of queues hold")
