"""A client of `orders.service.v1` as another program would be: stubs made of the .proto files, and reflection.

Usage: client.py ADDRESS FOLDER-OF-STUBS [TOKEN]. Says what it checked; ends with an error when something is not so.
"""

import json
import sys
import uuid

import grpc

address, stubs = sys.argv[1], sys.argv[2]
metadata = [("authorization", f"Bearer {sys.argv[3]}")] if len(sys.argv) > 3 else []
sys.path.insert(0, stubs)

from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # noqa: E402
from orders.service.v1 import orders_service_pb2 as pb  # noqa: E402
from orders.service.v1 import orders_service_pb2_grpc  # noqa: E402

channel = grpc.insecure_channel(address)
orders = orders_service_pb2_grpc.OrdersServiceStub(channel)
user = str(uuid.uuid4())
checked = 0


def same(found, expected):
    global checked
    assert found == expected, f"{found!r} is not {expected!r}"
    checked += 1


def refused(call, request, code, metadata=metadata):
    try:
        call(request, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        same(error.code(), code)
        return error
    raise AssertionError(f"{request!r} is not refused")


same(orders.Health(pb.HealthRequest()).status, "ok")
same(
    health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="orders.service.v1.OrdersService")).status,
    health_pb2.HealthCheckResponse.SERVING,
)
ask = reflection_pb2.ServerReflectionRequest(list_services="")
told = next(iter(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))))
services = {service.name for service in told.list_services_response.service}
same({"orders.service.v1.OrdersService", "grpc.health.v1.Health"} <= services, True)
ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol="orders.models.v1.OrderModel")
told = next(iter(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))))
same(len(told.file_descriptor_response.file_descriptor_proto) > 0, True)

payload = {"id": "external-123", "items": [{"price": 9.95, "qty": 2}]}


def put(**fields):
    request = pb.UpsertOrderRequest(**{"user_id": user, **fields})
    return orders.UpsertOrder(request, metadata=metadata, timeout=60)


made = put(order_id="0", payload_json=json.dumps(payload))
same(made.status, "created")
found = orders.GetOrderByID(pb.GetOrderByIDRequest(order_id=made.order_id), metadata=metadata).order
same((found.order_id, found.user_id, found.amount, found.status), (made.order_id, user, 19.9, "done"))
same((json.loads(found.payload_json), found.bucket), (payload, uuid.UUID(made.order_id).bytes[0] % 4))
request = pb.GetOrderByExternalIDRequest(external_id="external-123", user_id=user)
same(orders.GetOrderByExternalID(request, metadata=metadata).order, found)
same(put(order_id=made.order_id, payload_json='{"amount": 1}').status, "updated")
same(put(order_id=made.order_id, status="deleted").status, "deleted")

again = pb.UpsertOrderRequest(order_id=made.order_id, user_id=user, status="deleted")
gone = refused(orders.UpsertOrder, again, grpc.StatusCode.FAILED_PRECONDITION)
same("grpc-status-details-bin" in dict(gone.trailing_metadata()), True)
refused(orders.GetOrderByID, pb.GetOrderByIDRequest(order_id=str(uuid.uuid4())), grpc.StatusCode.NOT_FOUND)
refused(orders.GetOrderByID, pb.GetOrderByIDRequest(order_id="17"), grpc.StatusCode.INVALID_ARGUMENT)
bad = pb.UpsertOrderRequest(user_id=user, payload_json='{"amount": "a lot"}')
refused(orders.UpsertOrder, bad, grpc.StatusCode.INVALID_ARGUMENT)
large = pb.UpsertOrderRequest(user_id=user, payload_json=json.dumps({"a": "x" * 300_000}))
refused(orders.UpsertOrder, large, grpc.StatusCode.RESOURCE_EXHAUSTED)
if metadata:
    refused(orders.GetOrderByID, pb.GetOrderByIDRequest(order_id=made.order_id), grpc.StatusCode.UNAUTHENTICATED, [])
print(f"{checked} checks of gRPC hold")
