//! Do calls of gRPC work through weir, and is what weir itself says understood? tonic on both ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{BoxFuture, BoxStream, Context, Poll, Service};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::rig::{self, App, h2c_both, run, site};
use crate::support::{Site, Weir};

/// Messages are bytes.
#[derive(Clone, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;
    fn encoder(&mut self) -> Bytes {
        Bytes
    }
    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// A service whose methods are told apart by the path.
struct Echo {
    name: &'static str,
    path: String,
    shared: Arc<rig::Shared>,
}

impl Service<Request<Streaming<Vec<u8>>>> for Echo {
    type Response = Response<BoxStream<Vec<u8>>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (name, path, shared) = (self.name, self.path.clone(), Arc::clone(&self.shared));
        Box::pin(async move {
            shared.note(&path);
            let timeout = request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(request.metadata().get("te").unwrap(), "trailers");
            let mut incoming = request.into_inner();
            let (send, outgoing) = mpsc::channel(16);
            match path.as_str() {
                "/echo/Fail" => return Err(Status::resource_exhausted("no more")),
                "/echo/Unavailable" => return Err(Status::unavailable(name)),
                _ => {}
            }
            tokio::spawn(async move {
                let mut all = Vec::new();
                while let Ok(Some(message)) = incoming.message().await {
                    match path.as_str() {
                        "/echo/Both" => drop(send.send(Ok(message)).await),
                        _ => all.extend(message),
                    }
                }
                match path.as_str() {
                    "/echo/Both" => {}
                    "/echo/Down" => {
                        for byte in all {
                            let _ = send.send(Ok(vec![byte; 3])).await;
                        }
                    }
                    "/echo/Late" => {
                        let _ = send.send(Ok(b"first".to_vec())).await;
                        let _ = send.send(Err(Status::data_loss("in the midst"))).await;
                    }
                    "/echo/Slow" => {
                        send.closed().await;
                    }
                    "/echo/Begun" => {
                        let _ = send.send(Ok(b"first".to_vec())).await;
                        send.closed().await;
                    }
                    "/echo/Name" => drop(send.send(Ok(name.as_bytes().to_vec())).await),
                    "/echo/Timeout" => drop(send.send(Ok(timeout.unwrap_or_default().into_bytes())).await),
                    _ => drop(send.send(Ok(all)).await),
                }
            });
            Ok(Response::new(Box::pin(ReceiverStream::new(outgoing)) as BoxStream<Vec<u8>>))
        })
    }
}

/// A server of gRPC.
fn server(name: &'static str) -> App {
    App::accepting(move |_, tcp, shared| {
        Box::pin(async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let echo = Echo { name, path: request.uri().path().to_owned(), shared: Arc::clone(&shared) };
                async move {
                    let answer = tonic::server::Grpc::new(Bytes).streaming(echo, request).await;
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(tcp), service).await;
        })
    })
}

struct Client(tonic::client::Grpc<Channel>);

impl Client {
    async fn connect(address: SocketAddr) -> Client {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Client(tonic::client::Grpc::new(channel))
    }

    async fn stream(
        &mut self,
        path: &'static str,
        request: Request<impl tonic::codegen::tokio_stream::Stream<Item = Vec<u8>> + Send + 'static>,
    ) -> Result<Response<Streaming<Vec<u8>>>, Status> {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        self.0.streaming(request, path.parse().unwrap(), Bytes).await
    }

    async fn unary(&mut self, path: &'static str, message: &[u8]) -> Result<Vec<u8>, Status> {
        self.call(path, Request::new(message.to_vec())).await
    }

    async fn call(&mut self, path: &'static str, request: Request<Vec<u8>>) -> Result<Vec<u8>, Status> {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(self.0.unary(request, path.parse().unwrap(), Bytes).await?.into_inner())
    }
}

fn weir(site: &Site) -> Weir {
    Weir::start(&rig::to_h2c(&site.toml()).replace("http://web", "grpc://web"))
}

#[test]
fn all_four_kinds_of_call() {
    let a = server("a");
    let weir = weir(&site([&a]));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        assert_eq!(client.unary("/echo/Unary", b"hello").await.unwrap(), b"hello");
        let large = vec![7; 900_000];
        assert!(client.unary("/echo/Unary", &large).await.unwrap() == large);

        let down = Request::new(tonic::codegen::tokio_stream::once(b"xyz".to_vec()));
        let mut down = client.stream("/echo/Down", down).await.unwrap().into_inner();
        let mut got = Vec::new();
        while let Some(message) = down.message().await.unwrap() {
            got.push(String::from_utf8(message).unwrap());
        }
        assert_eq!(got, ["xxx", "yyy", "zzz"]);

        let up = Request::new(tonic::codegen::tokio_stream::iter([b"a".to_vec(), b"bc".to_vec()]));
        let mut up = client.stream("/echo/Up", up).await.unwrap().into_inner();
        assert_eq!(up.message().await.unwrap().unwrap(), b"abc");
        assert_eq!(up.message().await.unwrap(), None);

        let (say, said) = mpsc::channel(1);
        let mut both = client.stream("/echo/Both", Request::new(ReceiverStream::new(said))).await.unwrap().into_inner();
        for message in [&b"one"[..], b"two", b"three"] {
            say.send(message.to_vec()).await.unwrap();
            assert_eq!(both.message().await.unwrap().unwrap(), message);
        }
        drop(say);
        assert_eq!(both.message().await.unwrap(), None);
    });
}

