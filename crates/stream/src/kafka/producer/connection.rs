//! A connection to one broker: TCP, TLS and SASL as configured, requests and answers in their order.
//!
//! It blocks, on the producer's own thread. An error ends it: what was asked for and not answered is unknown.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
    },
    protocol::{Decodable as _, Encodable as _, HeaderVersion as _, Request, StrBytes, VersionRange},
};
use openssl::{
    pkey::PKey,
    ssl::{SslConnector, SslFiletype, SslMethod, SslStream},
};

use super::sasl::{self, Credentials, Mechanism, SaslError, Scram};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that says nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// What we ask for is answered with far less.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const CLIENT_ID: &str = "fintech";
const API_VERSIONS_VERSION: i16 = 3;
/// The feature that says how transactions work (KIP-890).
const TRANSACTION_FEATURE: &str = "transaction.version";

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("{address}: {error}")]
    Io { address: String, error: io::Error },
    #[error("{address}: TLS: {reason}")]
    Tls { address: String, reason: String },
    #[error("{address}: {error}")]
    Sasl { address: String, error: SaslError },
    #[error("{address}: what the broker answers is not understood: {reason}")]
    Protocol { address: String, reason: String },
}

/// How a broker is spoken to.
#[derive(Clone, Default)]
pub struct Security {
    pub tls: Option<Tls>,
    pub sasl: Option<Credentials>,
}

#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    key_password: Option<String>,
}

impl Security {
    /// From settings in the words of librdkafka.
    pub fn new(settings: &[(&'static str, String)]) -> Self {
        let get = |name| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let protocol = get("security.protocol").unwrap_or_default();
        let tls = protocol.ends_with("ssl").then(|| Tls {
            ca: get("ssl.ca.location"),
            certificate: get("ssl.certificate.location"),
            key: get("ssl.key.location"),
            key_password: get("ssl.key.password"),
        });
        let sasl = protocol.starts_with("sasl").then(|| Credentials {
            mechanism: get("sasl.mechanism")
                .and_then(|name| Mechanism::parse(&name))
                .unwrap_or(Mechanism::Plain),
            username: get("sasl.username").unwrap_or_default(),
            password: get("sasl.password").unwrap_or_default(),
        });
        Self { tls, sasl }
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.read_exact(bytes),
            Self::Tls(stream) => stream.read_exact(bytes),
        }
    }
}

pub struct Connection {
    address: String,
    transport: Transport,
    versions: BTreeMap<i16, VersionRange>,
    transaction_version: i16,
    asked: i32,
    answered: i32,
}

impl Connection {
    /// To `address`, a host and a port.
    pub fn open(address: &str, security: &Security) -> Result<Self, ConnectionError> {
        let stream =
            connect(address).map_err(|error| ConnectionError::Io { address: address.to_owned(), error })?;
        let transport = match &security.tls {
            None => Transport::Plain(stream),
            Some(tls) => Transport::Tls(Box::new(tls.wrap(address, stream)?)),
        };
        let mut connection = Self {
            address: address.to_owned(),
            transport,
            versions: BTreeMap::new(),
            transaction_version: 0,
            asked: 0,
            answered: 0,
        };
        connection.ask_for_versions()?;
        if let Some(credentials) = &security.sasl {
            connection.authenticate(credentials)?;
        }
        Ok(connection)
    }

    /// How transactions work in this cluster; 2 and more: a produce request adds its partitions itself.
    pub const fn transaction_version(&self) -> i16 {
        self.transaction_version
    }

