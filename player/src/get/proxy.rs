//! The proxies that the environment names, used as curl uses them.
//!
//! A proxy for `http:` is asked for the whole address, `GET http://host/path`: most of them refuse a `CONNECT` to port 80.
//! A proxy for `https:` is asked for a tunnel, which ureq does by itself.
//!
//! `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` are read, in small letters first. `HTTP_PROXY` is not read where
//! `REQUEST_METHOD` is set: in a CGI script it is a header field that the other side chose.

use std::env;
use std::net::IpAddr;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};

use super::GetError;
use crate::address::{Address, without_credentials};

/// What the environment says of proxies.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    plain: Option<Address>,
    tunnel: Option<ureq::Proxy>,
    exceptions: Exceptions,
}

impl Proxies {
    /// The proxies for a file whose first address is `address`.
    ///
    /// # Errors
    /// [`GetError::Proxy`], if the proxy that is named for this address cannot be used: to go past it might tell what it
    /// is there to hide.
    pub(super) fn of_environment(address: &Address) -> Result<Self, GetError> {
        Self::from(|name| env::var(name).ok(), address)
    }

    fn from(variable: impl Fn(&str) -> Option<String>, address: &Address) -> Result<Self, GetError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let named = |scheme: &str| {
            let names =
                [scheme.to_ascii_lowercase(), scheme.to_ascii_uppercase(), "all_proxy".into(), "ALL_PROXY".into()];
            let is_safe = |name: &String| name != "HTTP_PROXY" || variable("REQUEST_METHOD").is_none();
            names.into_iter().filter(is_safe).find_map(|name| Some((variable(&name)?, name)))
        };
        let exceptions = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        let exceptions = Exceptions::read(&exceptions);
        let is_used = |secure| address.is_secure() == secure && !exceptions.contain(address.uri());
        let plain = named("http_proxy").map(|(value, name)| read(&value, &name)).transpose();
        let tunnel = named("https_proxy").map(|(value, name)| tunnel(&value, &name)).transpose();
        Ok(Self {
            plain: if is_used(false) { plain? } else { plain.ok().flatten() },
            tunnel: if is_used(true) { tunnel? } else { tunnel.ok().flatten() },
            exceptions,
        })
    }

    /// The proxy that is asked for the whole of this address.
    fn plain_for(&self, uri: &Uri) -> Option<&Address> {
        let is_plain = uri.scheme_str() == Some("http") && !self.exceptions.contain(uri);
        self.plain.as_ref().filter(|_| is_plain)
    }

    /// For ureq's own part.
    pub(super) fn tunnel(&self) -> Option<ureq::Proxy> {
        self.tunnel.clone()
    }
}

/// Reads the address of a proxy, which need not name its scheme.
fn read(value: &str, name: &str) -> Result<Address, GetError> {
    let value = value.trim();
    let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    Address::read(&address).map_err(|_| unusable(value, name))
}

fn tunnel(value: &str, name: &str) -> Result<ureq::Proxy, GetError> {
    // The same are understood.
    read(value, name)?;
    ureq::Proxy::new(value.trim()).map_err(|_| unusable(value, name))
}

fn unusable(value: &str, name: &str) -> GetError {
    let value = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    GetError::Proxy { name: name.to_owned(), address: without_credentials(&value) }
}

/// Hosts that are asked without a proxy.
#[derive(Clone, Debug, Default)]
struct Exceptions(Vec<String>);

impl Exceptions {
    fn read(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']).map(|entry| entry.trim().to_ascii_lowercase());
        Self(entries.filter(|entry| !entry.is_empty()).collect())
    }

    fn contain(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        self.0.iter().any(|entry| {
            let (entry, port) = match entry.rsplit_once(':') {
                // More than one colon: an address of IPv6.
                Some((entry, port)) if !entry.contains(':') || entry.ends_with(']') => {
                    (entry, port.parse::<u16>().ok())
                }
                _ => (&**entry, None),
            };
            let here = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            port.is_none_or(|port| port == here) && matches(entry, &host)
        })
    }
}

