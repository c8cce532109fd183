// The Auth emulator of firebase-tools, which speaks as Google Identity Toolkit does, on a loopback
// port: the one in the settings, else a free one.
//
// `firebase emulators:start` would wrap the same application into a hub with ports, log files and a
// lookup of the newest version. Here it is served as it is, and what it answers is counted:
//   GET /stats    how many sign-ins and refreshes were answered and refused, and with which code
// Prints one line of JSON with its port when it is up, and ends when standard input does, so that
// it cannot outlive the test that started it.
import http from 'node:http';
import emulator from 'firebase-tools/lib/emulator/auth/server.js';

const settings = JSON.parse(process.argv[2]);
const answer = await emulator.createApp(settings.project);
const stats = { sign_ins: 0, refreshes: 0, refused: 0, errors: {} };
const counters = [
  ['/identitytoolkit.googleapis.com/v1/accounts:signInWithPassword?', 'sign_ins'],
  ['/securetoken.googleapis.com/v1/token?', 'refreshes'],
];

// Counts before the answer leaves, so that whoever has it finds it counted.
function count(response, counter) {
  const written = [];
  const end = response.end;
  response.end = (chunk, ...rest) => {
    if (response.statusCode === 200) {
      stats[counter] += 1;
    } else {
      stats.refused += 1;
      if (chunk) written.push(Buffer.from(chunk));
      const code = /"message": *"([^"]*)"/.exec(Buffer.concat(written).toString())?.[1];
      stats.errors[code] = (stats.errors[code] ?? 0) + 1;
    }
    return end.call(response, chunk, ...rest);
  };
}

const server = http.createServer((request, response) => {
  if (request.url === '/stats') {
    response.end(JSON.stringify(stats));
    return;
  }
  const counter = counters.find(([path]) => request.url.startsWith(path))?.[1];
  if (counter) count(response, counter);
  answer(request, response);
});
await new Promise((resolve) => server.listen(settings.port ?? 0, '127.0.0.1', resolve));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ port: server.address().port }));
