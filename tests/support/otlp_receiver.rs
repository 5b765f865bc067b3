//! A stand-in for an OTLP receiver over gRPC, built on the services' own traits: it keeps what it is sent, and plays
//! failures by a script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How one request for spans is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Some spans are refused.
    Partial(i64),
    /// A status in place of an answer.
    Status(Code),
    /// The message is too large, in the words of grpc-go.
    TooLarge,
    /// Not now: come again after this time.
    ComeAgain(Duration),
    /// The answer takes this long.
    Slow(Duration),
}

/// A request for spans.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub metadata: MetadataMap,
    pub spans: Vec<Span>,
    /// Whether the answer said that it was taken.
    pub is_taken: bool,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Answer>,
    /// Traces that are never taken, nor is whatever comes with them.
    refused: Vec<Vec<u8>>,
    traces: Vec<Received>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
}

/// A running receiver; it ends when it is dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: oneshot::Sender<()>,
}

impl OtlpReceiver {
    /// Starts a receiver on a free port, which answers the first requests for spans by the script and takes the others.
    pub fn start(script: impl IntoIterator<Item = Answer>) -> OtlpReceiver {
        OtlpReceiver::start_at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// Starts a receiver at this address.
    pub fn start_at(address: SocketAddr, script: impl IntoIterator<Item = Answer>) -> OtlpReceiver {
        OtlpReceiver::launch(address, script, Server::builder())
    }

    /// Starts a receiver on a free port that speaks TLS.
    pub fn start_with_tls(tls: ServerTlsConfig) -> OtlpReceiver {
        let server = Server::builder().tls_config(tls).expect("usable certificates");
        OtlpReceiver::launch("127.0.0.1:0".parse().expect("an address"), [], server)
    }

    fn launch(
        address: SocketAddr,
        script: impl IntoIterator<Item = Answer>,
        mut server: Server,
    ) -> OtlpReceiver {
        let state = Arc::new(Mutex::new(State { script: script.into_iter().collect(), ..State::default() }));
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let service = Service(Arc::clone(&state));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.expect("a port");
                tell.send(listener.local_addr().expect("an address")).expect("a test that waits");
                let gzip = CompressionEncoding::Gzip;
                let serving = server
                    .add_service(TraceServiceServer::new(service.clone()).accept_compressed(gzip))
                    .add_service(LogsServiceServer::new(service.clone()).accept_compressed(gzip))
                    .add_service(MetricsServiceServer::new(service).accept_compressed(gzip))
                    .serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    served = serving => served.expect("a server"),
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("an address");
        OtlpReceiver { address, state, _stop: stop }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no request from now on in which there is a span of this trace.
    pub fn refuse(&self, trace_id: Vec<u8>) {
        lock(&self.state).refused.push(trace_id);
    }

    /// Every request for spans so far.
    pub fn traces(&self) -> Vec<Received> {
        lock(&self.state).traces.clone()
    }

    /// The spans that were taken so far, in the order of their arrival.
    pub fn taken(&self) -> Vec<Span> {
        self.traces()
            .into_iter()
            .filter(|request| request.is_taken)
            .flat_map(|request| request.spans)
            .collect()
    }

    /// Every log record so far, in the order of their arrival. None is refused.
    pub fn logs(&self) -> Vec<LogRecord> {
        let requests = lock(&self.state).logs.clone();
        let resources = requests.into_iter().flat_map(|request| request.resource_logs);
        resources.flat_map(|resource| resource.scope_logs).flat_map(|scope| scope.log_records).collect()
    }

    /// Every push of metrics so far.
    pub fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        lock(&self.state).metrics.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while locked")
}

#[derive(Debug, Clone)]
struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let answer = lock(&self.0).script.pop_front();
        if let Some(Answer::Slow(time)) = answer {
            tokio::time::sleep(time).await;
        }
        let metadata = request.metadata().clone();
        let scopes =
            request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        let spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        let is_refused = spans.iter().any(|span| lock(&self.0).refused.contains(&span.trace_id));
        let (is_taken, outcome) = match answer {
            None | Some(Answer::Slow(_)) if is_refused => {
                (false, Err(Status::invalid_argument("not this one")))
            }
            None | Some(Answer::Slow(_)) => (true, Ok(None)),
            Some(Answer::TooLarge) => {
                let message = "grpc: received message larger than max (5449104 vs. 4194304)";
                (false, Err(Status::resource_exhausted(message)))
            }
            Some(Answer::Partial(rejected_spans)) => {
                let error_message = "some are too old".to_owned();
                (true, Ok(Some(ExportTracePartialSuccess { rejected_spans, error_message })))
            }
            Some(Answer::Status(code)) => (false, Err(Status::new(code, "as the script says"))),
            Some(Answer::ComeAgain(time)) => {
                let details = ErrorDetails::with_retry_info(Some(time));
                (false, Err(Status::with_error_details(Code::Unavailable, "not now", details)))
            }
        };
        lock(&self.0).traces.push(Received { at: Instant::now(), metadata, spans, is_taken });
        outcome.map(|partial_success| Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        lock(&self.0).metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        lock(&self.0).logs.push(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
