// The certified OpenID provider `oidc-provider` as an authorization server on a free loopback port.
//
// Prints one line of JSON with its port when it is up. Beside the provider's own endpoints it has
//   GET /verify   204 if the Authorization field holds a token that the provider calls good now
//   GET /stats    how many tokens it handed out, and what /verify answered
// Ends when standard input does, so that it cannot outlive the test that started it.
import http from 'node:http';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: settings.clients.map((client) => ({
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    ...client,
  })),
  scopes: ['connectdata/events'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
  },
  ttl: { ClientCredentials: () => settings.token_seconds },
});

const stats = { issued: 0, refused: 0, good: 0, bad: 0 };
provider.on('grant.success', () => (stats.issued += 1));
provider.on('grant.error', () => (stats.refused += 1));
const answer = provider.callback();

async function verify(request) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  const found = token && (await provider.ClientCredentials.find(token));
  return Boolean(found) && !found.isExpired;
}

server.on('request', async (request, response) => {
  if (request.url === '/verify') {
    const good = await verify(request);
    stats[good ? 'good' : 'bad'] += 1;
    response.statusCode = good ? 204 : 401;
    response.end();
  } else if (request.url === '/stats') {
    response.end(JSON.stringify(stats));
  } else {
    answer(request, response);
  }
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ port }));
