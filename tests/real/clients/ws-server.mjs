// npm's ws as an echo on a free loopback port. It speaks echo.v2 and declines what is below /no.
//
// Prints one line of JSON with its port when it is up. Beside WebSocket it has
//   GET /handshakes   the requests for WebSocket that came since this was asked last
// Ends when standard input does, so that it cannot outlive the test that started it.
import http from 'node:http';
import { WebSocketServer } from 'ws';

let handshakes = [];
const server = http.createServer((request, response) => {
  response.end(JSON.stringify(handshakes));
  handshakes = [];
});
const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: true,
  handleProtocols: (protocols) => protocols.has('echo.v2') && 'echo.v2',
});
server.on('upgrade', (request, socket, head) => {
  const fields = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    // The address differs by the way.
    if (name !== 'host') fields[name] = values;
  }
  handshakes.push({ target: request.url, fields });
  if (request.url.startsWith('/no')) {
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    return;
  }
  sockets.handleUpgrade(request, socket, head, (websocket) => {
    websocket.on('message', (message, isBinary) => {
      if (!isBinary && message.toString() === 'goodbye') websocket.close(4001, 'as asked');
      else websocket.send(message, { binary: isBinary });
    });
  });
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ port: server.address().port }));
