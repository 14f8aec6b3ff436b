//! TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A server with a certificate, and the certificate of who issued that, in a file.
fn secure_server(
    folder: &Folder,
    answers: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
) -> (Server, PathBuf) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let trusted = folder.0.join("authority.pem");
    fs::write(&trusted, authority.pem()).unwrap();

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (Server::with_tls(Some(Arc::new(config)), answers), trusted)
}

#[test]
fn a_file_comes_over_https_from_whom_the_machine_trusts() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(4 * MIB, 60));
    let file = remote.clone();
    let (server, trusted) = secure_server(&folder, move |asked, _| file.answer(asked));
    let done = run(get(&server.url("/a"), &folder.file()).env("SSL_CERT_FILE", trusted)).done();
    assert_same(&folder.file(), &remote.bytes);
    assert_eq!(done["connections"], 4);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let folder = Folder::new();
    let remote = Remote::new(bytes(MIB, 61));
    let file = remote.clone();
    let (server, trusted) = secure_server(&folder, move |asked, _| file.answer(asked));
    fs::remove_file(trusted).unwrap();
    let another = Folder::new();
    let (_, stranger) = secure_server(&another, move |asked, _| remote.answer(asked));
    run(get(&server.url("/a"), &folder.file()).env("SSL_CERT_FILE", stranger)).failed(3, "no secure connection");
    assert_eq!(server.asked().len(), 0);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_redirect_does_not_lead_from_a_safe_place_to_an_unsafe_one() {
    let folder = Folder::new();
    let plain = Server::of(&Remote::new(bytes(MIB, 62)));
    let to = format!("Location: {}\r\nContent-Length: 0\r\n", plain.url("/a"));
    let (secure, trusted) = secure_server(&folder, move |_, _| Answer::new("302 Found", &to, b""));
    run(get(&secure.url("/a"), &folder.file()).env("SSL_CERT_FILE", trusted)).failed(3, "not secure");
    assert_eq!(plain.asked().len(), 0);
}
