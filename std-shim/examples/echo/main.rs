//! A TCP echo server on the loop, and a load to measure it with.
//!
//! Without arguments it runs the load against the server for 2 seconds, in one process: the server in the main thread,
//! the clients in a second one, each thread with a loop of its own. Every client has one message under way and checks
//! every byte that comes back. It prints one line for each model and ends by itself:
//!
//! ```text
//! model=reactor connections=16 size=64 messages/s=… p50=…µs p99=…µs p99.9=…µs errors=0 syscalls/message=…
//! model=proactor connections=16 size=64 messages/s=… p50=…µs p99=…µs p99.9=…µs errors=0 syscalls/message=…
//! ```
//!
//! The time of a message is from just before it is sent until its last byte is back. System calls are all that the
//! server's thread makes from the first accept to the last close: waits, `epoll_ctl` and `io_uring_enter` by the loop's own
//! statistics, what its listener and streams call themselves by theirs.
//!
//! `--serve 127.0.0.1:3000` serves until SIGINT or SIGTERM, which it takes through signalfd, and exits with code 0:
//!
//! ```text
//! listening on 127.0.0.1:3000
//! served connections=… bytes=… resets=… refused=… pauses=…
//! ```
//!
//! `--model` chooses one of the two. Where io_uring may not be used, the line of the proactor says so; if that is all that
//! was asked for, the exit code is 77.
//!
//! The files: `server` is the server, on either model; `counts` is what it has done; `load` is the clients.
#![forbid(unsafe_code)]

mod counts;
mod load;
mod server;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use linux_event::{Epoll, Loop, LoopError, Proactor, Reactor, Uring};

use counts::Counts;

/// A TCP echo server on a linux-event loop, with a built-in load.
#[derive(Parser)]
struct Arguments {
    /// Serve here until SIGINT or SIGTERM; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    serve: Option<SocketAddr>,
    /// How long the load runs
    #[arg(long, value_name = "N", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// How many clients the load has
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How large a message is
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16 << 20))]
    size: u32,
    /// What the server runs on; without it, each in turn (or the first, to serve)
    #[arg(long, value_enum)]
    model: Option<Model>,
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

/// What a run against the load came to.
struct Measured {
    load: load::Report,
    /// System calls of the server's thread.
    syscalls: u64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(address) = arguments.serve {
        let served = match arguments.model.unwrap_or(Model::Reactor) {
            Model::Reactor => on_epoll().and_then(|server| server::serve(server, address)),
            Model::Proactor => on_ring().and_then(|server| server::serve(server, address)),
        };
        return match served {
            Err(error) if is_about_ring(&*error) => {
                println!("{error}");
                Ok(ExitCode::from(NO_RING))
            }
            served => served.map(|()| ExitCode::SUCCESS),
        };
    }
    let plan = load::Plan {
        duration: arguments.seconds,
        connections: arguments.connections as usize,
        size: arguments.size as usize,
    };
    let mut exit = ExitCode::SUCCESS;
    for &model in Model::value_variants() {
        if arguments.model.is_some_and(|asked| asked != model) {
            continue;
        }
        let measured = match model {
            Model::Reactor => on_epoll().and_then(|server| {
                server::measure(server, plan, |server| {
                    let stats = server.stats();
                    stats.waits + stats.controls
                })
            }),
            Model::Proactor => on_ring().and_then(|server| {
                server::measure(server, plan, |server| server.counters().enters)
            }),
        };
        match measured {
            Err(error) if is_about_ring(&*error) => {
                println!("{error}");
                if arguments.model.is_some() {
                    exit = ExitCode::from(NO_RING);
                }
            }
            measured => {
                let measured = measured?;
                print_line(model, plan, &measured);
                if measured.load.errors > 0 {
                    exit = ExitCode::FAILURE;
                }
            }
        }
    }
    Ok(exit)
}

fn on_epoll() -> Result<Loop<Reactor<Epoll>, Counts>, Box<dyn Error>> {
    Ok(Loop::reactor_with(Counts::default())?)
}

fn on_ring() -> Result<Loop<Proactor<Uring>, Counts>, Box<dyn Error>> {
    Ok(Loop::proactor_with(Counts::default())?)
}

/// Whether it says that io_uring may not be used here.
fn is_about_ring(error: &(dyn Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(linux_event::Error::Loop(
            LoopError::NoRing { .. } | LoopError::RingTooOld
        ))
    )
}

/// Prints the line that a run comes to.
#[allow(
    clippy::cast_precision_loss,
    reason = "a printed figure has three digits that count"
)]
fn print_line(model: Model, plan: load::Plan, measured: &Measured) {
    let report = &measured.load;
    let name = format!("{model:?}").to_lowercase();
    let us = |quantile| report.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "model={name} connections={} size={} messages/s={:.0} p50={:.1}µs p99={:.1}µs p99.9={:.1}µs errors={} \
         syscalls/message={:.2}",
        plan.connections,
        plan.size,
        report.messages as f64 / report.elapsed.as_secs_f64(),
        us(0.5),
        us(0.99),
        us(0.999),
        report.errors,
        measured.syscalls as f64 / report.messages as f64,
    );
}

/// A duration in seconds, of which parts may be given.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "that is no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
