// npm's ws: sends messages without waiting for their echoes, and tells in JSON what came back.
import { once } from 'node:events';
import WebSocket from 'ws';

const { base, messages } = JSON.parse(process.argv[2]);
// Of every length that a frame writes in another way, as text and as bytes.
const LENGTHS = [0, 1, 125, 126, 4000, 65535, 65536];

function message(number) {
  const length = LENGTHS[number % LENGTHS.length];
  const text = `${number} grüßt, `.repeat(length / 8 + 1).slice(0, length);
  return number % 2 ? text : Buffer.from(text);
}

const socket = new WebSocket(`${base}/chat?room=1`, ['echo.v1', 'echo.v2'], {
  perMessageDeflate: { threshold: 0 },
});
const told = { same: 0 };
let came = 0;
const all = new Promise((resolve) => {
  socket.on('message', (data, isBinary) => {
    const sent = message(came);
    const isText = typeof sent === 'string';
    if (isText !== isBinary && data.equals(Buffer.from(sent))) told.same += 1;
    came += 1;
    if (came === messages) resolve();
  });
});
await once(socket, 'open');
told.protocol = socket.protocol;
told.extensions = socket.extensions;
for (let number = 0; number < messages; number += 1) socket.send(message(number));
await all;
socket.ping('are you there?');
const [data] = await once(socket, 'pong');
told.pong = data.toString() === 'are you there?';
socket.send('goodbye');
const [code, reason] = await once(socket, 'close');
told.closed = [code, reason.toString()];

const declined = new WebSocket(`${base}/no`);
declined.on('error', () => {});
const [, response] = await once(declined, 'unexpected-response');
told.declined = response.statusCode;
declined.terminate();
console.log(JSON.stringify(told));
