//! Posts to a web service of the owner's when the first viewer comes and when the last one leaves.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::hooks::{Event, Hook};

/// Time limit for one attempt: name lookup, connection, TLS and answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the second and last attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// A webhook. The log names only its host, because the rest of such a URL is often a secret.
pub(super) struct Webhook {
    url: Uri,
    /// Certificate authorities for https; `None`: the system's are read again for each event.
    roots: Option<Vec<CertificateDer<'static>>>,
}

impl Webhook {
    /// A webhook for an http: or https: URL with a host. Certificates are checked against the authorities that this
    /// machine trusts.
    pub(super) fn new(url: Uri) -> Self {
        Self { url, roots: None }
    }

    async fn post(&self, body: &str) -> Result<(), String> {
        let posted = tokio::time::timeout(PATIENCE, self.exchange(body.to_owned()));
        posted.await.unwrap_or_else(|_| Err("it did not answer within 5 s".into()))
    }

    async fn exchange(&self, body: String) -> Result<(), String> {
        let https = self.url.scheme_str() == Some("https");
        let host = self.url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(sentence("connecting"))?;
        if !https {
            return self.send(stream, body).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let tls = TlsConnector::from(Arc::new(self.tls().await?));
        let stream = tls.connect(name, stream).await.map_err(sentence("TLS"))?;
        self.send(stream, body).await
    }

    async fn tls(&self) -> Result<ClientConfig, String> {
        let authorities = match self.roots.clone() {
            Some(roots) => roots,
            None => tokio::task::spawn_blocking(|| rustls_native_certs::load_native_certs().certs)
                .await
                .map_err(|e| e.to_string())?,
        };
        let mut roots = rustls::RootCertStore::empty();
        if roots.add_parsable_certificates(authorities).0 == 0 {
            return Err("this machine trusts no certificate authority: install ca-certificates".into());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| e.to_string())?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    async fn send<S>(&self, stream: S, body: String) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let target = self.url.path_and_query().map_or("/", |p| p.as_str());
        let authority = self.url.authority().map_or("", |a| a.as_str());
        let request = Request::post(target)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("peercam/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| e.to_string())?;
        // The connection runs beside its request and ends with it; the answer's body is ignored.
        let mut running = tokio::task::JoinSet::new();
        running.spawn(connection);
        let status = sender.send_request(request).await.map_err(|e| e.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

impl Hook for Webhook {
    fn name(&self, _: Event) -> String {
        format!("watching.webhook ({})", self.url.host().unwrap_or_default())
    }

    async fn tell(&self, event: Event, viewers: usize) -> Result<(), String> {
        let at_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body =
            serde_json::json!({"event": event.name(), "at_unix": at_unix, "viewers": viewers}).to_string();
        if self.post(&body).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        self.post(&body).await
    }
}

fn sentence(what: &str) -> impl Fn(io::Error) -> String {
    move |e| format!("{what}: {e}")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `answers`; yields what was sent.
    async fn service(answers: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            let mut requests = vec![];
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                requests.push(answered(&mut stream, answer).await);
            }
            requests
        });
        (port, task)
    }

    /// Reads one request and answers it.
    async fn answered(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> String {
        let mut request = vec![];
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.expect("read") > 0, "no whole request");
        }
        stream.write_all(answer.as_bytes()).await.expect("written");
        stream.flush().await.expect("sent");
        String::from_utf8(request).expect("text")
    }

    fn hook(url: String) -> Webhook {
        Webhook::new(url.parse().expect("a URL"))
    }

    #[tokio::test]
    async fn the_second_attempt_may_succeed() {
        let answers = &["HTTP/1.1 503 No\r\n\r\n", "HTTP/1.1 204 Yes\r\n\r\n"];
        let (port, service) = service(answers).await;
        let hook = hook(format!("http://127.0.0.1:{port}/hook?key=secret"));
        assert_eq!(hook.tell(Event::First, 1).await, Ok(()));
        for request in service.await.expect("no panic") {
            assert!(request.starts_with("POST /hook?key=secret HTTP/1.1\r\n"), "{request}");
            let lower = request.to_lowercase();
            assert!(lower.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
            assert!(lower.contains("content-type: application/json\r\n"), "{request}");
            let body: serde_json::Value =
                serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
            assert_eq!((&body["event"], &body["viewers"]), (&"first".into(), &1.into()));
            assert!(body["at_unix"].as_u64().is_some_and(|at| at > 1_700_000_000));
        }
        assert_eq!(hook.name(Event::First), "watching.webhook (127.0.0.1)");
    }

    #[tokio::test]
    async fn two_attempts_and_no_more() {
        let (port, service) = service(&["HTTP/1.1 302 Over there\r\n\r\n", "HTTP/1.1 404 No\r\n\r\n"]).await;
        let told = hook(format!("http://127.0.0.1:{port}")).tell(Event::Last, 0).await;
        assert_eq!(told, Err("it answered 404 Not Found".into()));
        service.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_five_seconds() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port"); // never accepts
        let hook = hook(format!("http://{}", listener.local_addr().expect("an address")));
        let began = tokio::time::Instant::now();
        assert_eq!(hook.tell(Event::First, 1).await, Err("it did not answer within 5 s".into()));
        assert!(began.elapsed() < Duration::from_secs(12));
    }

    #[tokio::test]
    async fn https_is_checked_against_what_the_machine_trusts() {
        let ours = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(ours.signing_key.serialize_der()).expect("a key");
        let certificate = ours.cert.der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://127.0.0.1:{}/", listener.local_addr().expect("an address").port());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    answered(&mut stream, "HTTP/1.1 200 Yes\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        });
        let mut trusting = hook(url.clone());
        trusting.roots = Some(vec![certificate]);
        assert_eq!(trusting.tell(Event::First, 1).await, Ok(()));
        let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
        let mut doubting = hook(url);
        doubting.roots = Some(vec![stranger.cert.der().clone()]);
        let refused = doubting.tell(Event::First, 1).await.expect_err("a stranger");
        assert!(refused.starts_with("TLS: invalid peer certificate"), "{refused}");
    }
}
