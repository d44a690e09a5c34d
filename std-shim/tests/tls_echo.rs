//! The `tls_echo` example against `openssl s_client`, on both models.
#![forbid(unsafe_code)]

mod child;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use child::{Running, example, no_ring};
use linux_event::Signal;

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    /// A folder with a certificate and its key; `None` where there is no openssl.
    fn with_certificate(name: &str) -> Option<Self> {
        let folder =
            std::env::temp_dir().join(format!("linux-event-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let folder = Self(folder);
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(folder.path("key.pem"))
            .arg("-out")
            .arg(folder.path("cert.pem"))
            .stderr(Stdio::null())
            .status();
        match made {
            Ok(status) => {
                assert!(status.success(), "openssl req: {status}");
                Some(folder)
            }
            Err(error) => {
                eprintln!("skipped: openssl: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a record of TLS begins with that says what is wrong.
const ALERT: u8 = 21;

/// The server in another process, which may have so many descriptors, and where it is.
fn server(folder: &Folder, model: &str, descriptors: u32) -> (Running, String) {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {descriptors}; exec \"$@\"");
    command
        .args(["-c", &limited, "sh"])
        .arg(example("tls_echo"));
    command.args(["--serve", "127.0.0.1:0", "--model", model]);
    command.arg("--cert").arg(folder.path("cert.pem"));
    command.arg("--key").arg(folder.path("key.pem"));
    let mut running = Running::start(&mut command);
    let line = running.line();
    let address = line
        .strip_prefix("listening on ")
        .expect("it says where")
        .to_owned();
    (running, address)
}

fn client(address: &str, certificate: &Path, version: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-connect",
            address,
            "-servername",
            "localhost",
            version,
        ])
        .args([
            "-verify_return_error",
            "-verify_hostname",
            "localhost",
            "-quiet",
            "-no_ign_eof",
            "-nocommands",
            "-CAfile",
        ])
        .arg(certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn serves(model: &str) {
    let Some(folder) = Folder::with_certificate(model) else {
        return;
    };
    let (running, address) = server(&folder, model, 100);
    for version in ["-tls1_3", "-tls1_2"] {
        let mut openssl = client(&address, &folder.path("cert.pem"), version);
        let mut openssl = openssl.spawn().expect("openssl runs");
        let mut input = openssl.stdin.take().expect("it is piped");
        let mut output = BufReader::new(openssl.stdout.take().expect("it is piped"));
        let mut line = String::new();
        input.write_all(b"hello\n").expect("it is taken");
        output.read_line(&mut line).expect("text");
        assert_eq!(line, "hello\n", "{model} {version}");

        // Much more than any buffer on the way, both ways at once.
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
        let (back, input) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                input.write_all(&bytes).expect("it is taken");
                input
            });
            let mut back = vec![0; bytes.len()];
            output.read_exact(&mut back).expect("as much comes back");
            (back, writer.join().expect("no panic"))
        });
        assert!(
            back == bytes,
            "{model} {version}: what comes back is what was sent"
        );
        drop(input); // the client says that it has ended, and goes when the server has too
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).expect("no error");
        assert_eq!(rest, b"");
        assert!(
            openssl.wait().expect("it ends").success(),
            "{model} {version}"
        );
    }

    // Who does not speak TLS is told so, and nobody else suffers.
    let mut stray = std::net::TcpStream::connect(&address).expect("it listens");
    stray
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it is taken");
    let mut heard = Vec::new();
    let _ = stray.read_to_end(&mut heard); // the end, or a reset
    assert_eq!(heard.first(), Some(&ALERT), "{model}: {heard:?}");
    running.signal(Signal::TERM);
    let (status, printed) = running.finish();
    assert!(status.success(), "{status}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 1, "{printed}");
    assert!(
        lines[0].starts_with("a connection has failed: "),
        "{printed}"
    );
}

#[test]
fn openssl_talks_to_the_echo_on_the_reactor() {
    serves("reactor");
}

#[test]
fn openssl_talks_to_the_echo_on_the_proactor() {
    match no_ring() {
        Some(why) => eprintln!("skipped: {why}"),
        None => serves("proactor"),
    }
}

#[test]
fn the_echo_goes_on_after_it_was_out_of_descriptors() {
    let Some(folder) = Folder::with_certificate("descriptors") else {
        return;
    };
    let (running, address) = server(&folder, "reactor", 24);
    let connect = || std::net::TcpStream::connect(&address).expect("it listens");
    let hears = |client: &mut std::net::TcpStream| {
        client
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .expect("it is taken");
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard);
        heard.first() == Some(&ALERT)
    };
    // More than it can have at once: by the time that it answers the first, or in the same turn, it has none left.
    let mut idle = [(); 40].map(|()| connect());
    assert!(hears(&mut idle[0]));
    drop(idle);
    assert!(hears(&mut connect()), "it accepts again");
    drop(running);
}
