// oidc-provider, the OpenID-certified server for Node.js, set up as strictly as
// providers do it: refresh tokens rotate, and a replayed one kills its grant.
//
// It is stock but for its settings: a person signs in and consents on its own
// pages (any name and password will do). Everything is in memory. It takes its
// settings from the environment, as ../README.md says, prints "listening ADDR"
// once it can be asked, and ends when its standard input does, so that it never
// outlives whoever started it.
import http from 'node:http';
import process from 'node:process';
import { Provider, errors } from 'oidc-provider';

const setting = (name, otherwise) => process.env[name] || otherwise;

const [host, port] = setting('LISTEN', '127.0.0.1:19101').split(':');
const issuer = setting('ISSUER', `http://${host}:${port}`);
const redirectURI = setting('REDIRECT_URI', 'http://127.0.0.1:19999/callback');
const secret = setting('CLIENT_SECRET', 'known-to-everybody-0123456789abcdef');
const accessSeconds = Number(setting('ACCESS_TOKEN_SECONDS', '5'));

const client = (id, method, more) => ({
  client_id: id,
  token_endpoint_auth_method: method,
  redirect_uris: [redirectURI],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid offline_access profile',
  ...more,
});
const confidential = (id, method) =>
  client(id, method, {
    client_secret: secret,
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
  });

// Clients that sign, whose public keys are given: one of them wants its tokens
// bound to a key (RFC 9449), and pushes its requests (RFC 9126).
const jwks = setting('CLIENT_JWKS', '');
const signing = (id, more) =>
  client(id, 'private_key_jwt', {
    jwks: JSON.parse(jwks),
    token_endpoint_auth_signing_alg: setting('CLIENT_ALG', 'ES256'),
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials', 'urn:ietf:params:oauth:grant-type:device_code'],
    ...more,
  });
const signed = jwks
  ? [signing('test-signed'), signing('test-bound', { dpop_bound_access_tokens: true, require_pushed_authorization_requests: true })]
  : [];

// With RESOURCE it is the authorization server of an MCP server: it gives tokens
// for that resource, on request only (RFC 8707), registers clients (RFC 7591), and
// knows others by the documents that their ids lead to. Whatever host these name,
// CLIENT_DOCUMENTS is where they are fetched.
const resource = setting('RESOURCE', '');
const documents = setting('CLIENT_DOCUMENTS', '');
const forMCP = resource
  ? {
      registration: { enabled: true },
      registrationManagement: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: (ctx, asked) => {
          if (asked !== resource) throw new errors.InvalidTarget();
          return { scope: 'files:read files:write', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: accessSeconds, jwt: { sign: { alg: 'RS256' } } };
        },
      },
      clientIdMetadataDocument: { enabled: documents !== '', ack: 'draft-02' },
    }
  : {};

const provider = new Provider(issuer, {
  clients: [
    confidential('test-basic', 'client_secret_basic'),
    confidential('test-post', 'client_secret_post'),
    client('test-public', 'none', { application_type: 'native' }),
    ...signed,
  ],
  claims: { openid: ['sub'], profile: ['name'] },
  cookies: { keys: [secret] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, secret), requireNonce: () => true },
    pushedAuthorizationRequests: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    ...forMCP,
  },
  fetch: (url, options) => {
    const { pathname } = new URL(url);
    if (!documents || !pathname.startsWith('/oauth/client/')) throw new Error(`nothing is fetched from ${url}`);
    return globalThis.fetch(documents + pathname, { ...options, dispatcher: undefined });
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, name: 'Test User' }) }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: accessSeconds,
    AuthorizationCode: 60,
    ClientCredentials: accessSeconds,
    Grant: 3600,
    IdToken: 300,
    Interaction: 300,
    RefreshToken: 3600,
    Session: 3600,
  },
});

// Why a request was refused, for whoever reads the output of a failed test. The
// messages of oidc-provider's errors hold no tokens.
for (const event of ['authorization.error', 'grant.error', 'introspection.error', 'registration_create.error', 'revocation.error', 'server_error']) {
  provider.on(event, (ctx, err) => console.log(event, err.error ?? err.name, err.error_detail ?? err.message));
}
provider.on('grant.revoked', () => console.log('grant.revoked'));

const server = http.createServer(provider.callback());
server.listen(Number(port), host, () => console.log(`listening ${host}:${server.address().port}`));

process.stdin.on('end', () => process.exit(0)).resume();
