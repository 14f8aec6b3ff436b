//! Stations that answer `ICY 200 OK` where HTTP has `HTTP/1.0 200 OK`, as SHOUTcast did before its second version.
//!
//! What follows is HTTP, with fields that begin with `icy-`; only that first line is not, and ureq refuses it. So it is
//! translated on its way up. The first bytes of a connection that are not `ICY`, in any case of letters, are left as they
//! are, and so is everything behind the first line.

use std::io::Write;
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// No server has a longer one.
const MOST_STATUS_LINE_BYTES: usize = 512;

/// The last link of a chain of connectors, or the last but one; behind TLS, if there is any.
///
/// ```
/// use roundelay_player::shoutcast::UnderstandsIcy;
/// use ureq::unversioned::resolver::DefaultResolver;
/// use ureq::unversioned::transport::{Connector, DefaultConnector};
///
/// let connector = DefaultConnector::new().chain(UnderstandsIcy);
/// let agent = ureq::Agent::with_parts(ureq::config::Config::default(), connector, DefaultResolver::default());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderstandsIcy;

impl<T: Transport> Connector<T> for UnderstandsIcy {
    type Out = Translated<T>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<T>) -> Result<Option<Translated<T>>, Error> {
        Ok(chained.map(|inner| Translated { inner, is_read: false, left_over: Vec::new() }))
    }
}

/// A connection whose first line may have been another.
#[derive(Debug)]
pub struct Translated<T> {
    inner: T,
    /// The first line, as far as it matters.
    is_read: bool,
    /// What was read with it, and had no more room behind it.
    left_over: Vec<u8>,
}

