# Python's websockets as an echo on a free loopback port. It speaks echo.v2 and declines what is
# below /no.
#
# Prints one line of JSON with its port when it is up. Beside WebSocket it has
#   GET /handshakes   the requests for WebSocket that came since this was asked last
# Ends when standard input does, so that it cannot outlive the test that started it.
import asyncio
import json
import sys

from websockets.asyncio.server import serve

handshakes = []


def judge(connection, request):
    if request.path == "/handshakes":
        answer = connection.respond(200, json.dumps(handshakes))
        handshakes.clear()
        return answer
    fields = {}
    for name, value in request.headers.raw_items():
        # The address differs by the way.
        if name.lower() != "host":
            fields.setdefault(name.lower(), []).append(value)
    handshakes.append({"target": request.path, "fields": fields})
    if request.path.startswith("/no"):
        return connection.respond(403, "no")
    return None


async def echo(connection):
    async for message in connection:
        if message == "goodbye":
            await connection.close(4001, "as asked")
        else:
            await connection.send(message)


async def main():
    server = await serve(
        echo, "127.0.0.1", 0, process_request=judge, subprotocols=["echo.v2"], max_size=None
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
