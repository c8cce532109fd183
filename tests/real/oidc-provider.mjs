// The certified OpenID provider `oidc-provider` as an authorization server on a free loopback port.
//
// Settings, as JSON in the first argument; all but `clients` and `token_seconds` may be missing:
//   clients        their metadata; `public_keys`, a list of {pem, kid, alg}, becomes their jwks, and
//                  `certificate`, in PEM form, the one key of a jwks that binds the certificate
//   token_seconds  how long access tokens live
//   jwt            {audience, alg}: access tokens are JWTs, for this audience
//   logins         true: people can log in, as anybody, on the provider's own development pages
//   code_seconds   how long authorization codes live
//   tls            {cert, key, ca}: the provider's own endpoints are served with TLS, and clients
//                  may show a certificate of this authority, or one that they signed themselves
//
// Prints one line of JSON when it is up: `port` has the provider's own endpoints, `side_port` the
// following (it is the same port unless there is TLS, and never TLS):
//   GET /verify                              204 if the Authorization field holds a token that the
//                                            provider calls good now
//   GET /stats                               how many tokens it handed out or refused, by grant,
//                                            client authentication and error, and what /verify
//                                            answered
//   POST /grant-refresh-token?client_id=...  {"refresh_token"} as a user's consent would yield it
//   POST /rotate-keys                        signs with new keys from now on, and goes on to publish
//                                            the old ones
// Ends when standard input does, so that it cannot outlive the test that started it.
import { X509Certificate, createPublicKey } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  jwtVerify,
} from 'jose';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.argv[2]);
const { tls, jwt } = settings;
const SCOPES = ['connectdata/events', 'openid', 'offline_access'];

const side = http.createServer();
const server = tls
  ? https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false })
  : side;
for (const each of new Set([server, side])) {
  await new Promise((resolve) => each.listen(0, '127.0.0.1', resolve));
}
const { port } = server.address();
// The certificate is that of the name.
const issuer = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;

function metadata({ public_keys: publicKeys, certificate, ...client }) {
  const keys = (publicKeys ?? []).map(({ pem, ...named }) => ({
    ...createPublicKey(pem).export({ format: 'jwk' }),
    ...named,
  }));
  if (certificate) {
    const parsed = new X509Certificate(certificate);
    keys.push({
      ...parsed.publicKey.export({ format: 'jwk' }),
      x5c: [parsed.raw.toString('base64')],
    });
  }
  return {
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    ...(keys.length > 0 && { jwks: { keys } }),
    ...client,
  };
}

function certificate(ctx) {
  return ctx.socket.getPeerX509Certificate?.();
}

const configuration = {
  clients: settings.clients.map(metadata),
  scopes: SCOPES,
  clientAuthMethods: [
    'none',
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
  ],
  enabledJWA: {
    clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA'],
  },
  rotateRefreshToken: true,
  ...(settings.logins && {
    responseTypes: ['code', 'id_token token'],
    issueRefreshToken: () => true,
  }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: Boolean(settings.logins) },
    deviceFlow: { enabled: Boolean(settings.logins) },
    revocation: { enabled: Boolean(settings.logins) },
    resourceIndicators: {
      enabled: Boolean(jwt),
      defaultResource: () => (jwt ? 'urn:gatepass:upstream' : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: jwt.audience,
        scope: SCOPES.join(' '),
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: jwt.alg ?? 'RS256' } },
      }),
    },
    mTLS: {
      enabled: Boolean(tls),
      tlsClientAuth: Boolean(tls),
      selfSignedTlsClientAuth: Boolean(tls),
      getCertificate: certificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      // Node writes a name in the order of the certificate, a part a line; RFC 4514 turns it round.
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' &&
        certificate(ctx).subject.split('\n').reverse().join(',') === expected,
    },
  },
  ttl: {
    AccessToken: () => settings.token_seconds,
    AuthorizationCode: () => settings.code_seconds ?? 60,
    ClientCredentials: () => settings.token_seconds,
  },
};

const stats = { issued: 0, refused: 0, good: 0, bad: 0, grants: {}, methods: {}, errors: {} };
function increment(counters, name) {
  counters[name] = (counters[name] ?? 0) + 1;
}

async function newKeys() {
  const pairs = ['RS256', 'ES256'].map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    const key = { ...(await exportJWK(privateKey)), alg, use: 'sig' };
    return { ...key, kid: await calculateJwkThumbprint(key) };
  });
  return Promise.all(pairs);
}

let keys = [];
let published;
let provider;
let answer;
// Keys are fixed when a provider is made. Its tokens are not its own: all providers of a process
// keep them in one place.
async function renewKeys() {
  keys = [...(await newKeys()), ...keys];
  provider = new Provider(issuer, { ...configuration, jwks: { keys } });
  provider.on('grant.success', (ctx) => {
    stats.issued += 1;
    increment(stats.grants, ctx.oidc.params.grant_type);
    increment(stats.methods, ctx.oidc.client.clientAuthMethod);
  });
  provider.on('grant.error', (ctx, error) => {
    stats.refused += 1;
    increment(stats.errors, `${error.message}: ${error.error_detail ?? error.error_description}`);
  });
  provider.on('server_error', (ctx, error) => {
    increment(stats.errors, `server_error: ${error.message}`);
    console.error(error);
  });
  published = createLocalJWKSet({
    keys: keys.map(({ d, p, q, dp, dq, qi, ...open }) => open),
  });
  answer = provider.callback();
}
await renewKeys();

async function verify(request) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (!token) return false;
  if (jwt) {
    const checks = { issuer, audience: jwt.audience, typ: 'at+jwt' };
    return jwtVerify(token, published, checks).then(() => true, () => false);
  }
  const found =
    (await provider.ClientCredentials.find(token)) ?? (await provider.AccessToken.find(token));
  return Boolean(found) && !found.isExpired;
}

async function grantRefreshToken(clientId) {
  const client = await provider.Client.find(clientId);
  const accountId = 'driver';
  const scope = 'openid offline_access';
  const grant = new provider.Grant({ clientId, accountId });
  grant.addOIDCScope(scope);
  if (jwt) grant.addResourceScope('urn:gatepass:upstream', scope);
  const token = new provider.RefreshToken({
    client,
    accountId,
    scope,
    grantId: await grant.save(),
    gty: 'authorization_code',
    authTime: Math.floor(Date.now() / 1000),
    resource: jwt && 'urn:gatepass:upstream',
  });
  return { refresh_token: await token.save() };
}

async function besides(request, response) {
  const url = new URL(request.url, issuer);
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /verify': {
      const good = await verify(request);
      stats[good ? 'good' : 'bad'] += 1;
      response.statusCode = good ? 204 : 401;
      response.end();
      break;
    }
    case 'GET /stats':
      response.end(JSON.stringify(stats));
      break;
    case 'POST /grant-refresh-token':
      response.end(JSON.stringify(await grantRefreshToken(url.searchParams.get('client_id'))));
      break;
    case 'POST /rotate-keys':
      await renewKeys();
      response.end();
      break;
    default:
      return false;
  }
  return true;
}

side.on('request', async (request, response) => {
  if (await besides(request, response)) return;
  if (side === server) {
    answer(request, response);
  } else {
    response.statusCode = 404;
    response.end();
  }
});
if (tls) server.on('request', (request, response) => answer(request, response));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(JSON.stringify({ port, side_port: side.address().port }));
