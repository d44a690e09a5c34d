//! Loops over the fake.

#![forbid(unsafe_code)]

use linux_event_core::handle::File;
use linux_event_core::sys::{AsRawFd, RawFd};

use crate::event_loop::Loop;
use crate::fake::{Fake, FakeFd, FakeOwned};
use crate::model::{LoopBackend, Reactor, private};
use crate::proactor::{Core, Proactor, ProactorBackend};
use crate::waker::Shared;
use crate::watch::Source;

impl private::Sealed for Fake {}

impl ProactorBackend for Fake {
    fn calls_of(core: &mut Core<Self>) -> &mut Self {
        core.backend_mut()
    }

    fn with_descriptor<R>(
        core: &mut Core<Self>,
        file: File,
        call: impl FnOnce(&mut Self, &FakeOwned) -> R,
    ) -> Option<R> {
        let number = core.descriptor(file)?.as_raw_fd();
        let fake = core.backend_mut();
        // As good as the one that is adopted, which keeps the number open meanwhile.
        let socket = fake.own(FakeFd::new(number));
        let called = call(fake, &socket);
        socket.into_fd();
        Some(called)
    }
}

impl LoopBackend for Fake {
    type Calls = Self;

    fn calls(&mut self) -> &mut Self {
        self
    }

    fn shared(&self) -> Option<&Shared> {
        Some(self.wakeup())
    }
}

impl Source<Fake> for FakeFd {
    fn number(&self) -> RawFd {
        self.as_raw_fd()
    }
}

impl Loop<Reactor<Fake>> {
    /// A loop over a new [`Fake`]: the reactor model with no kernel, in virtual time (F-1).
    ///
    /// ```
    /// use std::time::Duration;
    /// use linux_event::Loop;
    /// use linux_event::fake::Action;
    ///
    /// let mut event_loop = Loop::fake_reactor();
    /// let (reader, writer) = event_loop.fake_mut().pipe()?;
    /// event_loop.fake_mut().after(Duration::from_secs(3600), Action::Write(writer, b"hello".to_vec()));
    /// event_loop.watch(&reader).on_read(move |event_loop, watcher, _| {
    ///     let mut bytes = [0; 16];
    ///     assert_eq!(event_loop.fake_mut().read(reader, &mut bytes), Ok(5));
    ///     event_loop.cancel(watcher);
    /// }).start()?;
    /// event_loop.run()?; // returns at once, an hour later
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fake_reactor() -> Self {
        Self::fake_reactor_with(())
    }
}

impl<S> Loop<Reactor<Fake>, S> {
    /// As [`fake_reactor`](Loop::fake_reactor), with a state that callbacks share.
    pub fn fake_reactor_with(state: S) -> Self {
        Self::over(Reactor::new(Fake::new()), state)
    }

    /// The fake.
    pub fn fake(&self) -> &Fake {
        self.model.core.backend()
    }

    /// The fake, to do things with: open, write, close, let time pass.
    pub fn fake_mut(&mut self) -> &mut Fake {
        self.model.core.backend_mut()
    }
}

impl Loop<Proactor<Fake>> {
    /// A loop over a new [`Fake`]: the proactor model with no kernel, in virtual time (F-1).
    ///
    /// ```
    /// use linux_event::Loop;
    ///
    /// let mut event_loop = Loop::fake_proactor();
    /// let (reader, writer) = event_loop.fake_mut().pipe()?;
    /// let reader = event_loop.fake().own(reader);
    /// let reader = event_loop.adopt_fd(reader)?;
    /// event_loop.read(reader, Vec::with_capacity(16), |_, completion| {
    ///     assert_eq!(**completion.into_buffer().unwrap(), *b"hello");
    /// })?;
    /// event_loop.fake_mut().write(writer, b"hello")?;
    /// event_loop.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fake_proactor() -> Self {
        Self::fake_proactor_with(())
    }
}

impl<S> Loop<Proactor<Fake>, S> {
    /// As [`fake_proactor`](Loop::fake_proactor), with a state that callbacks share.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn fake_proactor_with(state: S) -> Self {
        let model = Proactor::new(Fake::new());
        Self::over(model.expect("a fake has room for every operation"), state)
    }

    /// The fake.
    pub fn fake(&self) -> &Fake {
        self.model.core.backend()
    }

    /// The fake, to do things with: open, write, close, complete, let time pass.
    pub fn fake_mut(&mut self) -> &mut Fake {
        self.model.core.backend_mut()
    }
}
