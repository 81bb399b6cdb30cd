//! The way to AWS, which a test can interrupt: a port of 127.0.0.1 that forwards to another one, with or without TLS.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What happens to connections.
#[derive(Clone)]
pub enum Way {
    Open,
    /// TLS with this certificate on the side of the client.
    Tls(Arc<ServerConfig>),
    /// No port listens.
    Refused,
    /// Each connection is reset when it is there.
    Reset,
}

pub struct Gateway {
    address: SocketAddr,
    to: SocketAddr,
    runtime: Option<Runtime>,
    /// Keeps the port for this gateway while none listens.
    _reserved: TcpSocket,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Gateway {
    /// To this address, and open.
    pub fn start(to: SocketAddr) -> Gateway {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let reserved = socket("127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap();
        let accepting = Mutex::default();
        let gateway = Gateway { address, to, runtime: Some(runtime), _reserved: reserved, accepting };
        gateway.set(Way::Open);
        gateway
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and treats new ones in this way.
    pub fn set(&self, way: Way) {
        let runtime = self.runtime.as_ref().expect("it is not dropped");
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = accepting.take() {
            task.abort();
            let _ = runtime.block_on(task);
        }
        if matches!(way, Way::Refused) {
            return;
        }
        let _runtime = runtime.enter();
        let listener = socket(self.address).listen(1024).unwrap();
        *accepting = Some(runtime.spawn(accept(listener, self.to, way)));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(listener: TcpListener, to: SocketAddr, way: Way) {
    // Dropped with this task, which ends them.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        if matches!(way, Way::Reset) {
            let _ = stream.set_zero_linger();
            continue;
        }
        connections.spawn(forward(stream, to, way.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(mut stream: TcpStream, to: SocketAddr, way: Way) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(to).await?;
    if let Way::Tls(config) = way {
        let mut stream = TlsAcceptor::from(config).accept(stream).await?;
        copy_bidirectional(&mut stream, &mut upstream).await?;
    } else {
        copy_bidirectional(&mut stream, &mut upstream).await?;
    }
    Ok(())
}

/// An authority for certificates of 127.0.0.1.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// TLS with a certificate of this authority that is valid until this year.
    pub fn tls(&self, valid_until: i32) -> Way {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(valid_until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        Way::Tls(Arc::new(config))
    }
}