impl<T: Transport> Transport for Translated<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if !self.left_over.is_empty() {
            self.append_left_over();
            return Ok(true);
        }
        if self.is_read {
            return self.inner.await_input(timeout);
        }
        let start = Instant::now();
        let mut next = timeout;
        loop {
            let more = self.inner.await_input(next)?;
            match read_first_line(self.inner.buffers().input()) {
                FirstLine::Cut if more => {}
                FirstLine::Icy { line_bytes, translated } => {
                    self.replace(line_bytes, translated);
                    return Ok(true);
                }
                FirstLine::Cut | FirstLine::Other => {
                    self.is_read = true;
                    return Ok(more);
                }
            }
            // However slowly it comes, all of it is one answer.
            if !timeout.after.is_not_happening() {
                next.after = timeout.after.saturating_sub(start.elapsed()).into();
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T: Transport> Translated<T> {
    /// Puts `translated` in place of the first `line_bytes` bytes of the input.
    fn replace(&mut self, line_bytes: usize, mut translated: Vec<u8>) {
        let buffers = self.inner.buffers();
        let input = buffers.input();
        translated.extend_from_slice(&input[line_bytes..]);
        let length = input.len();
        buffers.input_consume(length);
        self.left_over = translated;
        self.append_left_over();
        self.is_read = true;
    }

    /// It is longer than what it replaces by a few bytes, and the buffer may have been full.
    fn append_left_over(&mut self) {
        let buffers = self.inner.buffers();
        let room = buffers.input_append_buf();
        let length = room.len().min(self.left_over.len());
        room[..length].copy_from_slice(&self.left_over[..length]);
        buffers.input_appended(length);
        self.left_over.drain(..length);
    }
}

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
enum FirstLine {
    /// It may become an ICY line yet.
    Cut,
    /// So many bytes mean this.
    Icy { line_bytes: usize, translated: Vec<u8> },
    /// HTTP, or something that is for others to refuse.
    Other,
}

/// Tells a first line from its beginning.
///
/// `ICY 200 OK` may be in small letters, without its spaces, or with more of them, and end in a bare line feed.
fn read_first_line(input: &[u8]) -> FirstLine {
    const MARK: &[u8] = b"ICY";
    let start = &input[..input.len().min(MARK.len())];
    if !start.eq_ignore_ascii_case(&MARK[..start.len()]) {
        return FirstLine::Other;
    }
    let head = &input[..input.len().min(MOST_STATUS_LINE_BYTES)];
    let Some(end) = head.iter().position(|&byte| byte == b'\n') else {
        return if head.len() < MOST_STATUS_LINE_BYTES { FirstLine::Cut } else { FirstLine::Other };
    };
    let Some((code, reason)) = status(head[MARK.len()..end].trim_ascii()) else { return FirstLine::Other };
    let mut translated = Vec::new();
    // Writing to a vector does not fail.
    let _ = write!(translated, "HTTP/1.0 {code} {reason}\r\n");
    FirstLine::Icy { line_bytes: end + 1, translated }
}

/// Code and reason of an answer that is the last one.
fn status(line: &[u8]) -> Option<(u16, String)> {
    let (digits, reason) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || reason.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let code = str::from_utf8(digits).ok()?.parse().ok()?;
    let reason = reason.trim_ascii().iter().filter(|byte| (b' '..=b'~').contains(byte)).copied().map(char::from);
    (200..600).contains(&code).then(|| (code, reason.collect()))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    use ureq::unversioned::resolver::DefaultResolver;
    use ureq::unversioned::transport::DefaultConnector;
    use ureq::{Agent, Body};

    use super::*;

    fn icy(line_bytes: usize, translated: &str) -> FirstLine {
        FirstLine::Icy { line_bytes, translated: translated.into() }
    }

    #[test]
    fn first_lines_are_read_as_servers_send_them() {
        assert_eq!(read_first_line(b"ICY 200 OK\r\nicy-name:x"), icy(12, "HTTP/1.0 200 OK\r\n"));
        assert_eq!(read_first_line(b"icy 200 ok\r\n"), icy(12, "HTTP/1.0 200 ok\r\n"));
        assert_eq!(read_first_line(b"ICY200 OK\r\n"), icy(11, "HTTP/1.0 200 OK\r\n"));
        assert_eq!(read_first_line(b"Icy  200OK \n"), icy(12, "HTTP/1.0 200 OK\r\n"));
        assert_eq!(read_first_line(b"ICY 200\r\n"), icy(9, "HTTP/1.0 200 \r\n"));
        assert_eq!(read_first_line(b"ICY 404 Resource Not Found\r\n"), icy(28, "HTTP/1.0 404 Resource Not Found\r\n"));
        assert_eq!(read_first_line(b"ICY 401 \x1b[2J\xff\r\n"), icy(15, "HTTP/1.0 401 [2J\r\n"));
    }

    #[test]
    fn what_is_not_icy_is_left_alone() {
        for other in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"H",
            b"IC 200",
            b"ICY banana\r\n",
            b"ICY 2000 OK\r\n",
            b"ICY 20\r\n",
            b"ICY 100 Continue\r\n",
            b"ICY 999 x\r\n",
            b"ICY\r\n",
            b"ICYicles 200 OK\r\n",
            &[b"ICY 200 ".as_slice(), &[b'x'; 600]].concat(),
        ] {
            assert_eq!(read_first_line(other), FirstLine::Other, "{}", other.escape_ascii());
        }
        for cut in [&b""[..], b"I", b"ic", b"ICY", b"ICY 200 OK", b"ICY 200 OK\r"] {
            assert_eq!(read_first_line(cut), FirstLine::Cut);
        }
    }

    /// What a server sends: in pieces of so many bytes, one after the other.
    fn send(mut client: impl Read + Write, answer: &[u8], piece_bytes: usize) -> io::Result<()> {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            asked.push(byte[0]);
        }
        for piece in answer.chunks(piece_bytes) {
            client.write_all(piece)?;
            client.flush()?;
            if piece_bytes < 100 {
                // Long enough for the other side to see each by itself.
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    fn agent(tls: TlsConfig) -> Agent {
        let config = Agent::config_builder()
            .proxy(None)
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Agent::with_parts(config, DefaultConnector::new().chain(UnderstandsIcy), DefaultResolver::default())
    }

    type Response = Result<ureq::http::Response<Body>, Error>;

    /// Asks a server that sends this.
    fn ask(answer: &[u8], piece_bytes: usize) -> (Response, thread::JoinHandle<()>) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answer = answer.to_vec();
        let server = thread::spawn(move || {
            let (client, _) = socket.accept().unwrap();
            client.set_nodelay(true).unwrap();
            // A client that has seen enough hangs up.
            let _ = send(client, &answer, piece_bytes);
        });
        (agent(TlsConfig::default()).get(format!("http://{address}/")).call(), server)
    }

    const BODY: &[u8] = b"ICY 200 OK\r\nand other sound";

    fn answer(line: &str) -> Vec<u8> {
        [line.as_bytes(), b"\r\nicy-name:A station\r\nicy-metaint:16000\r\n\r\n", BODY].concat()
    }

    fn assert_station(response: Response) {
        let mut response = response.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["icy-name"], "A station");
        assert_eq!(response.headers()["icy-metaint"], "16000");
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        assert_eq!(body, BODY);
    }

    #[test]
    fn an_old_server_is_understood_however_its_answer_is_cut() {
        for line in ["ICY 200 OK", "icy200 ok"] {
            for piece_bytes in [1, 2, 3, 7, 11, 12, 1_000] {
                let (response, server) = ask(&answer(line), piece_bytes);
                assert_station(response);
                server.join().unwrap();
            }
        }
    }

    #[test]
    fn other_servers_are_understood_as_before() {
        for piece_bytes in [1, 1_000] {
            let (response, server) = ask(&answer("HTTP/1.1 200 OK"), piece_bytes);
            assert_station(response);
            server.join().unwrap();
        }
    }

    #[test]
    fn a_refusal_is_a_refusal() {
        let (response, server) = ask(&answer("ICY 404 Resource Not Found"), 1);
        assert_eq!(response.unwrap().status(), 404);
        server.join().unwrap();
    }

    #[test]
    fn nonsense_is_an_error() {
        for nonsense in ["ICY banana", "ICY", "ICY 100 Continue", "ICYHTTP/1.0 200 OK"] {
            let (response, server) = ask(&answer(nonsense), 1);
            assert!(matches!(response, Err(Error::Protocol(_))), "{nonsense}: {response:?}");
            server.join().unwrap();
        }
        for cut_off in ["I", "ICY 200"] {
            let (response, server) = ask(cut_off.as_bytes(), 1);
            assert!(response.is_err(), "{cut_off}");
            server.join().unwrap();
        }
    }

    #[test]
    fn an_answer_that_fills_the_buffer_loses_nothing() {
        // More than ureq takes at a time.
        let sound: Vec<u8> = (0u32..400_000).map(|at| (at % 251) as u8).collect();
        let (response, server) = ask(&[&b"ICY 200 OK\r\n\r\n"[..], &sound].concat(), usize::MAX);
        let mut body = Vec::new();
        response.unwrap().body_mut().as_reader().read_to_end(&mut body).unwrap();
        assert!(body == sound);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_never_ends_its_line_is_given_up() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (client, _) = socket.accept().unwrap();
            // As slowly as may be: each byte comes in time, and all of them do not.
            let _ = send(client, &b"ICY 200 ".iter().copied().chain([b'x'; 400]).collect::<Vec<_>>(), 1);
        });
        let config = Agent::config_builder().proxy(None).timeout_recv_response(Some(Duration::from_millis(200)));
        let connector = DefaultConnector::new().chain(UnderstandsIcy);
        let agent = Agent::with_parts(config.build(), connector, DefaultResolver::default());
        assert!(matches!(agent.get(format!("http://{address}/")).call(), Err(Error::Timeout(_))));
        server.join().unwrap();
    }

    #[test]
    fn an_old_server_is_understood_behind_tls() {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let config = Arc::new(config);

        let trusted = Certificate::from_der(authority.der()).to_owned();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[trusted])).build();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for piece_bytes in [1, 1_000] {
            let response = thread::scope(|scope| {
                scope.spawn(|| {
                    let (client, _) = socket.accept().unwrap();
                    client.set_nodelay(true).unwrap();
                    let mut client = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), client);
                    send(&mut client, &answer("ICY 200 OK"), piece_bytes).unwrap();
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                });
                agent(tls.clone()).get(format!("https://{address}/")).call()
            });
            assert_station(response);
        }
    }
}
