# grpcio: calls of every kind in turn, and in JSON what each yielded.
import json
import queue
import sys
from pathlib import Path

import grpc

settings = json.loads(sys.argv[1])
PATIENCE = 20
MEGABYTE = bytes(range(256)) * 4_000
# Of one name twice, and one of bytes.
METADATA = (("note", "one"), ("note", "two"), ("note-bin", b"\x00\xff"))

if "ca" in settings:
    credentials = grpc.ssl_channel_credentials(Path(settings["ca"]).read_bytes())
    channel = grpc.secure_channel(settings["target"], credentials)
else:
    channel = grpc.insecure_channel(settings["target"])

echo = channel.unary_unary("/test.Service/Echo")
count = channel.unary_stream("/test.Service/Count")
total = channel.stream_unary("/test.Service/Total")
chat = channel.stream_stream("/test.Service/Chat")
fail = channel.unary_unary("/test.Service/Fail")
hang = channel.unary_stream("/test.Service/Hang")
nothing = channel.unary_unary("/test.Service/Nothing")


# Without the date, which whoever forwards an answer adds where there is none (RFC 9110 §6.6.1).
def plain(metadata):
    return [
        [name, value if isinstance(value, str) else value.hex()]
        for name, value in metadata or ()
        if name != "date"
    ]


def ended(call):
    return {
        "code": call.code().name,
        "details": call.details(),
        "first": plain(call.initial_metadata()),
        "last": plain(call.trailing_metadata()),
    }


def single(method, request, **options):
    try:
        response, call = method.with_call(request, timeout=PATIENCE, **options)
    except grpc.RpcError as call:
        return ended(call)
    return ended(call) | {"same": response == request, "length": len(response)}


def counted():
    call = count(b"500", timeout=PATIENCE)
    numbers = [int(message) for message in call]
    return ended(call) | {"in_order": numbers == list(range(500))}


def totalled():
    messages = (MEGABYTE[: number * 1_000] for number in range(200))
    response, call = total.with_call(messages, timeout=PATIENCE)
    return ended(call) | {"response": response.decode()}


# Each message goes out only when the one before it has been answered.
def chatted():
    messages = queue.SimpleQueue()
    call = chat(iter(messages.get, None), timeout=PATIENCE)
    answered = 0
    for number in range(200):
        message = f"message {number}".encode()
        messages.put(message)
        answered += next(call) == b"re: " + message
    messages.put(None)
    return ended(call) | {"answered": answered, "more": len(list(call))}


# The end of it is in the words of this library, which differ by how the last frames are cut.
def broken_off(timeout, enough):
    call = hang(b"", timeout=timeout)
    first = next(call)
    enough(call)
    try:
        next(call)
    except grpc.RpcError:
        pass
    return {"first": first.decode(), "code": call.code().name}


def at_once():
    pending = [echo.future(str(number).encode(), timeout=PATIENCE) for number in range(50)]
    return {"answers": [call.result().decode() for call in pending]}


print(
    json.dumps(
        {
            "unary": single(echo, b"hello", metadata=METADATA),
            "empty": single(echo, b""),
            "large": single(echo, MEGABYTE),
            "squeezed": single(echo, MEGABYTE, compression=grpc.Compression.Gzip),
            "at once": at_once(),
            "counted": counted(),
            "totalled": totalled(),
            "chatted": chatted(),
            "failed": single(fail, "Grüße: 100 % vergeblich\n".encode()),
            "unknown": single(nothing, b""),
            "out of time": broken_off(2, lambda call: None),
            "cancelled": broken_off(None, lambda call: call.cancel()),
        }
    )
)
channel.close()
