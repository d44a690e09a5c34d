//! A server on a unix socket, and what a path needs: one that a dead server left is taken away before, its own after.
//!
//! Each client is asked for a name, in netstrings, and greeted. The server ends when it has greeted two.
//!
//! Prints:
//!
//! ```text
//! listening: true
//! client: hello, Ann
//! client: hello, Bob
//! the path is gone: true
//! ```
#![forbid(unsafe_code)]

use std::os::unix::net::UnixListener;
use std::path::Path;

use linux_event::codec::Netstring;
use linux_event::net::{Connector, Listener, Net, Stream};
use linux_event::{BoxError, Error, Loop};

/// How many were greeted.
type Greeted = u32;

fn serve<M: Net>(event_loop: &mut Loop<M, Greeted>, path: &Path) -> Result<(), Error> {
    Listener::unix(event_loop, path)
        .unlink(true) // what a dead server left, if it is a socket
        .start(|event_loop, listener, socket| {
            Stream::over(event_loop, socket)
                .on_message(Netstring::new(64), move |event_loop, stream, name| {
                    let greeting = format!("hello, {}", String::from_utf8_lossy(name));
                    if stream
                        .write_message(event_loop, greeting.as_bytes())
                        .is_err()
                    {
                        stream.close(event_loop)?; // a name that leaves no room for a greeting
                        return Ok(());
                    }
                    event_loop.state += 1;
                    if event_loop.state == 2 {
                        listener.close(event_loop)?;
                    }
                    Ok::<(), BoxError>(())
                })
                .start()
                .map(drop)
        })?;
    Ok(())
}

/// Says a name, and asks with another once it is greeted.
fn ask<M: Net>(
    event_loop: &mut Loop<M, Greeted>,
    path: &Path,
    names: &'static [&str],
) -> Result<(), Error> {
    let Some((name, others)) = names.split_first() else {
        return Ok(());
    };
    let next = path.to_owned();
    Connector::unix(event_loop, path).start(move |event_loop, connected| {
        let client = Stream::over(event_loop, connected?)
            .on_message(Netstring::new(64), move |event_loop, stream, greeting| {
                println!("client: {}", String::from_utf8_lossy(greeting));
                stream.end(event_loop)?;
                ask(event_loop, &next, others)
            })
            .start()?;
        client.write_message(event_loop, name.as_bytes())?;
        Ok::<(), BoxError>(())
    })?;
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let name = format!("linux-event-greetings-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    drop(UnixListener::bind(&path)?); // a server that died, and left its path
    let mut event_loop = Loop::reactor_with(0)?;
    serve(&mut event_loop, &path)?;
    println!("listening: {}", path.exists());
    ask(&mut event_loop, &path, &["Ann", "Bob"])?;
    event_loop.run()?;
    println!("the path is gone: {}", !path.exists());
    Ok(())
}
