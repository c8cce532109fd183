// Node's own fetch: every step in turn, and in JSON what each yielded.
import { readFileSync } from 'node:fs';
import { ReadableStream } from 'node:stream/web';
import { ProxyAgent } from 'undici';

const { base, proxy, file: path } = JSON.parse(process.argv[2]);
const file = readFileSync(path);
const PIECE = 7001;
// Without a tunnel, in which gatepass could add nothing.
const dispatcher = proxy ? new ProxyAgent({ uri: proxy, proxyTunnel: false }) : undefined;

function pieces() {
  let start = 0;
  return new ReadableStream({
    pull(controller) {
      if (start >= file.length) return controller.close();
      controller.enqueue(file.subarray(start, (start += PIECE)));
    },
  });
}

async function call(method, target, options = {}) {
  const signal = AbortSignal.timeout(20_000);
  const response = await fetch(base + target, { method, dispatcher, signal, ...options });
  const body = Buffer.from(await response.arrayBuffer());
  return {
    status: response.status,
    fields: [...response.headers].filter(([name]) => name !== 'date'),
    body: body.equals(file) ? 'the file' : body.toString('latin1'),
  };
}

const told = {
  odd: await call('GET', '/a%2Fb//c;v=1?q=%20'),
  posted: await call('POST', '/echo', { body: file }),
  streamed: await call('POST', '/echo', { body: pieces(), duplex: 'half' }),
  head: await call('HEAD', '/page'),
  none: await call('DELETE', '/none'),
  unchanged: await call('GET', '/tagged', { headers: { 'If-None-Match': '"1"' } }),
  squeezed: await call('GET', '/gzip'),
  fields: await call('GET', '/fields'),
  'led on': await call('GET', '/redirect'),
  'led on with a body': await call('POST', '/moved', { body: 'once more' }),
  'signed in': await call('GET', '/signed-in', {
    headers: { Authorization: `Basic ${btoa('nobody:secret')}` },
  }),
};
for (let number = 1; number <= 20; number += 1) {
  told.reused = await call('GET', `/reuse/${number}`);
}
console.log(JSON.stringify(told));