    /// The newest version of a request that both sides know, up to `max`.
    pub fn version<R: Request>(&self, max: i16) -> Result<i16, ConnectionError> {
        let broker = self.versions.get(&R::KEY).copied().unwrap_or(VersionRange { min: 0, max: -1 });
        let both = broker.intersect(&VersionRange { min: R::VERSIONS.min, max: R::VERSIONS.max.min(max) });
        if both.is_empty() {
            return Err(self.not_understood(format!("it does not know request {} as we do", R::KEY)));
        }
        Ok(both.max)
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), ConnectionError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.asked)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&[0; 4]);
        header
            .encode(&mut bytes, R::header_version(version))
            .and_then(|()| request.encode(&mut bytes, version))
            .map_err(|error| self.not_understood(error.to_string()))?;
        let length =
            i32::try_from(bytes.len() - 4).map_err(|error| self.not_understood(error.to_string()))?;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.asked = self.asked.wrapping_add(1);
        self.transport.write(&bytes).map_err(|error| self.broken(error))
    }

    /// The answer to the oldest request that has none; it must have been an `R`.
    pub fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response, ConnectionError> {
        let mut length = [0; 4];
        self.transport.read(&mut length).map_err(|error| self.broken(error))?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(self.not_understood(format!("an answer of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.transport.read(&mut bytes).map_err(|error| self.broken(error))?;
        let mut bytes = Bytes::from(bytes);
        let header = ResponseHeader::decode(&mut bytes, R::Response::header_version(version))
            .map_err(|error| self.not_understood(error.to_string()))?;
        if header.correlation_id != self.answered {
            return Err(self.not_understood("an answer to something else".to_owned()));
        }
        self.answered = self.answered.wrapping_add(1);
        R::Response::decode(&mut bytes, version).map_err(|error| self.not_understood(error.to_string()))
    }

    pub fn call<R: Request>(&mut self, request: &R, max: i16) -> Result<R::Response, ConnectionError> {
        let version = self.version::<R>(max)?;
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    fn ask_for_versions(&mut self) -> Result<(), ConnectionError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        self.send(&request, API_VERSIONS_VERSION)?;
        let answer = self.receive::<ApiVersionsRequest>(API_VERSIONS_VERSION)?;
        if answer.error_code != 0 {
            return Err(self.not_understood("the broker is too old; Kafka 2.8 is the oldest".to_owned()));
        }
        let range = |min, max| VersionRange { min, max };
        self.versions = answer
            .api_keys
            .iter()
            .map(|known| (known.api_key, range(known.min_version, known.max_version)))
            .collect();
        self.transaction_version = answer
            .finalized_features
            .iter()
            .find(|feature| feature.name.as_str() == TRANSACTION_FEATURE)
            .map_or(0, |feature| feature.max_version_level);
        Ok(())
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), ConnectionError> {
        let name = credentials.mechanism.name();
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name));
        let answer = self.call(&request, 1)?;
        if answer.error_code != 0 {
            let known: Vec<&str> = answer.mechanisms.iter().map(|name| name.as_str()).collect();
            return Err(self.refused(format!("it knows {}, not {name}", known.join(", "))));
        }
        if credentials.mechanism == Mechanism::Plain {
            self.exchange(sasl::plain(credentials))?;
            return Ok(());
        }
        let address = self.address.clone();
        let failed = |error| ConnectionError::Sasl { address: address.clone(), error };
        let mut scram = Scram::new(credentials).map_err(failed)?;
        let challenge = self.exchange(scram.first())?;
        let outcome = self.exchange(scram.last(&challenge).map_err(failed)?)?;
        scram.verify(&outcome).map_err(failed)
    }

    fn exchange(&mut self, bytes: Vec<u8>) -> Result<Bytes, ConnectionError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
        let answer = self.call(&request, 2)?;
        if answer.error_code != 0 {
            let said = answer.error_message.as_deref().unwrap_or("without a reason");
            return Err(self.refused(said.to_owned()));
        }
        Ok(answer.auth_bytes)
    }

    fn broken(&self, error: io::Error) -> ConnectionError {
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::other(format!("the broker has said nothing for {} s", SILENCE_MAX.as_secs()))
            }
            io::ErrorKind::UnexpectedEof => io::Error::other("the broker has closed the connection"),
            _ => error,
        };
        ConnectionError::Io { address: self.address.clone(), error }
    }

    fn not_understood(&self, reason: String) -> ConnectionError {
        ConnectionError::Protocol { address: self.address.clone(), reason }
    }

    fn refused(&self, reason: String) -> ConnectionError {
        ConnectionError::Sasl { address: self.address.clone(), error: SaslError::Refused(reason) }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Tls {
    fn wrap(&self, address: &str, stream: TcpStream) -> Result<SslStream<TcpStream>, ConnectionError> {
        let failed = |reason: String| ConnectionError::Tls { address: address.to_owned(), reason };
        let connector = self.connector().map_err(|error| failed(error.to_string()))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        connector.connect(host, stream).map_err(|error| failed(error.to_string()))
    }

    fn connector(&self) -> io::Result<SslConnector> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        match &self.ca {
            Some(path) if std::path::Path::new(path).is_dir() => {
                builder.load_verify_locations(None, Some(path.as_ref()))?;
            }
            Some(path) => builder.set_ca_file(path)?,
            None => {
                let found = openssl_probe::probe();
                let folder = found.cert_dir.first().map(|path| path.as_path());
                if found.cert_file.is_some() || folder.is_some() {
                    builder.load_verify_locations(found.cert_file.as_deref(), folder)?;
                }
            }
        }
        if let Some(path) = &self.certificate {
            builder.set_certificate_chain_file(path)?;
        }
        match (&self.key, &self.key_password) {
            (Some(path), Some(password)) => {
                let pem = std::fs::read(path)?;
                let key = PKey::private_key_from_pem_passphrase(&pem, password.as_bytes())?;
                builder.set_private_key(&key)?;
            }
            (Some(path), None) => builder.set_private_key_file(path, SslFiletype::PEM)?,
            _ => {}
        }
        Ok(builder.build())
    }
}
