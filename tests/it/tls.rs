//! TLS, as a client meets it: on both ports, beside clients that say nothing; and what keeps the program from starting.

use std::{fs, io, net::TcpStream, sync::Arc};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};

use crate::support::{
    backend::{Folder, Kind},
    client::Answer,
    eventually,
    program::{refusal, run},
    server::Server,
    wire,
};

const NAME: &str = "localhost";
/// Any but the development key.
const BANK_DETAILS_KEY: (&str, &str) =
    ("Security__BankDetailsKey", "aHVudGVyNGh1bnRlcjRodW50ZXI0aHVudGVyNGh1bnQ=");
const REQUIRED: (&str, &str) = ("Security__Access", "required");

/// A certificate that vouches for itself, in files.
struct Certificate {
    folder: Folder,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let folder = Folder::new();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
        fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        fs::write(folder.path().join("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        Self { folder, der: cert.der().clone() }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The protocol that a client that trusts it agrees on, and the answer when that is HTTP/1.1.
    fn get(&self, address: &str, path: &str, protocols: &[&str]) -> io::Result<(String, Option<Answer>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        wire::block_on(async {
            let stream = wire::connect(wire::address(1), address).await?;
            let name = NAME.try_into().unwrap();
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            let protocol = String::from_utf8_lossy(protocol).into_owned();
            // In HTTP/2 the next bytes would be frames.
            let answer = match protocol.as_str() {
                "h2" => None,
                _ => Some(wire::exchange(stream, "GET", path, &[]).await?),
            };
            Ok((protocol, answer))
        })
    }
}

fn with_tls(certificate: &Certificate, key: &str) -> [(&'static str, String); 2] {
    [("Server__TlsCertificate", certificate.file("cert.pem")), ("Server__TlsKey", certificate.file(key))]
}

#[test]
fn both_ports_speak_tls_and_nothing_else() {
    let certificate = Certificate::new();
    let variables = with_tls(&certificate, "key.pem");
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_with(Kind::Sqlite, &variables);
    let operations = server.operations_url();
    let operations = operations.strip_prefix("https://").unwrap();

    // Handshakes are not waited for one after the other.
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for address in [server.address(), operations] {
        let (protocol, answer) = certificate.get(address, "/health/live", &["http/1.1"]).unwrap();
        assert_eq!((protocol.as_str(), answer.unwrap().status), ("http/1.1", 200));
        let (protocol, _) = certificate.get(address, "/health/live", &["h2", "http/1.1"]).unwrap();
        assert_eq!(protocol, "h2");
        assert!(
            Certificate::new().get(address, "/health/live", &[]).is_err(),
            "another certificate is not trusted"
        );
        assert!(wire::send(address, "GET", "/health/live", &[]).is_err(), "in clear");
    }
    let health = server.run(&["health", "--operations", operations]);
    assert_eq!(health.code, Some(0), "{}", health.stderr);
    // Nor does the program wait for them when it ends.
    let (status, took) = server.stop();
    assert!(status.success() && took < std::time::Duration::from_secs(5), "{status} {took:?}");
    drop(silent);
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let certificate = Certificate::new();
    let told = |variables: &[(&str, String)]| {
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        refusal(Folder::new().path(), &["--listen", "127.0.0.1:0"], &variables)
    };
    assert!(told(&with_tls(&certificate, "other.pem")).contains("does not go with the key"));
    assert!(told(&with_tls(&certificate, "absent.pem")).contains("absent.pem cannot be read"));
    assert!(told(&with_tls(&certificate, "cert.pem")).contains("no private key"));
    assert!(told(&with_tls(&certificate, "key.pem")[..1]).contains("must both be set"));
}

#[test]
fn other_addresses_are_for_those_who_ask_for_keys() {
    let anywhere = ["migrate", "--listen", "0.0.0.0:0", "--operations", "0.0.0.0:0"];
    let told = refusal(Folder::new().path(), &anywhere, &[BANK_DETAILS_KEY]);
    assert!(told.contains("access is open") && told.contains("Security:Access"), "{told}");
    let told = refusal(Folder::new().path(), &anywhere, &[REQUIRED]);
    assert!(told.contains("development key"), "{told}");
    let ended = run(Folder::new().path(), &anywhere, &[REQUIRED, BANK_DETAILS_KEY]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let server = Server::start_with(Kind::Sqlite, &[]);
    eventually("the warning of open access", || server.log().contains("access is open").then_some(()));
    let server = Server::start_with(Kind::Sqlite, &[REQUIRED]);
    server.get("/api/merchants").expect(401);
    assert!(!server.log().contains("access is open"), "{}", server.log());
}
