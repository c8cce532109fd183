# Python's websockets: sends messages without waiting for their echoes, and tells in JSON what came
# back.
import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

settings = json.loads(sys.argv[1])
# Of every length that a frame writes in another way, as text and as bytes.
LENGTHS = [0, 1, 125, 126, 4_000, 65_535, 65_536]


def message(number):
    length = LENGTHS[number % len(LENGTHS)]
    text = (f"{number} grüßt, " * (length // 8 + 1))[:length]
    return text if number % 2 else text.encode()


async def main():
    told = {"same": 0}
    options = {"proxy": None, "max_size": None, "subprotocols": ["echo.v1", "echo.v2"]}
    async with connect(settings["base"] + "/chat?room=1", **options) as connection:
        told["protocol"] = connection.subprotocol
        told["extensions"] = connection.response.headers.get("sec-websocket-extensions")

        async def send():
            for number in range(settings["messages"]):
                await connection.send(message(number))

        sending = asyncio.create_task(send())
        for number in range(settings["messages"]):
            told["same"] += await connection.recv() == message(number)
        await sending
        await (await connection.ping())
        told["pong"] = True
        await connection.send("goodbye")
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            told["closed"] = [closed.rcvd.code, closed.rcvd.reason]
    try:
        async with connect(settings["base"] + "/no", proxy=None):
            told["declined"] = None
    except InvalidStatus as declined:
        told["declined"] = declined.response.status_code
    print(json.dumps(told))


asyncio.run(asyncio.wait_for(main(), 50))
