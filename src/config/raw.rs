//! The configuration as it is written: the shape, and what is said of each key. What it means is
//! [`resolve`](super::resolve)'s affair. Every key is optional here, so that a missing one is
//! reported with the others.

mod credential;

use std::collections::BTreeMap;

use figment::value::Value;
use secrecy::SecretString;

use super::decode::{Decode, Path, Report, Table};
use super::reference::{Described, Key, Kind, tables};
use super::scalar::{
    Count, FileMode, Flag, Number, OneOrMany, Percentage, Retries, SecretSource, Size, Span,
    Workers,
};

pub(super) use credential::{Credential, Verify};

tables! {
    Config {
        proxy: Proxy;
        admin: Admin;
        stores: BTreeMap<String, Store>;
        credentials: BTreeMap<String, Credential>;
        routes: Vec<Route>;
        secrets: Secrets;
        shutdown: Shutdown;
        log: Log;
        traces: Traces;
    }

    Proxy {
        listen: Option<OneOrMany> = "`127.0.0.1:8080`",
            "where applications call: an address or a list of them, see docs/requests.md";
        workers: Option<Workers> = "`1`",
            "threads that serve; one is enough for a sidecar. `\"auto\"`: as many as the process may \
            use processors, by its affinity and the CPU limit of its container";
        trust_network: Option<Flag> = "`false`",
            "`true` allows `proxy.listen` to be reachable from other machines although callers \
            there need not identify themselves; whoever reaches it acts with your credentials";
        names: Option<OneOrMany> = "none",
            "further names that requests may be for, beside `localhost`, the loopback addresses \
            and those listened on; without any, a listener that other machines can reach takes \
            every name";
        allowed_origins: Option<OneOrMany> = "none",
            "origins of web pages that may call, such as `http://localhost:3000`";
        callers: Callers;
        tls: ListenerTls;
        unix: Unix;
        timeouts: ProxyTimeouts;
        limits: ProxyLimits;
    }

    Callers {
        key: Option<SecretString> = "one of three",
            "the key itself";
        key_file: Option<String> = "one of three",
            "a file with a key that every request has to show";
        key_env: Option<String> = "one of three",
            "an environment variable with it";
        key_header: Option<String> = "`x-gatepass-key`",
            "the field that shows it; it goes no further than gatepass";
        uids: Option<Vec<Number>> = "any",
            "on Unix sockets: the numbers of the users whose processes may call";
    }

    ListenerTls {
        cert_file: Option<String> = "none",
            "for listeners with `tls:`: PEM file with the certificate to show";
        key_file: Option<String> = "none",
            "PEM file with its key";
        client_ca_file: Option<String> = "none",
            "PEM file of authorities: each caller there has to show a certificate of one of them";
    }

    Unix {
        mode: Option<FileMode> = "`0600`",
            "of the files of Unix sockets; whoever may write to one may call";
        owner: Option<Number> = "gatepass's own",
            "the number of the user who is to own them";
        group: Option<Number> = "gatepass's own",
            "the number of their group";
    }

    ProxyTimeouts {
        header_read: Option<Span> = "`10s`",
            "for a request's head, from its first byte to its last";
        keep_alive: Option<Span> = "`60s`",
            "for a connection on which nothing happens";
        half_closed: Option<Span> = "`5s`",
            "for the answer, and between two pieces of it, to a caller that has closed its side of \
            the connection: one that has nothing more to send looks like one that is gone";
        drain_upgrades: Option<Span> = "`shutdown.grace`",
            "for a WebSocket to go on once gatepass stops, so that the application can connect \
            elsewhere";
        stalled: Option<Span> = "`5m`",
            "for a caller that takes nothing more of its answer";
    }

    ProxyLimits {
        connections: Option<Count> = "`10000`, or as many as the limit of open files has room for",
            "open at once, each with two files; more wait in the kernel's queue";
        requests: Option<Count> = "`10000`",
            "under way at once; more are answered with 503";
        streams: Option<Count> = "`100`",
            "requests under way on one HTTP/2 connection";
        headers: Option<Count> = "`100`",
            "fields of a request";
        header_bytes: Option<Size> = "`64KiB`",
            "roughly of a request's head: what its buffers may grow to; between `8KiB` and `16MiB`";
    }

    Admin {
        listen: Option<String> = "`127.0.0.1:9090`",
            "where metrics and probes are served; no token can be had there, so it may be wider, \
            `0.0.0.0:9090` in a pod";
        quit: Option<Flag> = "`false`",
            "`true`: `POST /quit` stops gatepass, for Jobs whose application is done; where \
            `admin.listen` is a loopback address, and never from a web page";
        event_streams: Option<Number> = "`10`",
            "how many may listen to `/api/events` at once, 50 at most; each open status page is \
            one, and one that finds no room asks every two seconds instead";
        show_subject: Option<Flag> = "`false`",
            "`true`: the status shows whom a token is about (`sub`) as well, which may be a person";
    }

    Store {
        kind: Option<String> = "required",
            "`redis` (Redis 6 or later, or Valkey) for a fleet, `file` for the processes of one \
            machine";
        directory: Option<String> = "required for `file`",
            "a directory of their own, which gatepass does not create; each credential has a file \
            of mode 600 in it";
        url: Option<OneOrMany> = "required for `redis`",
            "`redis://HOST:PORT`, or `rediss://` with TLS, `/N` behind it for another database; \
            a list of several servers of a Cluster, or of the Sentinels";
        topology: Option<String> = "`standalone`",
            "or `sentinel`, `cluster`";
        service: Option<String> = "none",
            "with `sentinel`: the name by which the Sentinels know the servers";
        username: Option<String> = "none",
            "an ACL user";
        password: Option<SecretString> = "none",
            "its password; better in a file";
        password_file: Option<String> = "none",
            "a file that holds it, read again for each connection";
        password_env: Option<String> = "none",
            "the variable that holds it";
        sentinel_username: Option<String> = "none",
            "with `sentinel`: an ACL user of the Sentinels themselves";
        sentinel_password: Option<SecretString> = "none",
            "its password, or that of all; better in a file";
        sentinel_password_file: Option<String> = "none",
            "a file that holds it, read again for each connection";
        sentinel_password_env: Option<String> = "none",
            "the variable that holds it";
        key_file: Option<String> = "required",
            "a file with the keys that encrypt what is stored, a line for each: 32 random bytes in \
            base64; read again after ten seconds, or when an entry needs another key";
        unencrypted: Option<Flag> = "`false`",
            "`true` instead of `key_file` stores tokens in the clear";
        timeout: Option<Span> = "`1s`",
            "for one call; gatepass goes on without the store then";
        tls: Tls;
    }

    Route {
        name: Option<String> = "from the path",
            "what metrics and messages call the route";
        host: Option<OneOrMany> = "any",
            "match only requests for this host, or for one of a list";
        path: Option<String> = "required",
            "a path prefix on segment boundaries: `/a` covers `/a` and `/a/b`, not `/ab`; the \
            longest wins";
        methods: Option<OneOrMany> = "any",
            "match only these methods";
        strip_path: Option<Flag> = "`false`",
            "`true` removes the prefix before the request is sent on; a path in `upstream` takes \
            its place";
        upstream: Option<String> = "required",
            "`http://`, `https://`, `h2c://` (HTTP/2 without TLS) or `unix:/path`; a path in one \
            of the first three is put in front of every request's";
        credential: Option<String> = "required",
            "the credential's name, or `none` to add no token";
        tls: Tls;
        protocol: Option<String> = "`auto`",
            "`auto`: HTTP/2 for requests that came by HTTP/2, if an `https://` upstream speaks it; \
            `http1`: never HTTP/2; `http2`: for all requests but WebSocket, if the upstream \
            speaks it";
        timeouts: RouteTimeouts;
        max_connections: Option<Count> = "`10000`",
            "upstream connections, for each worker; more are answered with 503";
        max_idle_connections: Option<Count> = "`128`",
            "upstream connections kept for later requests, for each worker";
        max_body: Option<Size> = "none",
            "of a request; a larger one is answered with 413";
        retries: Option<Retries> = "`1`",
            "how often a request that may be repeated is tried again on a fresh connection after \
            one failed; `10` at most";
        replay_limit: Option<Size> = "`64KiB`",
            "bodies up to this size are kept, to send them again after a 401 or on a fresh \
            connection";
        forwarded: Option<String> = "`none`",
            "what the upstream is told about the caller: `forwarded` (RFC 7239) or `x-forwarded` \
            (`X-Forwarded-For`, `-Host`, `-Proto`); what the caller says itself stays, and this \
            is added";
        headers: BTreeMap<String, SecretSource> = "none",
            "a table of fields that every request gets, such as a static API key; values as in \
            `credentials.NAME.parameters`";
        remove_headers: Option<OneOrMany> = "none",
            "fields that are removed from every request";
        response_headers: BTreeMap<String, SecretSource> = "none",
            "a table of fields that every answer gets; values as in `routes[].headers`";
        remove_response_headers: Option<OneOrMany> = "none",
            "fields that are removed from every answer";
        keep_host: Option<Flag> = "`false`",
            "`true` sends the caller's `Host` instead of the upstream's";
        rewrite_location: Option<Flag> = "`true`",
            "a `Location` that leads to the upstream is rewritten to lead there through gatepass; \
            the `Path`, `Domain` and `Secure` of cookies pass as they come";
        max_response_headers: Option<Count> = "`100`",
            "fields of an answer; one with more is a 502. More than 100 costs every answer a \
            little. A head over HTTP/1.1 may have 64 KiB";
    }

    RouteTimeouts {
        first_token: Option<Span> = "none",
            "for requests that come before the credential has its first token; without it they \
            are answered with 503 at once";
        connect: Option<Span> = "`5s`",
            "for name look-up, TCP and TLS together";
        response_head: Option<Span> = "`60s`",
            "from the end of the request to the head of the answer; set it longer than the \
            upstream waits in long polling";
        idle: Option<Span> = "`5m`",
            "between two pieces of a body, in either direction";
        request: Option<Span> = "none",
            "from the head of a request to the end of its answer (WebSocket apart); streams may \
            last, so there is none by default";
        keep_alive: Option<Span> = "`30s`",
            "for an upstream connection that is not in use; if the upstream says that it closes it \
            earlier (`Keep-Alive: timeout=5`), until a second, or a quarter of that time, before";
        connection_age: Option<Span> = "`10m`",
            "for how long an upstream connection takes requests, so that a name that leads \
            elsewhere is followed";
    }

    Tls {
        ca_file: Option<String> = "the machine's",
            "PEM file of the only authorities to trust there";
        server_name: Option<String> = "that of `upstream`",
            "for routes only: the name to ask for (SNI) and to expect in the certificate";
        client_cert_file: Option<String> = "none",
            "PEM file with the certificate to show there";
        client_key_file: Option<String> = "none",
            "PEM file with its key";
    }

    Secrets {
        readable_by_others: Option<String> = "`warn`",
            "what to do about files with secrets that every user of the machine can read: \
            `refuse`, `warn` or `allow`";
    }

    Shutdown {
        delay: Option<Span> = "none",
            "after SIGTERM or SIGINT: not ready, but still serving, until load balancers have \
            noticed";
        grace: Option<Span> = "`30s`",
            "after that, for requests in flight";
    }

    Log {
        level: Option<String> = "`info`",
            "of gatepass's own events: `error`, `warn`, `info`, `debug`";
        format: Option<String> = "`auto`",
            "`text` on a terminal and `json` elsewhere";
        access: AccessLog;
    }

    AccessLog {
        requests: Option<String> = "`none`",
            "which requests have a line in the log: `none`, `all`, or `failed`: those answered with \
            400 and above, broken off or given up";
        target: Option<String> = "`path`",
            "how much of the target is logged: `none`, `path`, or `path_and_query`";
        caller: Option<Flag> = "`false`",
            "`true`: the address of whoever called, or on a Unix socket the number of its user";
    }

    Traces {
        enabled: Option<Flag> = "`false`",
            "`true` sends spans of requests and of attempts to get tokens to a collector, by \
            OpenTelemetry's OTLP over HTTP";
        endpoint: Option<String> = "`OTEL_EXPORTER_OTLP_ENDPOINT`, or `http://127.0.0.1:4318`",
            "the collector's address; `/v1/traces` is added to it";
        sample: Option<Percentage> = "`100%`",
            "the part of requests that is recorded, of those that come without a `traceparent`; \
            otherwise that decides";
        service_name: Option<String> = "`OTEL_SERVICE_NAME`, or `gatepass`",
            "`service.name` of the spans";
        headers: BTreeMap<String, SecretSource> = "none",
            "a table of fields that the collector wants, such as a key; values as in \
            `routes[].headers`";
        tls: Tls;
    }
}