/// `*`, a host, a domain with all hosts in it, an address, or a network such as `10.0.0.0/8`.
fn matches(entry: &str, host: &str) -> bool {
    let entry = entry.trim_start_matches('[').trim_end_matches(']');
    if entry == "*" || entry == host {
        return true;
    }
    if let (Some((network, bits)), Ok(host)) = (entry.split_once('/'), host.parse::<IpAddr>()) {
        return match (network.parse(), host, bits.parse::<u32>()) {
            (Ok(IpAddr::V4(network)), IpAddr::V4(host), Ok(bits @ 0..=32)) => {
                let differ = u32::from(network) ^ u32::from(host);
                differ.checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (Ok(IpAddr::V6(network)), IpAddr::V6(host), Ok(bits @ 0..=128)) => {
                let differ = u128::from(network) ^ u128::from(host);
                differ.checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        };
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    !domain.is_empty() && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// The first link of a chain of connectors: what ureq has, but through these proxies.
#[derive(Debug)]
pub(super) struct ThroughProxies {
    proxies: Proxies,
    tcp: TcpConnector,
    tls: RustlsConnector,
    /// All that needs no proxy, or a tunnel.
    usual: DefaultConnector,
}

impl ThroughProxies {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { proxies, tcp: TcpConnector::default(), tls: RustlsConnector::default(), usual: DefaultConnector::new() }
    }

    /// Connects to the host of `uri`, and to no proxy.
    fn connect_to(&self, uri: &Uri, details: &ConnectionDetails<'_>) -> Result<Option<Box<dyn Transport>>, Error> {
        let addrs = details.resolver.resolve(uri, details.config, details.timeout)?;
        let details = ConnectionDetails {
            uri,
            addrs,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let Some(tcp) = Connector::<()>::connect(&self.tcp, &details, None)? else { return Ok(None) };
        Ok(self.tls.connect(&details, Some(tcp.boxed()))?.map(Transport::boxed))
    }
}

impl Connector for ThroughProxies {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let Proxies { tunnel, exceptions, .. } = &self.proxies;
        // ureq connects to the proxy itself by the same chain, and without a proxy in its configuration.
        if tunnel.is_some() && details.config.proxy().is_none() {
            return self.usual.connect(details, None);
        }
        let is_exception = exceptions.contain(details.uri);
        let is_plain = details.uri.scheme_str() == Some("http");
        match self.proxies.plain_for(details.uri) {
            Some(proxy) => {
                let Some(inner) = self.connect_to(proxy.uri(), details)? else { return Ok(None) };
                let origin = details.uri.authority().map(|authority| format!("http://{authority}")).unwrap_or_default();
                let authorization = proxy.authorization().and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok(Some(WholeAddresses { inner, origin, authorization }.boxed()))
            }
            // ureq would go through its proxy whatever the scheme, and knows fewer ways to write an exception.
            None if tunnel.is_some() && (is_plain || is_exception) => self.connect_to(details.uri, details),
            None => self.usual.connect(details, None),
        }
    }
}

/// Finds the hosts of all addresses but those that a proxy is asked for: it finds them itself, and may be the only one
/// that can.
#[derive(Debug)]
pub(super) struct FindsWhatIsAsked {
    proxies: Proxies,
    usual: DefaultResolver,
}

impl FindsWhatIsAsked {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { proxies, usual: DefaultResolver::default() }
    }
}

impl Resolver for FindsWhatIsAsked {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        match self.proxies.plain_for(uri) {
            Some(proxy) if proxy.uri().authority() != uri.authority() => Ok(self.empty()),
            _ => self.usual.resolve(uri, config, timeout),
        }
    }
}

/// A connection to a proxy, which is told the whole address in each request.
#[derive(Debug)]
struct WholeAddresses {
    inner: Box<dyn Transport>,
    /// What precedes the path.
    origin: String,
    /// What the proxy asks for.
    authorization: Option<String>,
}

impl Transport for WholeAddresses {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        let Some(head) = with_whole_address(&output[..amount], &self.origin, self.authorization.as_deref()) else {
            return self.inner.transmit_output(amount, timeout);
        };
        let Some(room) = output.get_mut(..head.len()) else {
            return Err(Error::BadUri("the address is longer than a request can be".into()));
        };
        room.copy_from_slice(&head);
        self.inner.transmit_output(head.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// A request's head, which is sent in one piece, with the whole address in place of the path. `None` for what is no head.
fn with_whole_address(output: &[u8], origin: &str, authorization: Option<&str>) -> Option<Vec<u8>> {
    let path = output.iter().position(|&byte| byte == b' ')? + 1;
    let fields = output.iter().position(|&byte| byte == b'\n')? + 1;
    if output.get(path) != Some(&b'/') || path >= fields {
        return None;
    }
    let mut head = [&output[..path], origin.as_bytes(), &output[path..fields]].concat();
    if let Some(authorization) = authorization {
        head.extend_from_slice(format!("Proxy-Authorization: {authorization}\r\n").as_bytes());
    }
    head.extend_from_slice(&output[fields..]);
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)], address: &str) -> Result<Proxies, GetError> {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Proxies::from(variable, &Address::read(address).unwrap())
    }

    #[test]
    fn each_scheme_has_its_own_proxy() {
        let plain = |variables: &[_]| proxies(variables, "http://a.example/").unwrap().plain.map(|a| a.to_string());
        let tunnel = |variables: &[_]| proxies(variables, "http://a.example/").unwrap().tunnel.map(|a| a.port());
        let both = [("http_proxy", "p.example:1"), ("HTTPS_PROXY", "http://p.example:2"), ("ALL_PROXY", "p.example:3")];
        assert_eq!((plain(&both).as_deref(), tunnel(&both)), (Some("http://p.example:1/"), Some(2)));
        assert_eq!((plain(&both[1..2]), tunnel(&both[..1])), (None, None), "not that of the other scheme");
        assert_eq!((plain(&both[2..]).as_deref(), tunnel(&both[2..])), (Some("http://p.example:3/"), Some(3)));
        assert_eq!(plain(&[("http_proxy", " "), ("all_proxy", "")]), None);
        assert_eq!(plain(&[("HTTP_PROXY", "p.example")]).as_deref(), Some("http://p.example/"));
        assert_eq!(plain(&[("HTTP_PROXY", "p.example"), ("REQUEST_METHOD", "GET")]), None, "a header field");
    }

    #[test]
    fn an_unusable_proxy_is_an_error_without_its_password() {
        for proxy in ["socks5://me:secret@p.example:1", "me:secret@p.example:99999", "gopher://me:secret@p"] {
            let error = proxies(&[("all_proxy", proxy)], "https://a.example/").unwrap_err().to_string();
            assert!(error.contains("all_proxy") && !error.contains("secret"), "{error}");
            let all = [("https_proxy", proxy), ("no_proxy", "example")];
            proxies(&all, "https://a.example/").expect("it is not asked");
            proxies(&all[..1], "http://a.example/").expect("it is not asked");
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_and_networks() {
        let list =
            " one.example, .two.example *.three.example,127.0.0.0/8,[::1],fe80::/10, four.example:8000,10.1.2.3 ";
        let list = Exceptions::read(list);
        for (address, is_exception) in [
            ("http://one.example/", true),
            ("http://ONE.example./", true),
            ("http://a.one.example/", true),
            ("http://none.example/", false),
            ("http://a.two.example/", true),
            ("http://a.b.three.example/", true),
            ("http://127.1.2.3:80/", true),
            ("http://128.1.2.3/", false),
            ("http://[::1]:8000/", true),
            ("http://[fe90::5]/", true),
            ("http://[fec0::5]/", false),
            ("http://four.example:8000/", true),
            ("http://four.example/", false),
            ("http://10.1.2.3/", true),
            ("http://10.1.2.30/", false),
        ] {
            assert_eq!(list.contain(&address.parse().unwrap()), is_exception, "{address}");
        }
        assert!(Exceptions::read("*").contain(&"http://any.example/".parse().unwrap()));
        assert!(!Exceptions::read("").contain(&"http://any.example/".parse().unwrap()));
    }

    #[test]
    fn a_request_to_a_proxy_has_the_whole_address() {
        let asked = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n";
        let head = with_whole_address(asked, "http://x", None).unwrap();
        assert_eq!(head, b"GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = with_whole_address(asked, "http://x", Some("Basic eA==")).unwrap();
        let expected = b"GET http://x/a?b HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\nHost: x\r\n\r\n";
        assert_eq!(head, expected);
        for other in [&b""[..], b"GET", b"no head at all\n", b"GET http://y/ HTTP/1.1\r\n\r\n"] {
            assert_eq!(with_whole_address(other, "http://x", None), None);
        }
    }
}
