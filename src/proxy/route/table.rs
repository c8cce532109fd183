//! Which requests go where.

use std::cmp::Reverse;

use http::Method;
use percent_encoding::percent_decode_str;

use super::Route;

/// All routes; the most specific one wins, whatever the order in the configuration.
#[derive(Debug)]
pub struct RouteTable(Vec<Route>);

impl RouteTable {
    /// Puts the routes in order.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| {
            let settings = &route.settings;
            let of_hosts = settings.hosts.is_empty();
            let of_methods = settings.methods.is_empty();
            (
                of_hosts,
                Reverse(settings.prefix.as_str().len()),
                of_methods,
            )
        });
        Self(routes)
    }

    /// The routes, most specific first.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// Whether a route names this host.
    pub(in super::super) fn names_host(&self, host: &str) -> bool {
        self.0.iter().any(|route| route.settings.names_host(host))
    }

    /// The route for a request.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        if let Some((index, route)) = self.first(host, path, method) {
            // Upstreams decode paths and take dot segments and parameters away, each in a way of its
            // own. A path that would belong to another route then is not for gatepass to guess about:
            // it might come with the other route's credential, or get around it. What the route names
            // itself is meant as it is written.
            let rest = route.settings.prefix.rest_of(path).unwrap_or(path);
            if may_mean_another(rest) {
                let meant = self.first(host, &normalized(path), method);
                if meant.is_none_or(|(other, _)| other != index) {
                    return Found::Ambiguous;
                }
            }
            return Found::Route(index, route);
        }
        let candidates = self
            .0
            .iter()
            .filter(|route| route.settings.covers(host, path));
        let methods: Vec<_> = candidates
            .flat_map(|route| route.settings.methods.iter().cloned())
            .collect();
        match methods.is_empty() {
            true => Found::Nothing,
            false => Found::OnlyByOtherMethods(methods),
        }
    }

    fn first(&self, host: &str, path: &str, method: &Method) -> Option<(usize, &Route)> {
        let mut routes = self.0.iter().enumerate();
        routes.find(|(_, route)| {
            let settings = &route.settings;
            let by_method = settings.methods.is_empty() || settings.methods.contains(method);
            by_method && settings.covers(host, path)
        })
    }
}

/// What the table says of a request.
#[derive(Debug)]
pub enum Found<'a> {
    /// Its route, with its index.
    Route(usize, &'a Route),
    /// There are routes for it, but with these methods only.
    OnlyByOtherMethods(Vec<Method>),
    /// Decoded, or without its dot segments and parameters, it would belong to another route.
    Ambiguous,
    /// No route covers it.
    Nothing,
}

/// Whether there is anything in a path that servers read in more than one way.
fn may_mean_another(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let found =
            matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && matches!(byte, b'.' | b'/'));
        before = byte;
        found
    })
}

/// What a lenient server would make of a path: decoded, backslashes turned, slashes merged, dot
/// segments taken away (RFC 3986 §5.2.4), parameters of segments left out.
fn normalized(path: &str) -> String {
    let decoded = percent_decode_str(path)
        .decode_utf8_lossy()
        .replace('\\', "/");
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_lenient_servers_read_them() {
        for (path, meant) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..%2fb", "/b"),
            ("/a%2Fb", "/a/b"),
            ("//b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..\\b", "/b"),
            ("/a/..;x=1/b", "/b"),
            ("/a/b;x=1/c", "/a/b/c"),
            ("/a;", "/a"),
            ("/../../b", "/b"),
            ("/%zz", "/%zz"),
        ] {
            assert!(may_mean_another(path), "{path}");
            assert_eq!(normalized(path), meant, "{path}");
        }
        for path in ["/", "/a", "/a/b.c", "/a.b/c", "*"] {
            assert!(!may_mean_another(path), "{path}");
        }
    }
}
