//! An echo server over TLS, by rustls, on either model: what comes over an encrypted connection goes back.
//!
//! The library knows no TLS. What is between a stream and its socket is a [`Transport`](linux_event::net::Transport), bytes in and
//! bytes out, which `tls.rs` makes of a rustls connection in some forty lines.
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout key.pem -out cert.pem
//! cargo run --example tls_echo -- --serve 127.0.0.1:4433 --cert cert.pem --key key.pem --model proactor
//! openssl s_client -connect 127.0.0.1:4433 -CAfile cert.pem -quiet
//! ```

mod tls;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use linux_event::net::{Listener, Net, Stream};
use linux_event::{BoxError, Loop, LoopError};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tls::Tls;

/// An echo server over TLS, on either model
#[derive(Debug, Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    serve: SocketAddr,
    /// The certificate and its chain, PEM
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the server runs on
    #[arg(long, value_enum, default_value = "reactor")]
    model: Model,
}

/// The execution models that the server can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Model {
    /// Readiness, by epoll
    Reactor,
    /// Completion, by io_uring
    Proactor,
}

/// The exit code where io_uring may not be used: what many test harnesses read as "skipped".
const NO_RING: u8 = 77;
/// A connection that is silent for so long is closed, one that does not finish its handshake too.
const IDLE: Duration = Duration::from_mins(1);
/// Accepting that paused for want of descriptors goes on after so long.
const PAUSE: Duration = Duration::from_millis(100);

/// The application: it knows neither what it runs on nor how it is encrypted.
fn serve<M: Net, S>(
    event_loop: &mut Loop<M, S>,
    address: SocketAddr,
    config: Arc<ServerConfig>,
) -> Result<Listener, linux_event::Error> {
    Listener::tcp(event_loop, address)
        .retry_after(PAUSE) // for want of descriptors; streams that end give some back
        .on_error(|_, _, error| eprintln!("{error}"))
        .start(move |event_loop, _, socket| {
            let tls = Tls::server(Arc::clone(&config))?;
            Stream::over(event_loop, socket)
                .transport(tls)
                .throttled()
                .idle_timeout(IDLE)
                .on_data(|event_loop, stream, bytes| stream.write(event_loop, bytes).map(drop))
                .on_error(|_, _, error| println!("a connection has failed: {error}"))
                .start()?;
            Ok::<(), BoxError>(())
        })
}

fn run<M: Net, S>(
    mut event_loop: Loop<M, S>,
    address: SocketAddr,
    config: Arc<ServerConfig>,
) -> Result<(), Box<dyn Error>> {
    event_loop.signal(["INT", "TERM"], |event_loop, _| event_loop.stop())?;
    let listener = serve(&mut event_loop, address, config)?;
    println!("listening on {}", listener.local_address(&mut event_loop)?);
    event_loop.run()?;
    Ok(())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let certificates = CertificateDer::pem_file_iter(&arguments.cert)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    let config = Arc::new(config);
    match arguments.model {
        Model::Reactor => run(Loop::reactor()?, arguments.serve, config)?,
        Model::Proactor => match Loop::proactor() {
            Err(linux_event::Error::Loop(
                error @ (LoopError::NoRing { .. } | LoopError::RingTooOld),
            )) => {
                println!("{error}");
                return Ok(ExitCode::from(NO_RING));
            }
            event_loop => run(event_loop?, arguments.serve, config)?,
        },
    }
    Ok(ExitCode::SUCCESS)
}
