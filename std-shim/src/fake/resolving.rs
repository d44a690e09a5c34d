//! Names of the simulated network, and what they resolve to.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Fake;

/// Names in lower case: their addresses, and how long it takes to learn them.
pub(super) type Hosts = BTreeMap<String, (Duration, Vec<IpAddr>)>;

impl Fake {
    /// Has `host` resolve to `addresses`, in this order, `after` so much virtual time ([`Duration::MAX`]: never). Without
    /// addresses it is a name that has none. A name that was not set is not found, at once; no thread and no resolver of the
    /// machine is asked. Upper and lower case are the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use linux_event::Loop;
    /// use linux_event::net::Connector;
    ///
    /// let mut event_loop = Loop::fake_reactor();
    /// let fake = event_loop.fake_mut();
    /// fake.set_host("example.org", &["127.0.0.1".parse()?], Duration::from_secs(2));
    /// let begin = event_loop.read_clock();
    /// Connector::to(&mut event_loop, "Example.org:80").start(move |event_loop, connected| {
    ///     assert_eq!(connected.unwrap_err().errno(), Some(linux_event::Errno::ECONNREFUSED));
    ///     assert_eq!(event_loop.read_clock().since(begin), Duration::from_secs(2));
    /// })?;
    /// event_loop.run()?; // returns at once
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "getaddrinfo")]
    pub fn set_host(&mut self, host: &str, addresses: &[IpAddr], after: Duration) {
        let host = host.to_ascii_lowercase();
        self.hosts.insert(host, (after, addresses.to_vec()));
    }

    /// What a name resolves to, and after how long.
    pub(crate) fn resolve_host(
        &self,
        host: &str,
        port: u16,
    ) -> (Duration, io::Result<Vec<SocketAddr>>) {
        let Some((after, addresses)) = self.hosts.get(&host.to_ascii_lowercase()) else {
            let error = io::Error::new(io::ErrorKind::NotFound, "the name is not known");
            return (Duration::ZERO, Err(error));
        };
        let addresses = addresses.iter().map(|&ip| SocketAddr::new(ip, port));
        (*after, Ok(addresses.collect()))
    }
}