#[test]
fn a_status_comes_as_it_was_sent() {
    let a = server("a");
    let weir = weir(&site([&a]));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        // Trailers-Only, and trailers behind a message.
        let status = client.unary("/echo/Fail", b"x").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no more"));
        let late = Request::new(tonic::codegen::tokio_stream::once(b"x".to_vec()));
        let mut late = client.stream("/echo/Late", late).await.unwrap().into_inner();
        assert_eq!(late.message().await.unwrap().unwrap(), b"first");
        let status = late.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "in the midst"));
    });
}

#[test]
fn what_weir_itself_says_is_a_status() {
    let dead = App::accepting(|_, tcp, _| Box::pin(async move { drop(tcp) }));
    let weir = weir(&site([&dead]));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        let status = client.unary("/echo/Unary", b"x").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    });
    // A peer that waits for the whole body: whose end is then seen first is no matter of luck.
    let a = server("a");
    let weir = self::weir(&site([&a]).top("client_max_body_size = \"1k\""));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        let status = client.unary("/echo/Unary", &[7; 2_000]).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, "the request's body exceeds client_max_body_size")
        );
    });
}

#[test]
fn a_deadline_is_kept_and_passed_on() {
    let a = server("a");
    let weir = weir(&site([&a]));
    run(async {
        // By hand, since tonic would keep its own deadline itself.
        let client = rig::Client::connect(weir.address()).await;
        let call = |path, timeout: &str| {
            let call = client.request("POST", path).header("content-type", "application/grpc").header("te", "trailers");
            call.header("grpc-timeout", timeout)
        };
        let message = b"\0\0\0\0\x01x";
        let answer = client.ask(call("/echo/Timeout", "9S"), message).await.unwrap();
        assert_eq!((&answer.body[5..], answer.trailer("grpc-status")), (&b"9S"[..], Some("0")));
        let answer = client.ask(call("/echo/Slow", "100m"), message).await.unwrap();
        let status = answer.field("grpc-status").or(answer.trailer("grpc-status"));
        assert_eq!((answer.status, status), (200, Some("4")));
        let answer = client.ask(call("/echo/Begun", "200m"), message).await.unwrap();
        assert_eq!(answer.trailer("grpc-status"), Some("4"));
        // That blamed nobody.
        let answer = client.ask(call("/echo/Unary", "9S"), message).await.unwrap();
        assert_eq!(answer.body, message);
    });
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:?}", weir.log());
}

#[test]
fn a_deadline_holds_before_the_first_byte_of_an_answer() {
    let held = App::start(|mut call| async move {
        let _ = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
        call.app.note("reset");
    });
    let weir = weir(&site([&held]));
    run(async {
        let client = rig::Client::connect(weir.address()).await;
        let call = client.request("POST", "/x").header("content-type", "application/grpc");
        let answer = client.ask(call.header("grpc-timeout", "100m"), b"\0\0\0\0\0").await.unwrap();
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("4")));
        assert_eq!(answer.field("grpc-message"), Some("the call's deadline has passed"));
        rig::soon("the application hears of it", || held.shared.noted("reset") == 1).await;
    });
}

#[test]
fn a_named_status_is_tried_elsewhere_and_counts() {
    let (bad, good) = (failing("bad"), server("good"));
    let weir = weir(&site([&bad, &good]).location("proxy_next_upstream = \"error grpc_unavailable non_idempotent\""));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        for _ in 0..4 {
            assert_eq!(client.unary("/echo/Name", b"x").await.unwrap(), b"good");
        }
    });
    weir.wait_for_state(bad.address, "unavail");
    weir.wait_for("the log says why", |line| line.contains("answered grpc_unavailable"));
}

#[test]
fn a_status_that_is_not_named_is_passed_on() {
    let bad = failing("bad");
    let weir = weir(&site([&bad, &server("good")]));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.push(client.unary("/echo/Name", b"x").await.map_err(|status| status.code()));
        }
        assert!(seen.contains(&Err(Code::Unavailable)) && seen.contains(&Ok(b"good".to_vec())), "{seen:?}");
    });
}

/// One that answers UNAVAILABLE to everything.
fn failing(name: &'static str) -> App {
    App::start(move |call| async move {
        call.answer(&[("content-type", "application/grpc"), ("grpc-status", "14"), ("grpc-message", name)], "");
    })
}

#[test]
fn a_call_that_its_client_cancels_is_cancelled_at_the_application() {
    let app = App::start(|mut call| async move {
        let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
        call.app.note(&format!("{reason:?}"));
    });
    let weir = h2c_both(&site([&app]));
    run(async {
        let mut client = Client::connect(weir.address()).await;
        let call = client.unary("/echo/Unary", b"x");
        assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
        rig::soon("it hears of it", || app.shared.noted("CANCEL") == 1).await;
    });
}
