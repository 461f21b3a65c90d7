//! TLS for what is served (1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN): the certificate is read once, at the start, and
//! a pair that no client could use stops it. What crosses the network in clear is nobody's choice but the operator's.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
    },
    server::TlsStream,
};

/// From the first byte to the last one of a handshake; a client that means it needs three round trips at most.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A chain is a few certificates long.
const CHAIN_CERTIFICATES_MAX: usize = 16;

/// A certificate with its key, ready for connections. It has no `Debug`: it holds the key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why a certificate cannot be used; each is a sentence with what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read ({reason}); name a PEM file that this user may read", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("there is no certificate in {}; name a PEM file with the certificate and those that vouch for it", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} has more than {CHAIN_CERTIFICATES_MAX} certificates; name a file with one chain", .0.display())]
    LongChain(PathBuf),
    #[error("there is no private key in {}; name a PEM file with an unencrypted key (PKCS#8, PKCS#1 or SEC1)", .0.display())]
    NoKey(PathBuf),
    #[error(
        "the certificate in {} does not go with the key in {} ({reason}); name the two that were made for each other",
        certificate.display(), key.display()
    )]
    Unusable { certificate: PathBuf, key: PathBuf, reason: String },
}

impl Tls {
    /// Reads two PEM files: the certificate followed by those that vouch for it, and its private key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = read_chain(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey(key.to_owned()),
            error => unreadable(key, &error),
        })?;
        let unusable = |error: rustls::Error| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: error.to_string(),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, secret).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// An error when the client does not speak TLS, or not in time.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(HANDSHAKE_TIMEOUT, self.0.accept(stream)).await?
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    let mut chain = Vec::new();
    for certificate in certificates {
        if chain.len() == CHAIN_CERTIFICATES_MAX {
            return Err(TlsError::LongChain(path.to_owned()));
        }
        chain.push(certificate.map_err(|error| unreadable(path, &error))?);
    }
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

fn unreadable(path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        // Its text may repeat a line of the file, which may be the key.
        _ => "it is not PEM".to_owned(),
    };
    TlsError::Unreadable { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::{env::temp_dir, fs};

    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
    use uuid::Uuid;

    use super::*;

    /// A folder with a certificate, its key and what is not one.
    struct Files(PathBuf);

    impl Files {
        fn new() -> Self {
            let folder = temp_dir().join(format!("fintech-tls-{}", Uuid::new_v4().simple()));
            fs::create_dir_all(&folder).unwrap();
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let files = Self(folder);
            fs::write(files.path("cert.pem"), cert.pem()).unwrap();
            fs::write(files.path("key.pem"), signing_key.serialize_pem()).unwrap();
            fs::write(files.path("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
            fs::write(files.path("text.pem"), "not PEM at all\n").unwrap();
            fs::write(files.path("broken.pem"), "-----BEGIN PRIVATE KEY-----\nhunter2\n").unwrap();
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn told(&self, certificate: &str, key: &str) -> String {
            Tls::read(&self.path(certificate), &self.path(key)).err().unwrap().to_string()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_file_and_without_its_content() {
        let files = Files::new();
        assert!(Tls::read(&files.path("cert.pem"), &files.path("key.pem")).is_ok());
        for (certificate, key, file, sentence) in [
            ("absent.pem", "key.pem", "absent.pem", "cannot be read"),
            ("text.pem", "key.pem", "text.pem", "no certificate"),
            ("key.pem", "key.pem", "key.pem", "no certificate"),
            ("cert.pem", "absent.pem", "absent.pem", "cannot be read"),
            ("cert.pem", "cert.pem", "cert.pem", "no private key"),
            ("cert.pem", "broken.pem", "broken.pem", "cannot be read"),
            ("cert.pem", "other.pem", "other.pem", "does not go with"),
        ] {
            let told = files.told(certificate, key);
            assert!(told.contains(sentence) && told.contains(file), "{certificate} {key}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
