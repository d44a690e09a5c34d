//! What a test puts on the simulated disk, and finds there.

#![forbid(unsafe_code)]

use linux_event_core::errno::Errno;

use super::{Fake, FakeFd};

/// Files with names. The root is `/`, and the current directory too; there are no links, owners or permissions.
impl Fake {
    /// Puts a file with this content at `path`, and the directories above it; replaces the content of one that is there.
    ///
    /// ```
    /// use linux_event::fake::Fake;
    ///
    /// let mut fake = Fake::new();
    /// fake.write_file("/etc/motd", "hello")?;
    /// let file = fake.open("/etc/motd", 1 | 0o2000)?; // O_WRONLY | O_APPEND
    /// fake.write(file, b", world")?;
    /// assert_eq!(fake.file_content("etc/motd"), Some(&b"hello, world"[..]));
    /// # Ok::<(), linux_event::Errno>(())
    /// ```
    ///
    /// # Errors
    /// EISDIR if it is a directory; ENOTDIR if a file stands where a directory should.
    pub fn write_file(
        &mut self,
        path: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> Result<(), Errno> {
        self.settle();
        self.machine.disk.now = self.now;
        let content = content.as_ref().to_vec();
        self.machine.disk.put(path.as_ref(), content)
    }

    /// Makes a directory at `path`, and those above it.
    ///
    /// # Errors
    /// ENOTDIR if a file stands in the way.
    pub fn make_directory(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.settle();
        self.machine.disk.make_directory(path.as_ref())
    }

    /// The content of the file at `path`; `None` if there is none.
    pub fn file_content(&self, path: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.machine.disk.content(path.as_ref())
    }

    /// Takes the path of a file, or of a unix socket, away (`unlink(2)`). Who has it open has it still.
    ///
    /// # Errors
    /// ENOENT; EISDIR.
    pub fn unlink(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.settle();
        if self.machine.network.unlink(path.as_ref()) {
            return Ok(());
        }
        self.machine.disk.unlink(path.as_ref())
    }

    /// Opens the file at `path` with `O_*` flags (`open(2)`).
    ///
    /// # Errors
    /// ENOENT, EEXIST, EISDIR, ENOTDIR, ENAMETOOLONG, EMFILE.
    pub fn open(&mut self, path: impl AsRef<[u8]>, flags: u32) -> Result<FakeFd, Errno> {
        self.settle();
        self.machine.disk.now = self.now;
        let opened = self.machine.open_at(None, path.as_ref(), flags, 0o644);
        opened.map(FakeFd)
    }
}
